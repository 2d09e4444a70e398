"""Rehearsing a round: what leaves are counts and seconds, and the hospital is as it was before."""

from pathlib import Path

import numpy as np
import pytest
from local import edit
from support import approve_as_it_is, write_site

from client.answers import open_site
from client.frames import Frame
from client.memory import Memory
from client.rehearsal import MOST_CASES, _a_few, rehearse
from client.trainer import answer_frame
from ghanet_model.errors import FeaturesError, GenesError, ProtocolError, TrainingError
from ghanet_model.genes import candidate_columns
from ghanet_model.protocol import StatisticsAsk
from ghanet_model.question import Sums, text_of
from ghanet_model.rehearsal import Rehearsal, stand_in_panel
from ghanet_model.study import read_study
from ghanet_model.wire import ERROR, STATISTICS

TRAINS, INFERS = Rehearsal(trains=True, genes=True), Rehearsal(trains=False, genes=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A hospital of 30 cases, a third of them held out."""
    return write_site(tmp_path / "home")


def rehearsed(home: Path, question: Rehearsal = TRAINS) -> Sums:
    """What the hospital tells."""
    return rehearse(open_site(home), StatisticsAsk("", question.topic, ""), question)


def files_of(home: Path) -> dict[str, bytes]:
    """Every file but the ledger and the log."""
    found = (p for p in sorted(home.rglob("*")) if p.is_file())
    return {str(p): p.read_bytes() for p in found if p.parent.name not in ("ledger", "logs")}


def test_counts_are_those_of_the_tables_and_every_part_takes_time(home: Path) -> None:
    """All, training, with genes, held out; seconds of both parts; bytes of the files."""
    sums = rehearsed(home)
    assert sums["sizes"].tolist() == [30, 20, 20, 10]
    assert (sums["seconds"] > 0).all()
    size = sum(path.stat().st_size for path in home.rglob("*.h5"))
    assert sums["megabytes"] == pytest.approx(size / 1e6)


def test_a_hospital_that_infers_trains_nothing_and_evaluates_all(home: Path) -> None:
    """Its role decides."""
    sums = rehearsed(home, INFERS)
    assert sums["sizes"].tolist() == [30, 0, 0, 30]
    assert sums["seconds"][0] == 0 < sums["seconds"][1]


def test_more_epochs_take_longer(home: Path) -> None:
    """Seconds are of a whole round: forty epochs, and as many of a model of its own."""
    once = rehearsed(home)["seconds"][0]
    edit(home / "study.yaml", {"local_epochs": 40, "train_alone": True})
    approve_as_it_is(home)
    assert rehearsed(home)["seconds"][0] > 10 * once


def test_few_cases_are_told_as_none_and_are_not_rehearsed(home: Path) -> None:
    """No number of 1 to 14, where the hospital's policy asks for 15."""
    edit(home / "site.yaml", {"policy": {"minimum_cases": 15}})
    approve_as_it_is(home)
    sums = rehearsed(home)
    assert sums["sizes"].tolist() == [30, 20, 20, 0]
    assert sums["seconds"][1] == 0
    edit(home / "site.yaml", {"policy": {"minimum_cases": 31}})
    approve_as_it_is(home)
    assert not any(array.any() for array in rehearsed(home).values())


def test_it_passes_the_gate_and_leaves_no_trace(home: Path) -> None:
    """No weights, no model, no question is kept; only ledger and log have a line."""
    before = files_of(home)
    ask = StatisticsAsk(read_study(home).digest, TRAINS.topic, text_of(TRAINS)).to_record()
    answered = answer_frame(Frame(STATISTICS, ask.values, ask.packed()), home, Memory())
    assert ERROR not in answered.values
    assert files_of(home) == before


def test_a_missing_feature_file_is_found(home: Path) -> None:
    """Also where the case is none of the few."""
    max(home.rglob("*.h5")).unlink()
    with pytest.raises(FeaturesError):
        rehearsed(home)


def test_a_missing_gene_table_is_found(home: Path) -> None:
    """The coordinator believes that there is one."""
    edit(home / "site.yaml", {"genes": None})
    approve_as_it_is(home)
    with pytest.raises(GenesError, match="no gene table"):
        rehearsed(home)


def test_a_cohort_in_which_nobody_died_is_found(home: Path) -> None:
    """Training would refuse it too."""
    table = home / "clinical.csv"
    head, *rows = table.read_text().splitlines()
    place = head.split(",").index("event")
    cells = [row.split(",") for row in rows]
    alive = [",".join([*row[:place], "0", *row[place + 1 :]]) for row in cells]
    table.write_text("\n".join([head, *alive]) + "\n")
    with pytest.raises(TrainingError, match="no event"):
        rehearsed(home)


def test_work_that_nobody_waits_for_is_given_up(home: Path) -> None:
    """As in a round."""

    def gone() -> None:
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        rehearse(open_site(home, require_wanted=gone), StatisticsAsk("", "", ""), TRAINS)


def test_slow_cases_are_rehearsed_on_fewer() -> None:
    """Eight cases, or as many as ten seconds allow, spread over the cohort."""
    rows = list(range(100))
    assert _a_few(rows, 0.01) == [0, 14, 28, 42, 56, 70, 84, 99]
    assert len(_a_few(rows, 3.0)) == 3
    assert _a_few(rows, 60.0) == [0]
    assert len(_a_few(rows[:3], 0.01)) == 3 < MOST_CASES


@pytest.mark.parametrize(
    "changes",
    [
        {"sizes": [30, 20, 21, 10]},
        {"sizes": [30, 20, 20, 11]},
        {"sizes": [30, 20.5, 20, 0]},
        {"seconds": [-1.0, 0.0]},
        {"sizes": [30, 0, 0, 10], "seconds": [1.0, 1.0]},
    ],
)
def test_numbers_that_cannot_be_are_refused(home: Path, changes: dict[str, list[float]]) -> None:
    """More with genes than trained on, more parts than cases, half a case, time of nobody."""
    good = {"sizes": [30, 20, 20, 10], "seconds": [1.0, 1.0], "megabytes": [1.0]}
    study = read_study(home)
    TRAINS.require_possible({k: np.array(v, float) for k, v in good.items()}, study)
    sums = {k: np.array(v, float) for k, v in (good | changes).items()}
    with pytest.raises(ProtocolError):
        TRAINS.require_possible(sums, study)


def test_a_stand_in_panel_holds_the_columns_that_are_measured(home: Path) -> None:
    """All candidates, or those named; a group without any is refused."""
    study = read_study(home)
    columns = candidate_columns(study)
    assert stand_in_panel(study).columns == columns
    assert stand_in_panel(study, columns[1:]).columns == columns[1:]
    with pytest.raises(GenesError, match="no usable column"):
        stand_in_panel(study, ())
