"""Delimited text: letters, separators and decimal marks are found out, and said."""

from pathlib import Path

import numpy as np
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


def test_separator_is_the_one_that_finds_the_columns(tmp_path):
    """A separator that occurs more often, inside quotes or names, is not it."""
    table, problems = read(tmp_path / "t.csv", 'id;x;"a,b,c,d,e,f"\n1;2;"a,b"\n')
    assert (table.header, problems) == (("id", "x", "a,b,c,d,e,f"), [])


def test_rows_keep_the_numbers_of_an_editor(tmp_path):
    """Lines above the header, blank lines and line ends inside quotes are counted."""
    text = 'sep=;\n# made today\nid;x\n1;"two\nlines"\n\n2;3;4\n5;6\n'
    table, problems = read(tmp_path / "t.csv", text)
    assert list(table.frame.index) == [5, 8]
    assert str(only(problems)) == "t.csv row 7: has 3 cells, the header 2"
    assert table.layout == ("semicolons", "UTF-8", "header in line 3")


def test_decimal_comma_is_for_the_whole_table(tmp_path):
    """In a table of decimal commas 1.234 could be a thousand: it is no number."""
    table, _ = read(tmp_path / "t.csv", "id;x\n1;0,5\n2;1.234\n3;-1,5E-03\n4;7\n", numbers=["x"])
    np.testing.assert_array_equal(table.numbers("x"), [0.5, np.nan, -0.0015, 7])
    assert table.layout[1] == "decimal comma"


def test_decimal_comma_is_looked_for_among_numbers_only(tmp_path):
    """A comma in a name makes no decimal comma."""
    table, _ = read(tmp_path / "t.csv", "id;x\n1,5;0.5\n", numbers=["x"])
    assert table.numbers("x").to_list() == [0.5]


def test_decimal_comma_in_genes(tmp_path):
    """A matrix of decimal commas is read, and what is no number is told by row."""
    table, _ = read(tmp_path / "t.csv", "id;x;y\n1;0,5;NA\n2;1.5;2\n", "x", "y", numbers=["x"])
    values, problems = table.matrix(["x", "y"])
    np.testing.assert_array_equal(values, np.array([[0.5, np.nan], [np.nan, 2]], np.float32))
    assert str(only(problems)) == "t.csv row 3: x is not a finite number"
    assert "decimal comma" in problems[0].hint


def test_composed_letters_are_one_name(tmp_path):
    """A name is the same whether its accents are letters of their own or not."""
    table, _ = read(tmp_path / "t.csv", "id,x\nMu\u0308ller,1\nM\u00fcller,2\n")
    assert set(table.ids("id")) == {"M\u00fcller"}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("id|x\n1|2\n", "column 'id' is missing"),
        ("id;x\n" + f"{CASE},1\n" * 5, "cells are not separated by ',', ';' or tabs throughout"),
        ("id;,x\n", "cells are not separated by ',', ';' or tabs throughout"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "is not text"),
        (b"PK\x03\x04\x00\x00" + CASE.encode(), "is not text"),
        (b"\xff\xfei\x00d\x00\x00\xd8", "is not UTF-16 text"),
        (b"id,x\n\x8d,1\n", "is not text of a known kind"),
    ],
)
def test_text_that_fits_nothing_is_refused(tmp_path, content, what):
    """What is no table in any known way is one problem with a hint."""
    _, problems = read(tmp_path / "t.csv", content)
    assert (problems[0].what, bool(problems[0].hint)) == (what, True)


def test_wide_table_of_one_separator(tmp_path):
    """A header longer than a cell may be is read by its own separator."""
    names = [f"COLUMN-{i:05d}" for i in range(12_000)]
    table, _ = read(tmp_path / "t.csv", ",".join(["id", "x", *names]) + "\n" + "1," * 12_001 + "1")
    assert len(table.header) == 12_002


@pytest.mark.parametrize("name", ["1-Mar", "2-Sep_rnaseq", "Mar-01", "1. Mrz", "2021-03-01"])
def test_genes_that_became_dates_are_named(tmp_path, name):
    """Symbols that a spreadsheet turned into dates are a problem, by name."""
    _, problems = read(tmp_path / "t.csv", f"id,x,{name}\n1,2,3\n")
    assert only(problems).what == f"gene names were turned into dates: '{name}'"
