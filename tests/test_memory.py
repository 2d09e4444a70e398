"""Memory: nothing is read twice in vain, and nothing old is believed."""

import os
from pathlib import Path

import pytest
from local import edit
from support import approve_as_it_is, write_site

from client import memory
from client.answers import open_site
from client.memory import Memory, stamp_of
from client.site import Site
from ghanet_model.errors import CohortError, SettingsError


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A hospital's folder; a file written just now counts as settled."""
    monkeypatch.setattr(memory, "SETTLED_SECONDS", 0.0)
    return write_site(tmp_path / "home")


@pytest.fixture
def kept() -> Memory:
    """What a trainer has."""
    return Memory()


def edit_rows(path: Path, change) -> None:
    """Change a table's lines, in the very file."""
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *change(rows)]) + "\n")


def cases(site: Site) -> int:
    """How many it has."""
    return len(site.cohort().cases)


def time_bins(site: Site) -> set[int]:
    """Those that its cases fall in."""
    return {case.outcome.time_bin for case in site.cohort().cases if case.outcome}


def test_tables_are_read_once(home, kept):
    """Two messages see the same cohort; without a memory each reads its own."""
    first = open_site(home, kept).cohort()
    assert open_site(home, kept).cohort() is first
    assert open_site(home).cohort() is not first


@pytest.mark.parametrize("table", ["clinical.csv", "slides.csv", "genes.csv"])
def test_a_table_that_was_touched_is_read_again(home, kept, table):
    """Each table counts, also where its size stays the same."""
    first = open_site(home, kept).cohort()
    os.utime(home / table)
    assert open_site(home, kept).cohort() is not first


def test_a_withdrawn_case_is_gone_in_the_next_message(home, kept):
    """Rows taken out of the tables are not in the cohort any more."""
    before = cases(open_site(home, kept))
    for table in ("clinical.csv", "slides.csv", "genes.csv"):
        edit_rows(home / table, lambda rows: rows[1:])
    assert cases(open_site(home, kept)) == before - 1


def test_settings_are_never_old(home, kept):
    """site.yaml, study.yaml and its gene groups count in the message after they were edited."""
    assert time_bins(open_site(home, kept)) > {0, 1}
    edit(home / "site.yaml", {"cache_megabytes": 3})
    assert open_site(home, kept).cache.budget == 3_000_000
    edit(home / "study.yaml", {"time_bin_edges": [12]})
    approve_as_it_is(home)
    assert time_bins(open_site(home, kept)) == {0, 1}
    groups, columns = home / "gene_groups.csv", open_site(home, kept).cohort().gene_columns
    groups.write_text(groups.read_text().replace("TP53", "TP63", 1))
    approve_as_it_is(home)
    assert open_site(home, kept).cohort().gene_columns != columns


def test_what_went_wrong_does_not_stick(home, kept):
    """A broken table is refused as often as it is asked for, and works once it is repaired."""
    clinical = home / "clinical.csv"
    good = clinical.read_text()
    before = cases(open_site(home, kept))
    edit_rows(clinical, lambda rows: ["broken", *rows])
    for _ in range(2):
        with pytest.raises(CohortError):
            open_site(home, kept).cohort()
    clinical.unlink()
    with pytest.raises(CohortError):
        open_site(home, kept).cohort()
    clinical.write_text(good)
    assert cases(open_site(home, kept)) == before


def test_broken_settings_do_not_stick(home, kept):
    """site.yaml that cannot be read is refused, and works once it is repaired."""
    site = home / "site.yaml"
    good = site.read_text()
    site.write_text("format: 2\n")
    with pytest.raises(SettingsError):
        open_site(home, kept)
    site.write_text(good)
    assert cases(open_site(home, kept)) > 0


def test_a_file_that_has_just_changed_is_not_trusted(tmp_path):
    """Two changes within one tick of a file system's clock look like one, so we read again."""
    path = tmp_path / "table.csv"
    path.write_text("a")
    assert stamp_of(path) != stamp_of(path)


def test_stamps_tell_files_apart(tmp_path, monkeypatch):
    """A stamp stays while a file does, and differs for another file of the same size and time."""
    monkeypatch.setattr(memory, "SETTLED_SECONDS", 0.0)
    path, other = tmp_path / "a", tmp_path / "b"
    for file in (path, other):
        file.write_text("same")
        os.utime(file, (1, 1))
    before = stamp_of(path)
    assert stamp_of(path) == before
    other.replace(path)
    assert stamp_of(path) != before
    path.unlink()
    assert stamp_of(path) != before


def test_features_and_weights_outlive_a_message(home, kept):
    """The cache and the weights received last are the same objects in the next message."""
    first, second = open_site(home, kept), open_site(home, kept)
    assert first.cache is second.cache
    assert first.held is second.held
    kept.forget()
    assert first.cache is not second.cache or first.cache.used == 0
