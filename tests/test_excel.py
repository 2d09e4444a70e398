"""Excel: the sheet that has the columns, cells with their types; hostile workbooks are refused."""

import datetime as dt
import tracemalloc
import zipfile
from pathlib import Path

import openpyxl
import pytest

from client.table import Problem
from client.tables import read_table

CASE = "CANARY-7"


def read(path: Path, content: bytes | str, *needed: str, numbers=()) -> tuple:
    """The table of a file of this content, and its problems."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    table, problems = read_table(path, needed or ("id", "x"), numbers=numbers)
    assert CASE not in repr(problems)
    return table, problems


def only(problems: list[Problem]) -> Problem:
    """The one problem there is, with a hint."""
    assert len(problems) == 1, problems
    assert problems[0].hint
    return problems[0]


def workbook(path: Path, *sheets: list[list[object]]) -> Path:
    """A workbook of these sheets."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for rows in sheets:
        sheet = book.create_sheet()
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def repacked(path: Path, part: str, content: bytes) -> None:
    """The workbook with one part replaced."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()} | {part: content}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in parts.items():
            file.writestr(name, data)


GOOD = [["id", "x"], [1, 2.5], [None, None], [CASE, "y"]]


def test_excel_rows_have_excels_numbers(tmp_path):
    """Blank rows count, and the sheet is found by its columns."""
    path = workbook(tmp_path / "t.xlsx", [["cover"]], GOOD)
    table, problems = read_table(path, ["id", "x"])
    assert (list(table.frame.index), problems) == ([2, 4], [])
    assert table.understood == "t.xlsx: Excel, sheet 2 of 2, 2 rows"


def test_excel_cells_keep_their_types(tmp_path):
    """A whole number is no decimal, a date is a date, a flag is a flag."""
    row = [
        7,
        7.5,
        True,
        dt.datetime(2020, 12, 31, 5),  # noqa: DTZ001
        "007",
    ]
    path = workbook(tmp_path / "t.xlsx", [["a", "b", "c", "d", "e"], row])
    table, _ = read_table(path, ["a", "b", "c", "d", "e"])
    texts = [table.text(name).iloc[0] for name in "abcde"]
    assert texts == ["7", "7.5", "True", "2020-12-31 05:00:00", "007"]


def test_excel_formula_is_its_last_result(tmp_path):
    """A formula is what Excel computed last; it is never computed here."""
    path = workbook(tmp_path / "t.xlsx", [["id", "x"], [1, "=1+1"]])
    with zipfile.ZipFile(path) as file:
        sheet = file.read("xl/worksheets/sheet1.xml")
    assert b"<v />" in sheet or b"<v></v>" in sheet or b"<v/>" in sheet
    for empty in (b"<v />", b"<v></v>", b"<v/>"):
        sheet = sheet.replace(empty, b"<v>42</v>")
    repacked(path, "xl/worksheets/sheet1.xml", sheet)
    assert read_table(path, ["id", "x"])[0].numbers("x").to_list() == [42]


def test_two_sheets_that_fit_are_a_problem(tmp_path):
    """Which of two sheets is meant is asked, not guessed."""
    path = workbook(tmp_path / "t.xlsx", GOOD, [["cover"]], GOOD)
    problem = only(read_table(path, ["id", "x"])[1])
    assert problem.what == "sheets 1 and 3 have the columns asked for"


@pytest.mark.parametrize("kind", [".xls", ".xlsm", ".xlsb", ".ods", ".docx"])
def test_other_kinds_are_refused_by_name(tmp_path, kind):
    """Other workbooks are never opened; the hint says what to do."""
    _, problems = read(tmp_path / f"t{kind}", b"CANARY")
    assert only(problems).what == f"tables of kind '{kind}' are not read"
    assert "save it as" in problems[0].hint


@pytest.mark.parametrize("content", [b"", b"CANARY", b"PK\x03\x04", b"\xd0\xcf\x11\xe0" * 9])
def test_what_is_no_workbook_is_refused(tmp_path, content):
    """Bytes that are no zip are one problem that thinks of passwords."""
    assert only(read(tmp_path / "t.xlsx", content)[1]).what == "is not an Excel workbook"


@pytest.mark.parametrize("part", ["xl/workbook.xml", "xl/worksheets/sheet1.xml", "xl/styles.xml"])
@pytest.mark.parametrize("content", [b"", b"<CANARY", b"<a/>", b"\xff" * 9])
def test_damaged_workbook_is_refused(tmp_path, part, content):
    """Whatever stands in a part, there is a table or a problem, never another error."""
    path = workbook(tmp_path / "t.xlsx", GOOD)
    repacked(path, part, content)
    table, problems = read_table(path, ["id", "x"])
    assert table is not None or problems


@pytest.mark.parametrize("codec", ["utf-8", "utf-16"])
def test_workbook_with_entities_is_refused(tmp_path, codec):
    """XML that declares entities is not parsed at all."""
    bomb = '<!DOCTYPE a [<!ENTITY b "CANARY"><!ENTITY c "&b;&b;">]><a>&c;</a>'
    path = workbook(tmp_path / "t.xlsx", GOOD)
    repacked(path, "xl/sharedStrings.xml", bomb.encode(codec))
    problem = only(read_table(path, ["id", "x"])[1])
    assert problem.what == "declares XML entities, no workbook does"


def test_zip_bomb_is_refused_before_it_is_opened(tmp_path):
    """A workbook that would unpack to a multiple of its size costs next to no memory."""
    path = workbook(tmp_path / "t.xlsx", GOOD)
    repacked(path, "xl/sharedStrings.xml", b"<si><t>a</t></si>" * 10_000_000)
    tracemalloc.start()
    problem = only(read_table(path, ["id", "x"])[1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert problem.what.startswith("unpacks to ")
    assert peak < 5_000_000


def test_workbook_of_endless_rows_is_refused(tmp_path):
    """A row number beyond Excel's own does not make rows without end."""
    path = workbook(tmp_path / "t.xlsx", GOOD)
    with zipfile.ZipFile(path) as file:
        sheet = file.read("xl/worksheets/sheet1.xml")
    repacked(path, "xl/worksheets/sheet1.xml", sheet.replace(b'r="4"', b'r="99999999999"'))
    problem = only(read_table(path, ["id", "x"])[1])
    assert problem.what == "has too many rows or columns for a workbook"
