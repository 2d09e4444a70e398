"""Outcomes: dates, units and words of hospitals; what is left open is asked, never guessed."""

import datetime as dt
from pathlib import Path

import pandas as pd
import pytest

from client.cohort import read_cohort
from client.config import Columns, EventWords, SiteConfig
from client.dates import read_dates
from client.outcomes import read_events, read_follow_up
from client.table import Table
from ghanet_model.study import StudyConfig

CASE = "CANARY-7"
DIED = ["1", "1.0", "TRUE", "yes", "Y", "Deceased", "DEAD", "died", "tot", "verstorben", "ja"]
DIED += ["oui", "décédée", "sí", "fallecido", "Sì", "deceduta", "overleden", "1:DECEASED"]
DIED += ["1:Recurred/Progressed", "uncensored"]
ALIVE = ["0", 0, 0.0, False, "No", "living", "Alive", "lebt", "am Leben", "en vie", "vivo"]
ALIVE += ["in leven", "0:LIVING", "0:DiseaseFree", "censored", "FAUX", "onwaar"]


def clinical(tmp_path: Path, text: str, **settings) -> list[str]:
    """What is wrong with a clinical table, in a person's words."""
    (tmp_path / "clinical.csv").write_text(text)
    names = [line.split(",")[0] for line in text.splitlines()[1:]]
    slides = "".join(f"{name},{name}\n" for name in names)
    (tmp_path / "slides.csv").write_text(f"case_id,slide_id\n{slides}")
    values = {"name": "n", "server": "h:1", "features": tmp_path, "encoder": "e"}
    paths = {key: tmp_path / f"{key}.csv" for key in ("slides", "clinical")}
    site = SiteConfig(**values, **paths, folder=tmp_path, **settings)
    study = StudyConfig("s", "e", 4, (12.0,), "g.csv", (("g", ("G",)),))
    problems = read_cohort(site, study)[1]
    assert CASE not in repr(problems)
    assert all(problem.hint for problem in problems)
    return [str(problem) for problem in problems]


def dated(start: str, end: str) -> str:
    """A clinical table of two dates, and a plain second row."""
    return f"case_id,start,end,event\n{CASE},{start},{end},1\nB,{start},{end},0\n"


DATED = Columns(start="start", end="end")


@pytest.mark.parametrize(
    ("start", "end", "problems"),
    [
        ("2020-01-01", "2019-12-31", "row {row}: end is before start"),
        ("2020-01-01", "2999-12-31", "row {row}: end is in the future"),
        ("", "2020-12-31", "row {row}: start is missing"),
    ],
)
def test_impossible_dates_are_told_by_row(tmp_path, start, end, problems):
    """Dates in the wrong order, in the future or missing are a problem of their row."""
    text = dated("2020-01-01", "2020-02-01") + f"C,{start},{end},0\n"
    assert clinical(tmp_path, text, columns=DATED) == [f"clinical.csv {problems.format(row=4)}"]


def test_one_format_must_fit_the_column(tmp_path):
    """A date written in another way is a problem of its row."""
    text = dated("2020-01-01", "2020-02-01") + "C,01.02.2020,2021-01-01,0\n"
    problem = "clinical.csv row 4: start is not a date as the others, such as 2020-12-31"
    assert clinical(tmp_path, text, columns=DATED) == [problem]


def test_day_and_month_that_cannot_be_told_apart(tmp_path):
    """Where both orders fit, the site must say which; then it is no problem."""
    text = dated("03/04/2019", "05/06/2020")
    told = clinical(tmp_path, text, columns=DATED)
    assert told[0] == "clinical.csv: day and month of start cannot be told apart"
    assert len(told) == 2
    assert clinical(tmp_path, text, columns=DATED, date_order="day first") == []


@pytest.mark.parametrize(
    ("order", "expected"),
    [("day first", dt.date(2020, 4, 3)), ("month first", dt.date(2020, 3, 4))],
)
def test_date_order_decides(order, expected):
    """The order that the site names is the one that is read, with every separator."""
    for text in ("03/04/2020", "03-04-2020", "03.04.2020", "3/4/2020 11:30 PM"):
        assert read_dates(pd.Series([text]), order).days.to_list() == [expected]


def test_same_day_and_month_leave_nothing_open():
    """Dates that are the same in both orders are no question."""
    assert not read_dates(pd.Series(["05/05/2020", "06/06/2021"]), None).is_open


@pytest.mark.parametrize("cell", ["2020-02-30", "31.12.20", "44196", "yesterday", "2020-13-01"])
def test_column_without_dates(tmp_path, cell):
    """What is no date is never made one: no two-digit years, no numbers of days."""
    told = clinical(tmp_path, dated(cell, "2020-12-31"), columns=DATED)
    assert told == ["clinical.csv: start holds no date"]


def test_days_taken_for_months_are_noticed(tmp_path):
    """A median follow-up above twenty years asks whether the unit is days; in days it is none."""
    text = "case_id,time,event\nA,300,1\nB,900,0\nC,2000,0\n"
    problem = "clinical.csv: the median follow-up would be more than 240 months"
    assert clinical(tmp_path, text) == [problem]
    assert clinical(tmp_path, text, time_unit="days") == []


def test_units_of_follow_up():
    """A month is 365.25 / 12 days."""
    table = Table("t", ("time",), pd.DataFrame({"time": ["365.25"]}))
    site = SiteConfig("n", "h:1", Path("s"), Path("f"), "e", Path(), time_unit="days")
    assert read_follow_up(table, site, site.columns).cells.to_list() == [12.0]


def meaning(word: object, columns: Columns | None = None, **words) -> object:
    """What one cell of an event column says: True, False or None."""
    columns = columns or Columns()
    column = columns.censorship or columns.event
    table = Table("t", (column,), pd.DataFrame({column: pd.Series([word], dtype=object)}))
    part = read_events(table, columns, EventWords(**words))
    assert CASE not in part.understood
    return part.cells.iloc[0]


@pytest.mark.parametrize("word", DIED)
def test_words_for_died(word):
    """Flags and words of several languages, in any letter case."""
    assert meaning(word) is True


@pytest.mark.parametrize("word", ALIVE)
def test_words_for_alive(word):
    """The same for those who were alive when last seen."""
    assert meaning(word) is False


@pytest.mark.parametrize("word", ["", "2", "NA", CASE, "1:LIVING", "0:DECEASED", "1 or 0", "-1"])
def test_words_that_say_nothing(word):
    """What is not known, or contradicts itself, is neither."""
    assert meaning(word) is None


@pytest.mark.parametrize(
    ("word", "died"), [(1, False), (0, True), ("yes", False), ("dead", True), ("1:DECEASED", None)]
)
def test_censorship_turns_flags_not_words(word, died):
    """A censorship of 1 is no event, but who is dead is dead."""
    assert meaning(word, Columns(censorship="c")) is died


def test_own_numbers_replace_flags():
    """If 1 means alive here, a 0 means nothing."""
    own = {"died": ("2",), "alive": ("1",)}
    assert [meaning(word, **own) for word in (2, 1, 0, "dead")] == [True, False, None, True]


def test_unknown_word_asks_for_event_words(tmp_path):
    """A word that is not understood is a problem of its row; the cell is not repeated."""
    told = clinical(tmp_path, f"case_id,time,event\nA,1,{CASE}\nB,2,dead\n")
    assert told == ["clinical.csv row 2: event is neither died nor alive"]
