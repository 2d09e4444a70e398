"""Describing cohorts: from hospitals' tables to state/cohort.json, once, without a small cell."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from local import edit
from support import LocalExchange, approve_as_it_is, join, make_consortium, make_run, run

import client.cli
import server.cli
from ghanet_model.record import Record
from ghanet_model.wire import STATISTICS
from server.cohort import describe_cohorts
from server.run import Run

SEX = ["female", "male"]


@pytest.fixture
def consortium(tmp_path: Path) -> Path:
    """Three hospitals."""
    make_consortium(tmp_path)
    return tmp_path


def described(one: Run) -> dict[str, Any]:
    """What the stage wrote."""
    describe_cohorts(one)
    found: dict[str, Any] = json.loads((one.config.state / "cohort.json").read_text())
    return found


def tells_deaths(table: pd.DataFrame) -> bool:
    """Whether neither training nor held-out cases have few deaths or few survivors."""
    counts = table.groupby(["split", "event"]).size()
    return bool((counts >= 10).all())


def test_the_table_is_that_of_the_clinical_tables(consortium: Path) -> None:
    """Cases, deaths and who is sequenced, of every hospital and of all."""
    found = described(make_run(consortium))
    tables = {n: pd.read_csv(consortium / n / "clinical.csv") for n in found["hospitals"]}
    assert list(tables) == ["hospital-a", "hospital-b", "hospital-d"]
    for name, table in tables.items():
        mine = found["hospitals"][name]
        assert mine["cases"] == len(table)
        deaths = int(table["event"].sum())
        assert mine["events"] == (deaths if tells_deaths(table) else None)
        assert mine["training"] == (table["split"] == "train").sum()
        assert mine["with_genes"] == (0 if name == "hospital-d" else len(table))
        assert mine["age"]["mean"] == pytest.approx(table["age"].mean(), abs=0.01)
        told = pytest.approx(table["time"].mean(), abs=0.1) if tells_deaths(table) else None
        assert mine["mean_follow_up"] == told
        women = int((table["sex"] == "female").sum())
        assert mine["sex"] == {"female": women, "male": len(table) - women, "unknown": 0}
    assert found["total"]["cases"] == 105
    assert found["left_out"] == {}
    assert found["study"] == make_run(consortium).study.digest


def test_a_policy_of_one_case_gives_the_pooled_table(tmp_path: Path) -> None:
    """Totals are those of all tables in one place; so is the median follow-up."""
    make_consortium(tmp_path, minimum_cases=1)
    for name in ("hospital-a", "hospital-b", "hospital-d"):
        edit(tmp_path / name / "site.yaml", {"policy": {"minimum_cases": 1}})
        approve_as_it_is(tmp_path / name)
    found = described(make_run(tmp_path))
    pooled = pd.concat(pd.read_csv(path) for path in tmp_path.glob("hospital-*/clinical.csv"))
    assert found["total"]["events"] == pooled["event"].sum()
    assert found["total"]["held_out"] == (pooled["split"] == "val").sum()
    assert found["total"]["untold"]["events"] == 0
    months = pooled["time"].astype(int)
    left = np.cumprod(
        [
            1 - ((months == m) & (pooled["event"] == 0)).sum() / max(after, 1)
            for m in range(120)
            for after in [(months >= m).sum() - ((months == m) & (pooled["event"] == 1)).sum()]
        ]
    )
    assert found["total"]["follow_up"] == np.flatnonzero(left <= 0.5)[0] + 1


def test_ages_and_sexes_are_told_and_small_cells_are_not(consortium: Path) -> None:
    """Three cases of stage IV stay, and with them the smallest other cell."""
    path = consortium / "hospital-b" / "clinical.csv"
    table = pd.read_csv(path)
    table["age"] = np.linspace(40, 84, 45)
    table["sex"] = (SEX * 23)[:45]
    table["stage"] = ["IV"] * 3 + ["I"] * 12 + ["II"] * 30
    table["grade"] = ""
    table.to_csv(path, index=False)
    mine = described(make_run(consortium))["hospitals"]["hospital-b"]
    assert mine["sex"] == {"female": 23, "male": 22, "unknown": 0}
    assert mine["stage"] == {"0": 0, "I": None, "II": 30, "III": 0, "IV": None, "unknown": 0}
    assert mine["grade"]["unknown"] == 45
    assert (mine["age"]["mean"], mine["age"]["known"]) == (62, 45)
    assert mine["age"]["sd"] == pytest.approx(table["age"].std(ddof=0), abs=0.01)


def test_nobody_is_asked_twice(consortium: Path) -> None:
    """A second start finds the tables; a hospital that was enrolled since is asked alone."""
    first = described(make_run(consortium))
    again = LocalExchange(consortium, make_run(consortium).roster.names())
    assert described(make_run(consortium, again)) == first
    assert again.asked == []
    join(consortium, "hospital-e", role="infers", genes=False)
    later = LocalExchange(consortium, make_run(consortium).roster.names())
    found = described(make_run(consortium, later))
    assert later.asked == [(STATISTICS, "hospital-e")]
    assert found["total"]["cases"] == first["total"]["cases"] + 30


def test_a_hospital_that_was_revoked_is_in_it_no_more(consortium: Path) -> None:
    """The table is that of hospitals in good standing."""
    described(make_run(consortium))
    folder = consortium / "coordinator"
    run(server.cli.main, "revoke", "hospital-d", "--folder", folder, "--reason", "test")
    found = described(make_run(consortium))
    assert set(found["hospitals"]) == {"hospital-a", "hospital-b"}
    assert found["total"]["cases"] == 75


def test_another_study_is_described_anew(consortium: Path) -> None:
    """Tables that were told about another study.yaml are not used."""
    described(make_run(consortium))
    for home in ("coordinator", "hospital-a", "hospital-b", "hospital-d"):
        edit(consortium / home / "study.yaml", {"rounds": 2})
        if home != "coordinator":
            approve_as_it_is(consortium / home)
    again = LocalExchange(consortium, make_run(consortium).roster.names())
    described(make_run(consortium, again))
    assert len(again.asked) == 3


def test_a_hospital_that_cannot_answer_is_left_out_and_asked_again(consortium: Path) -> None:
    """It ends nothing; its reason stands beside the table."""
    table = consortium / "hospital-d" / "clinical.csv"
    content = table.read_text()
    table.write_text("case_id\n")
    found = described(make_run(consortium))
    assert found["left_out"] == {"hospital-d": "its tables cannot be used"}
    assert set(found["hospitals"]) == {"hospital-a", "hospital-b"}
    table.write_text(content)
    found = described(make_run(consortium))
    assert found["left_out"] == {}
    assert set(found["hospitals"]) == {"hospital-a", "hospital-b", "hospital-d"}


class Lies(LocalExchange):
    """One hospital claims deaths that its cases do not have."""

    def tamper(self, kind: str, name: str, reply: Record) -> Record:  # noqa: ARG002
        """Ten deaths more."""
        if name != "hospital-d":
            return reply
        changed = dict(reply.arrays)
        changed["outcome"] = changed["outcome"] + np.array([0.0, 10, 0])
        return Record(reply.values, changed)


def test_an_impossible_table_quarantines_its_hospital(consortium: Path) -> None:
    """It is left out by name, the others are described."""
    exchange = Lies(consortium, make_run(consortium).roster.names())
    found = described(make_run(consortium, exchange))
    assert found["left_out"]["hospital-d"].startswith("quarantined: ")
    assert set(found["hospitals"]) == {"hospital-a", "hospital-b"}


def test_a_case_that_was_withdrawn_is_not_counted(consortium: Path) -> None:
    """As if it were in no table."""
    home = consortium / "hospital-b"
    first = pd.read_csv(home / "clinical.csv")["case_id"][0]
    run(client.cli.main, "withdraw", first, "--folder", home)
    assert described(make_run(consortium))["hospitals"]["hospital-b"]["cases"] == 44
