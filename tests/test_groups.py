"""Gene groups: CSV and GMT say the same, and what is no gene symbol is named with its line."""

import contextlib
import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model import groups
from ghanet_model.errors import SettingsError
from ghanet_model.groups import Groups, is_groups_name, read_groups
from ghanet_model.study import read_study
from server.setup import GENE_GROUPS

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "signatures.csv"
EXPECTED = (("first", ("A", "NKX2-1")), ("second", ("B",)))
STUDY = """\
format: 1
name: demo
encoder: enc-v1
feature_width: 8
time_bin_edges: [12, 36, 60]
gene_groups: {file}
"""


def read(folder: Path, content: str | bytes, file: str = "groups.csv") -> Groups:
    """The groups of a file with this content."""
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_groups(folder / file)


def refused(folder: Path, content: str | bytes, file: str = "groups.csv") -> tuple[str, str]:
    """Message and hint of a file that is refused."""
    with pytest.raises(SettingsError) as caught:
        read(folder, content, file)
    assert caught.value.hint
    return str(caught.value), caught.value.hint


@pytest.mark.parametrize(
    "content",
    [
        "first,second\nA,B\nNKX2-1,\n",
        "first;second\nA;B\nNKX2-1;\n",
        "first\tsecond\nA\tB\nNKX2-1\n",
        "\ufefffirst,second\r\nA,B\r\nNKX2-1,\r\n",
        '"first", second ,,\n\n"A", B \n NKX2-1 ,,,\n\n',
        "first,second\nNKX2-1,\nA,B\nA,B",
    ],
)
def test_a_csv_as_it_comes(tmp_path, content):
    """Separators, quotes, blanks, line ends, repeats and order of symbols change nothing."""
    assert read(tmp_path, content) == EXPECTED


@pytest.mark.parametrize(
    "content",
    [
        "first\tabout it\tA\tNKX2-1\nsecond\thttps://x.example\tB\n",
        "\ufefffirst\t\tNKX2-1\tA\t\t\r\n\r\nsecond\tna\tB\r\n",
    ],
)
@pytest.mark.parametrize("file", ["sets.gmt", "SETS.v1.GMT"])
def test_a_gmt_as_it_comes(tmp_path, content, file):
    """A line of GMT is name, description and symbols; the description is no gene."""
    assert read(tmp_path, content, file) == EXPECTED


def test_csv_and_gmt_of_the_same_groups_are_the_same_study(tmp_path):
    """The digest knows the groups, neither the format nor the name of their file."""
    digests = set()
    for file, content in (
        ("groups.csv", "first,second\nA,B\nC,\n"),
        ("other.csv", "first;second\nC;B\nA;\n"),
        ("sets.gmt", "first\t\tA\tC\nsecond\t\tB\n"),
    ):
        (tmp_path / "study.yaml").write_text(STUDY.format(file=file))
        (tmp_path / file).write_text(content)
        digests.add(read_study(tmp_path).digest)
    assert len(digests) == 1


def test_names_in_latin_1_are_read(tmp_path):
    """What an older spreadsheet wrote is the same as UTF-8."""
    text = "oncogènes,Zytokine für T\nMYC,IL6\n"
    assert read(tmp_path, text.encode("latin-1")) == read(tmp_path, text)
    assert read(tmp_path, text)[0][0] == "oncogènes"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("g.csv", "", "g.csv: no gene groups"),
        ("g.csv", "a,b,a\nA,B,C\n", "g.csv line 1: gene group 'a' is there twice, first in line 1"),
        ("g.gmt", "a\t\tA\n\na\t\tB\n", "g.gmt line 3: gene group 'a' is there twice, first in"),
        ("g.csv", "\na,b\nA,\n", "g.csv line 2: gene group 'b' has no genes"),
        ("g.gmt", "a\t\tA\nb\tno genes\n", "g.gmt line 2: gene group 'b' has no genes"),
        ("g.csv", "a,,c\nA,B,C\n", "g.csv line 1: gene group 2 has no name"),
        ("g.csv", "a\nA\nB,C\n", "g.csv line 3: 2 cells, there are 1 gene groups"),
        ("g.csv", 'a\n"A\n', "g.csv line 2: not a CSV table"),
        ("g.gmt", "a\t\tA\nb C D\n", "g.gmt line 2: no tab"),
        ("g.gmt", "a\x1b[31m\t\tA\n", "g.gmt line 1: the name of gene group 1 is too long or"),
        ("g.csv", "a\nA\x07\n", "g.csv: not gene symbols: 'A\\x07' in line 2"),
        ("g.csv", "a;b\nA B;C\n", "g.csv: not gene symbols: 'A B' in line 2"),
        ("g.gmt", "a\t\t7157\t5925\n", "g.gmt: numbers in place of gene symbols: '7157' in line 1"),
        ("g.csv", b"\xff\xfea\0\n\0A\0", "g.csv: not text"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, file, content, message):
    """Each fault names file and line, and what to do; nothing unprintable is repeated."""
    said, hint = refused(tmp_path, content, file)
    assert said.startswith(message)
    assert (said + hint).isprintable()


@pytest.mark.parametrize(
    "date",
    [
        *("1-Mar", "2-Sep", "01-Mar-21", "Mar-01", "1. Mrz", "2. Sept.", "1-mars", "Sep 2"),
        *("2021-03-01", "2021-03-01 00:00:00", "01.03.2021", "3/1/2021", "01.Mär"),
    ],
)
def test_symbols_that_a_spreadsheet_turned_into_dates_are_named(tmp_path, date):
    """A date in place of a symbol is named with its line, and what it may have been."""
    said, hint = refused(tmp_path, f"a,b\nTP53,KRAS\nSEPTIN2,{date}\n")
    assert said == f"groups.csv: dates in place of gene symbols: '{date}' in line 3"
    assert "SEPT2" in hint


def test_many_dates_are_counted(tmp_path):
    """The first five are named, the rest is a number."""
    days = "\n".join(f"{day}-Mar" for day in range(1, 10))
    assert refused(tmp_path, f"a\n{days}\n")[0].endswith("'5-Mar' in line 6 and 4 more")


@pytest.mark.parametrize(
    "symbol", ["MARCHF1", "SEPTIN2", "DEC1", "JUN", "MT-CO1", "HLA-A", "C4B_2"]
)
def test_symbols_that_only_look_like_dates_are_read(tmp_path, symbol):
    """Current symbols, also those that begin as a month does, are symbols."""
    assert read(tmp_path, f"a\n{symbol}\n") == (("a", (symbol,)),)


def test_an_oversize_file_is_refused_unread(tmp_path, monkeypatch):
    """The size is looked at before a byte is read."""
    with (tmp_path / "g.gmt").open("wb") as file:
        file.truncate(groups.MOST_BYTES + 1)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("was read"))
    with pytest.raises(SettingsError, match=r"g\.gmt: 2\.0 MB, at most 2 are read"):
        read_groups(tmp_path / "g.gmt")


def test_what_has_no_end_is_refused_unread(tmp_path):
    """A folder, or a link to a device, is no file of gene groups."""
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    (tmp_path / "folder.csv").mkdir()
    for name in ("zero.csv", "folder.csv"):
        with pytest.raises(SettingsError, match="not a file"):
            read_groups(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["a\n.csv", "a\x1b.csv", "a\0.gmt", "../a.gmt", ".a.csv", "a.txt", "é" * 120 + ".csv"]
)
def test_a_study_cannot_name_such_a_file(tmp_path, name):
    """Control characters, other folders, hidden files and other endings are refused by name."""
    assert not is_groups_name(name)
    (tmp_path / "study.yaml").write_text(STUDY.format(file=repr(name)))
    with pytest.raises(SettingsError, match="'gene_groups' is") as caught:
        read_study(tmp_path)
    assert ".gmt" in caught.value.hint


@pytest.mark.parametrize("file", ["g.csv", "g.gmt"])
@given(content=st.binary() | st.text("aA1,;\t\n\r\"'-. \0é").map(str.encode))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_random_files_are_groups_or_our_error(tmp_path_factory, file, content):
    """Whatever stands in the file: whole groups, or our error."""
    folder = tmp_path_factory.mktemp("random")
    with contextlib.suppress(SettingsError):
        found = read(folder, content, file)
        assert found
        assert all(name.isprintable() and symbols for name, symbols in found)


def test_a_wide_file_takes_no_longer_than_a_long_one(tmp_path):
    """Half a million cells in any shape are read in seconds."""
    wide = ",".join(f"g{i}" for i in range(150_000))
    assert "has no genes" in refused(tmp_path, wide + "\nA" * 250_000)[0]


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published gene groups are not here")
def test_the_published_groups_are_read():
    """Six columns of different lengths, a symbol twice in one of them."""
    sizes = [len(symbols) for _, symbols in read_groups(PUBLISHED)]
    assert sizes == [82, 328, 513, 443, 1536, 452]


def test_the_groups_that_init_writes():
    """Six families of 40 to 60 symbols, none twice in a family, none a date."""
    found = read_groups(GENE_GROUPS)
    with GENE_GROUPS.open() as file:
        cells = [cell for row in list(csv.reader(file))[1:] for cell in row if cell]
    assert len(found) == 6
    assert all(40 <= len(symbols) <= 60 for _, symbols in found)
    assert sum(len(symbols) for _, symbols in found) == len(cells)
