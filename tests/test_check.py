"""Check: a site's numbers and all its problems, by row, without any name of a case or slide."""

import io
from pathlib import Path

import h5py
import numpy as np
import pytest
from rich.console import Console

from client.check import GroupCoverage, LeftOut, check_site
from client.check_table import render
from ghanet_model.errors import SettingsError

CASES = 12
STUDY = """\
format: 1
name: demo
encoder: enc-v1
feature_width: 3
time_bin_edges: [12, 36, 60]
gene_groups: groups.csv
gene_types: [rnaseq, cnv]
held_out: 0
minimum_cases: 5
"""
SITE = """\
format: 1
name: north
server: localhost:9092
slides: slides.csv
features: features
encoder: enc-v1
clinical: clinical.csv
genes: genes.csv
"""


def name(i: int) -> str:
    """The id of a case, and of its slide."""
    return f"CANARY-{i:02}"


def write_features(folder: Path, i: int, values: np.ndarray | None = None, **attributes) -> None:
    """The CLAM file of slide i."""
    path = folder / "features" / "h5_files" / f"{name(i)}.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["features"] = np.ones((4, 3), np.float16) if values is None else values
        file["features"].attrs.update(attributes)


@pytest.fixture
def site(tmp_path):
    """A site without any problem."""
    ids = [name(i) for i in range(CASES)]
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "groups.csv").write_text("first,second\nA,B\nB,C\n")
    (tmp_path / "site.yaml").write_text(SITE)
    clinical = [f"{case},{i + 1},{i % 3 == 0:d}" for i, case in enumerate(ids)]
    (tmp_path / "clinical.csv").write_text("\n".join(["case_id,time,event", *clinical]))
    slides = [f"{case},{case}.svs" for case in ids]
    (tmp_path / "slides.csv").write_text("\n".join(["case_id,slide_id", *slides]))
    genes = [f"{case},{i},{i if i < 4 else ''}" for i, case in enumerate(ids)]
    (tmp_path / "genes.csv").write_text("\n".join(["case_id,A_rnaseq,B_cnv", *genes]))
    for i in range(CASES):
        write_features(tmp_path, i)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text in a file, which must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def told(folder: Path) -> list[str]:
    """The problems of a site; nothing that is said names a case or slide."""
    report = check_site(folder)
    assert "CANARY" not in repr(report) + render(report)
    return [str(problem) for problem in report.problems]


def test_good_site(site):
    """A site without problem is told in numbers."""
    report = check_site(site)
    assert (report.cases, report.with_outcome, report.events, report.held_out) == (12, 12, 4, 0)
    assert (report.slides, report.features, report.width, report.patches) == (12, "clam", 3, 48)
    assert (report.site, report.study, report.encoder) == ("north", "demo", "enc-v1")
    assert report.problems == ()


def test_gene_coverage_counts_what_enough_cases_have(site):
    """A column measured in fewer cases than the minimum is not covered."""
    expected = (GroupCoverage("first", 1, 4), GroupCoverage("second", 0, 4))
    assert check_site(site).genes == expected


def test_render_of_a_good_site(site):
    """What a hospital reads when all is well: what was understood, then numbers."""
    report = check_site(site)
    first, understood, *tables = render(report).split("\n\n")
    assert first.splitlines()[0] == "site                    north"
    assert first.splitlines()[1].startswith("study                   demo, digest ")
    assert understood.splitlines()[0] == "understood"
    assert understood.split() == ["understood", *" ".join(report.understood).split()]
    assert (
        "\n\n".join(tables)
        == """\
cases                   12
  held out              0
  with outcome          12
  events                4
  follow-up             median 6, 1 to 12 months
  withdrawn             0
rows left out           0

slides                  12
  cases with one        12
  cases with two        0
  cases with more       0
features                clam
  patches               48
  numbers per patch     3
  encoder               enc-v1
  its terms             not stated: ask the coordinator before any use

cases with genes        12
gene columns            measured in 10 cases or more, of the study's
       1 of 4           first
       0 of 4           second

problems: none"""
    )


def test_rows_left_out_are_counted_by_reason(site):
    """A row counts once, with its first reason; so nothing is left out unsaid."""
    edit(site / "clinical.csv", f"{name(3)},4,1", f"{name(3)},-4,7")
    edit(site / "clinical.csv", f"{name(4)},5,0", f"{name(4)},-5,0")
    edit(site / "slides.csv", f"{name(5)},{name(5)}.svs", f"{name(5)},")
    report = check_site(site)
    assert report.cases + sum(one.rows for one in report.left_out if "clin" in one.table) == 12
    assert report.left_out == (
        LeftOut("clinical.csv", "time is negative", 2),
        LeftOut("slides.csv", "slide_id is empty", 1),
        LeftOut("clinical.csv", "case without slide", 1),
    )
    assert "2 of clinical.csv: time is negative" in render(report)


def test_slides_per_case(site):
    """Several slides of a case are counted as such."""
    for case, slides in ((0, "aa"), (1, "aaa"), (2, "aaaa")):
        rows = "".join(f"\n{name(case)},{name(case)}-{i}.svs" for i in range(len(slides) - 1))
        edit(
            site / "slides.csv",
            f"{name(case)},{name(case)}.svs",
            f"{name(case)},{name(case)}.svs{rows}",
        )
    assert check_site(site).slides_per_case == (9, 1, 2)


def test_text_stays_inside_80_columns(site):
    """Long names, reasons, hints and lists of rows are folded, not cut."""
    (site / "groups.csv").write_text(f"{'long ' * 15}name\nA\n")
    for i in range(0, CASES, 2):
        (site / "features" / "h5_files" / f"{name(i)}.h5").unlink()
    edit(site / "site.yaml", "encoder: enc-v1", "encoder: another-encoder-of-a-long-name-v2")
    text = render(check_site(site))
    assert max(map(len, text.splitlines())) <= 80
    assert ("long " * 15 + "name") in " ".join(text.split())
    assert "rows 2, 4, 6, 8, 10, 12" in " ".join(text.split())


def test_site_that_only_predicts(site):
    """Without clinical and gene tables few cases are no problem."""
    edit(site / "site.yaml", "clinical: clinical.csv\ngenes: genes.csv\n", "")
    edit(site / "study.yaml", "minimum_cases: 5", "minimum_cases: 50")
    report = check_site(site)
    assert (report.cases, report.with_outcome, report.genes, report.problems) == (12, 0, (), ())
    assert "genes                   none" in render(report)


def test_too_few_training_cases(site):
    """A site with outcomes but too few cases to train on cannot take part."""
    edit(site / "study.yaml", "minimum_cases: 5", "minimum_cases: 13")
    expected = "site.yaml: 12 usable cases to train on, 13 are needed"
    assert told(site) == [expected]


def test_gene_table_without_known_gene(site):
    """A gene table that covers nothing is a problem."""
    edit(site / "genes.csv", "A_rnaseq,B_cnv", "X_rnaseq,Y_cnv")
    assert told(site) == ["genes.csv: none of the study's 6 gene columns is there"]


def test_problems_of_tables_and_features_come_together(site):
    """One check tells everything: tables first, then each slide's file."""
    edit(site / "clinical.csv", f"{name(3)},4,1", f"{name(3)},4,7")
    write_features(site, 1, np.ones((4, 8), np.float32))
    write_features(site, 2, np.full((4, 3), np.nan))
    write_features(site, 5, encoder="uni")
    (site / "features" / "h5_files" / f"{name(6)}.h5").unlink()
    (site / "features" / "h5_files" / f"{name(7)}.h5").write_bytes(b"CANARY")
    assert told(site) == [
        "clinical.csv row 5: event is neither died nor alive",
        "features of slides.csv row 3: 8 numbers per patch, the study has 3",
        "features of slides.csv row 4: NaN or infinity in 4 of 4 patches",
        "features of slides.csv row 7: made by encoder 'uni', the study uses 'enc-v1'",
        "features of slides.csv row 8: no feature file",
        "features of slides.csv row 9: the file is damaged, cut short or not HDF5",
    ]


def test_features_of_faulty_cases_are_opened_too(site):
    """A fault in a clinical row does not hide one in its slide's file."""
    edit(site / "clinical.csv", f"{name(3)},4,1", f"{name(3)},4,7")
    write_features(site, 3, np.ones((4, 8), np.float32))
    assert len(told(site)) == 2


def test_missing_feature_folder_is_one_problem(site):
    """Without features every slide would fail: it is said once."""
    edit(site / "site.yaml", "features: features", "features: absent")
    assert told(site) == ["features: folder not found"]
    assert "features                none found" in render(check_site(site))


def test_render_says_a_problem_of_many_rows_once(site):
    """The same problem of several rows is one line with its rows, then the hint."""
    for i in (0, 1, 2, 6):
        (site / "features" / "h5_files" / f"{name(i)}.h5").unlink()
    lines = render(check_site(site)).splitlines()
    assert lines[-3:] == [
        "problems: 4",
        "  features of slides.csv rows 2-4, 8: no feature file",
        "    hint: extract its features, or drop the row",
    ]


def test_progress_is_shown_only_for_many_slides(site, monkeypatch):
    """A bar is drawn where reading takes long, on a terminal only: a file gets text alone."""
    for many, terminal, shown in ((13, True, False), (12, True, True), (12, False, False)):
        monkeypatch.setattr("client.check._MANY", many)
        console = Console(file=io.StringIO(), force_terminal=terminal)
        check_site(site, console=console)
        assert ("reading features" in console.file.getvalue()) is shown


@pytest.mark.parametrize("file", ["site.yaml", "study.yaml", "groups.csv"])
def test_check_needs_its_settings(site, file):
    """Without settings nothing can be checked: that is an error, not a report."""
    (site / file).unlink()
    with pytest.raises(SettingsError, match=file):
        check_site(site)
