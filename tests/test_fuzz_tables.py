"""Hostile tables, study folders, gene groups and invitations: problems or one of our errors."""

import io

import pandas as pd
import pytest
from hostile import FUZZ, damaged, is_read
from hypothesis import given
from hypothesis import strategies as st
from support import write_site, write_study

import server.cli
from client.cohort import read_cohort
from client.config import read_site
from client.tables import read_table
from ghanet_model.groups import read_groups
from ghanet_model.invitation import accept_invitation, read_invitation
from ghanet_model.study import read_study

FRAME = pd.DataFrame({"case_id": ["a", "b"], "time": [12.5, 3.0], "event": [1, 0]})
COLUMNS = ["case_id", "time", "event"]
CSV = FRAME.to_csv(index=False).encode()
DUTCH = FRAME.to_csv(index=False, sep=";", decimal=",").encode("utf-16")
GMT = b"growth\tnote\tTP53\tMYC\ndeath\tnote\tBCL2\n"
GROUPS = b"growth,death\nTP53,BCL2\nMYC,\n"


def file_of(write):
    """The bytes that pandas writes."""
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


EXCEL = file_of(lambda buffer: FRAME.to_excel(buffer, index=False, engine="openpyxl"))
PARQUET = file_of(FRAME.to_parquet)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder for the files of a test."""
    return tmp_path_factory.mktemp("tables")


@FUZZ
@given(
    st.sampled_from([".csv", ".tsv", ".txt", ".xlsx", ".parquet"]),
    st.binary(max_size=200) | damaged(CSV, DUTCH) | damaged(EXCEL) | damaged(PARQUET),
)
def test_damaged_tables(place, suffix, content):
    """Whatever the bytes and whatever the file says it is, it is read or problems are listed."""
    path = place / f"table{suffix}"
    path.write_bytes(content)
    table, problems = read_table(path, COLUMNS)
    assert table is not None or problems


@FUZZ
@given(st.sampled_from([".gmt", ".csv"]), st.binary(max_size=200) | damaged(GMT, GROUPS))
def test_damaged_gene_groups(place, suffix, content):
    """Groups with names and symbols, or one of our errors."""
    path = place / f"groups{suffix}"
    path.write_bytes(content)
    if is_read(read_groups, path):
        assert all(name and symbols for name, symbols in read_groups(path))


@pytest.fixture(scope="module")
def invitation(tmp_path_factory):
    """The bytes of a good invitation."""
    folder = tmp_path_factory.mktemp("coordinator")
    write_study(folder)
    assert server.cli.main(["init", "--folder", str(folder), "--host", "127.0.0.1"]) == 0
    return (folder / "invitation.json").read_bytes()


@FUZZ
@given(data=st.data())
def test_damaged_invitations(place, invitation, data):
    """It is accepted whole, or refused by one of our errors; nothing is written outside."""
    path, home = place / "invitation.json", place / "home"
    path.write_bytes(data.draw(st.binary(max_size=200) | damaged(invitation)))
    before = {file.name for file in place.iterdir()}
    is_read(lambda: accept_invitation(home, read_invitation(path)))
    assert {file.name for file in place.iterdir()} <= before | {"home"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A hospital's folder and the bytes of its tables."""
    home = write_site(tmp_path_factory.mktemp("site") / "hospital-a")
    names = ("clinical.csv", "slides.csv", "genes.csv")
    return home, {name: (home / name).read_bytes() for name in names}


@FUZZ
@given(data=st.data())
def test_damaged_cohorts(site, data):
    """Cases that are whole stay, the rest are problems."""
    home, tables = site
    for name, content in tables.items():
        (home / name).write_bytes(data.draw(damaged(content)))
    cohort, problems = read_cohort(read_site(home), read_study(home))
    assert all(case.slides for case in cohort.cases)
    assert cohort.cases or problems
