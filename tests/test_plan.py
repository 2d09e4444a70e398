"""Planning a study: every hospital with its reason, time, bytes, power and what to look out for."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from local import edit
from rich.console import Console
from support import LocalExchange, approve_as_it_is, make_consortium, make_run, run

import client.cli
import server.cli
from ghanet_model.errors import DeploymentError, SettingsError, StudyError, TrainingError
from ghanet_model.study import read_study
from server.checkpoint import read_checkpoint
from server.config import ServerConfig
from server.intake import REASONS
from server.plan import plan_study
from server.plan_page import print_plan
from server.plan_power import MOST, OTHERS, OWN, TOLD, expected_deaths, share_of
from server.stages import run_study
from server.task import (
    TASK_FILE,
    end_task,
    folder_of_study,
    leave_plan,
    planned_study,
    require_no_plan,
)

NAMES = ("hospital-a", "hospital-b", "hospital-d")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hospitals that were asked nothing yet."""
    root = tmp_path_factory.mktemp("consortium")
    make_consortium(root)
    return root


@pytest.fixture
def consortium(made: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    return Path(shutil.copytree(made, tmp_path / "consortium"))


def planned(root: Path, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """The plan as its file holds it, these hospitals connected."""
    one = make_run(root, LocalExchange(root, names))
    plan_study(one)
    found: dict[str, Any] = json.loads((one.config.report / "plan.json").read_text())
    return found


def why(plan: dict[str, Any]) -> dict[str, str]:
    """Why each hospital would not take part."""
    return {one["name"]: one["why"] for one in plan["hospitals"]}


def shown(plan: dict[str, Any], width: int = 80) -> str:
    """What a person sees."""
    console = Console(width=width, file=io.StringIO(), soft_wrap=True)
    print_plan(plan, console)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def set_minimum(root: Path, least: int) -> None:
    """The study and every hospital ask for so many cases."""
    edit(root / "coordinator" / "study.yaml", {"minimum_cases": least})
    for name in NAMES:
        edit(root / name / "study.yaml", {"minimum_cases": least})
        edit(root / name / "site.yaml", {"policy": {"minimum_cases": least}})
        approve_as_it_is(root / name)


def test_a_plan_names_every_hospital_with_what_it_would_bring(consortium: Path) -> None:
    """Cases, training cases, genes and evaluated cases are those of the tables."""
    plan = planned(consortium)
    assert why(plan) == dict.fromkeys(NAMES, "")
    rows = {one["name"]: one for one in plan["hospitals"]}
    keys = ("cases", "training", "with_genes", "evaluated")
    assert [rows["hospital-b"][key] for key in keys] == [45, 30, 30, 15]
    assert [rows["hospital-d"][key] for key in keys] == [30, None, None, 30]
    assert plan["training_hospitals"] == {"needed": 2, "ready": 2}
    assert plan["genes"]["hospitals"]["hospital-a"]["oncogenes"] == [8, 8]
    assert set(plan["genes"]["hospitals"]) == {"hospital-a", "hospital-b"}


def test_a_plan_leaves_the_study_untouched_and_can_be_repeated(consortium: Path) -> None:
    """No panel, no checkpoint; cohorts and features are asked about once."""
    state = consortium / "coordinator" / "state"
    before = {path.name for path in state.iterdir()}
    planned(consortium)
    new = {path.name for path in state.iterdir()} - before
    assert new <= {"cohort.json", "signature.json", "sums", "progress.json"}
    exchange = LocalExchange(consortium, NAMES)
    plan_study(make_run(consortium, exchange))
    topics = [record.values["topic"] for _, record in exchange.sent]
    assert sorted(set(topics)) == ["follow-up", "gene values", "rehearsal"]


def test_bytes_are_those_that_then_move(consortium: Path) -> None:
    """Both ways, of every hospital, but for names and headers; so is the number of genes."""
    plan, one = planned(consortium), make_run(consortium)
    run_study(one)
    checkpoint = read_checkpoint(one.config.state / "checkpoints", study=one.study.digest)
    assert checkpoint is not None
    record = checkpoint.history[-1]
    for site, row in zip(record.sites, plan["hospitals"], strict=True):
        assert site.sent / 1e6 == pytest.approx(row["megabytes"]["sent"], rel=0.03)
        assert site.received / 1e6 == pytest.approx(
            row["megabytes"]["received"], rel=0.03, abs=0.001
        )
    panel = json.loads((one.config.state / "panel.json").read_text())["panel"]
    assert plan["model"]["genes"] == len(panel["columns"])


def test_changes_of_half_the_bytes_are_half_the_bytes(consortium: Path) -> None:
    """``exchange_precision: bfloat16``, both ways."""
    whole = planned(consortium)["round"]["megabytes"]
    for name in ("coordinator", *NAMES):
        edit(consortium / name / "study.yaml", {"exchange_precision": "bfloat16"})
    for name in NAMES:
        approve_as_it_is(consortium / name)
    assert planned(consortium)["round"]["megabytes"] == pytest.approx(whole / 2, rel=0.01)


def test_a_round_takes_as_long_as_the_slowest_hospital(consortium: Path) -> None:
    """They work at the same time; all rounds take so many times longer."""
    plan = planned(consortium)
    seconds = {one["name"]: sum(one["seconds"].values()) for one in plan["hospitals"]}
    assert plan["round"]["slowest"] == max(seconds, key=lambda name: seconds[name])
    assert plan["round"]["seconds"] == pytest.approx(max(seconds.values()), abs=0.02)
    assert plan["whole"]["seconds"] >= 3 * plan["round"]["seconds"] - 0.1


def test_whoever_would_refuse_is_in_the_table_with_the_reason(consortium: Path) -> None:
    """Not connected, not approved, tables with a problem; the plan is made all the same."""
    edit(consortium / "hospital-b" / "study.yaml", {"rounds": 9})
    (consortium / "hospital-d" / "clinical.csv").write_text("case_id\nx\n")
    plan = planned(consortium)
    assert why(plan) == {
        "hospital-a": "",
        "hospital-b": REASONS["unapproved"],
        "hospital-d": REASONS["cohort"],
    }
    assert why(planned(consortium, ("hospital-a",)))["hospital-b"] == REASONS["offline"]
    said = shown(plan)
    assert f"hospital-b would not take part: {REASONS['unapproved']}" in said
    assert "training hospitals that are ready: 1, a round needs 2" in said


def test_a_missing_feature_file_is_a_reason(consortium: Path) -> None:
    """Found before the first round."""
    next((consortium / "hospital-b").rglob("*.h5")).unlink()
    assert why(planned(consortium))["hospital-b"] == REASONS["features"]


def test_too_few_training_cases_are_a_reason(consortium: Path) -> None:
    """The hospital answers, and a round would still refuse."""
    edit(consortium / "hospital-a" / "site.yaml", {"policy": {"minimum_cases": 25}})
    approve_as_it_is(consortium / "hospital-a")
    assert why(planned(consortium))["hospital-a"].startswith("too few training cases")


def test_more_cases_than_were_approved_are_a_reason(consortium: Path) -> None:
    """As in a round."""
    folder = consortium / "coordinator"
    run(server.cli.main, "renew", "hospital-b", "--cases", 40, "--folder", folder)
    said = "quarantined: it claims 45 cases; 40 were approved"
    assert why(planned(consortium))["hospital-b"] == said


def test_who_left_and_who_was_revoked_is_said(consortium: Path) -> None:
    """They are not asked."""
    folder = consortium / "coordinator"
    run(server.cli.main, "revoke", "hospital-d", "--folder", folder, "--reason", "test")
    run(client.cli.main, "leave", "--folder", consortium / "hospital-b")
    reasons = why(planned(consortium))
    assert reasons["hospital-d"] == REASONS["revoked"]
    assert reasons["hospital-b"] == REASONS["left"]


def test_without_an_answer_there_is_no_plan(consortium: Path) -> None:
    """One line that names everybody, and what to do."""
    with pytest.raises(TrainingError, match="hospital-a: not connected; hospital-b") as error:
        planned(consortium, ())
    assert "ghanet-client start" in error.value.hint
    assert not (consortium / "coordinator" / "report" / "plan.json").exists()


def test_a_study_that_nobody_holds_is_said_in_one_line(consortium: Path) -> None:
    """With the hint to send the new invitation; cohorts of the real study are not lost."""
    planned(consortium)
    cohort = (consortium / "coordinator" / "state" / "cohort.json").read_text()
    edit(consortium / "coordinator" / "study.yaml", {"rounds": 9})
    with pytest.raises(StudyError, match=r"no hospital holds this study\.yaml") as error:
        planned(consortium)
    assert "invitation.json" in error.value.hint
    assert (consortium / "coordinator" / "state" / "cohort.json").read_text() == cohort


def test_an_empty_roster_is_said(consortium: Path) -> None:
    """Nobody can be asked."""
    (consortium / "coordinator" / "roster.json").unlink()
    with pytest.raises(SettingsError, match="no hospital is enrolled"):
        planned(consortium)


def test_withheld_sums_are_warned_of(consortium: Path) -> None:
    """Held-out cases below the minimum, few deaths, no stage, and edges that nobody reaches."""
    edit(consortium / "hospital-a" / "site.yaml", {"policy": {"minimum_cases": 11}})
    approve_as_it_is(consortium / "hospital-a")
    said = "\n".join(planned(consortium)["warnings"])
    assert "hospital-a: too few cases to evaluate" in said
    assert "hospital-b, hospital-d: few deaths or few survivors" in said
    assert "do not tell theirs: perhaps too few" in said


def test_told_times_give_edges_bins_and_power(consortium: Path) -> None:
    """With nothing untold, deaths by bin are those of all tables."""
    set_minimum(consortium, 1)
    plan = planned(consortium)
    deaths = sum(plan["time_bins"]["deaths"])
    assert deaths == sum(one["events"] for one in plan["hospitals"]) > 10
    assert plan["time_bins"]["proposed"]
    assert {found["how"] for found in plan["power"]["hospitals"].values()} == {TOLD}
    low, high = plan["power"]["detectable"]["0.8"], plan["power"]["detectable"]["0.5"]
    assert 0 < low < high < 0.5
    assert "deaths of" not in shown(plan)


def test_an_edge_beyond_follow_up_and_a_bin_without_deaths_are_warned_of(
    consortium: Path,
) -> None:
    """The study asks for 240 months."""
    set_minimum(consortium, 1)
    for name in ("coordinator", *NAMES):
        edit(consortium / name / "study.yaml", {"time_bin_edges": [12, 36, 240]})
    for name in NAMES:
        approve_as_it_is(consortium / name)
    said = "\n".join(planned(consortium)["warnings"])
    assert "no told follow-up reaches the edge at 240 months" in said
    assert "no known death from 240 to the end months" in said


def test_features_of_another_encoder_are_a_warning(consortium: Path) -> None:
    """They end a run, not a plan."""
    width = 0
    for path in (consortium / "hospital-b").rglob("*.h5"):
        with h5py.File(path, "r+") as file:
            features = file["features"][...]
            width = features.shape[-1]
            rotation = np.linalg.qr(np.random.default_rng(3).standard_normal((width, width)))[0]
            file["features"][...] = np.maximum(features @ rotation, 0).astype(features.dtype)
    assert any("unlike most hospitals'" in said for said in planned(consortium)["warnings"])


def test_a_gene_group_that_not_all_measured_is_warned_of(consortium: Path) -> None:
    """Fixing the panel would end the run."""
    study = read_study(consortium / "coordinator")
    group, symbols = study.groups[1]
    path = consortium / "hospital-b" / "genes.csv"
    head, *rows = (line.split(",") for line in path.read_text().splitlines())
    kept = [i for i, name in enumerate(head) if name.removesuffix("_rnaseq") not in symbols]
    path.write_text("\n".join(",".join(row[i] for i in kept) for row in (head, *rows)) + "\n")
    plan = planned(consortium)
    assert plan["genes"]["groups"][group]["everywhere"] == 0
    said = f"gene group '{group}' has no gene that all measured (hospital-b measured none)"
    assert any(said in warning for warning in plan["warnings"])


def test_a_plan_fits_a_terminal(consortium: Path) -> None:
    """Nothing of the table is cut at 80 columns."""
    said = shown(planned(consortium, NAMES[:2]))
    assert "…" not in said
    assert "hospital-d would not take part: not connected" in said
    assert "which is not measured" in said


def test_an_evaluation_in_which_nobody_dies_has_no_power(consortium: Path) -> None:
    """A dash where there is no number."""
    set_minimum(consortium, 1)
    for table in consortium.glob("hospital-*/clinical.csv"):
        head, *rows = (line.split(",") for line in table.read_text().splitlines())
        event, split = head.index("event"), head.index("split")
        for row in rows:
            row[event] = "1" if row[split] == "train" else "0"
        table.write_text("\n".join(",".join(row) for row in (head, *rows)) + "\n")
    edit(consortium / "hospital-d" / "site.yaml", {"policy": {"minimum_cases": 50}})
    approve_as_it_is(consortium / "hospital-d")
    plan = planned(consortium)
    assert plan["power"]["half_width"] is None
    assert "known to +-- (95%)" in shown(plan)


def test_deaths_are_told_or_taken_from_shares_that_are() -> None:
    """Own evaluated deaths; own cohort's share; that of the others; the most that is untold."""
    told = {"outcome": np.array([60.0, 40, 0]), "untold_outcome": np.zeros(3)}
    untold = {"outcome": np.zeros(3), "untold_outcome": np.ones(3)}
    one = {"name": "a", "evaluated": 40, "evaluated_events": 12}
    assert expected_deaths(one, {}, least=10) == (12, TOLD)
    one["evaluated_events"] = None
    assert expected_deaths(one, {"a": told}, least=10) == (9, OWN)  # 16 would have been told
    assert expected_deaths(one, {"a": untold, "b": told}, least=10) == (9, OTHERS)
    assert expected_deaths(one | {"evaluated": 20}, {"b": told}, least=10) == (8, OTHERS)
    assert expected_deaths(one, {"a": untold}, least=10) == (9, MOST)
    assert share_of({}) is None


def config_of(folder: Path) -> ServerConfig:
    """A folder without a server."""
    return ServerConfig(folder=folder, host="localhost")


def test_a_task_is_for_one_run(tmp_path: Path) -> None:
    """It names the study; a run in progress holds 'train' off, a dead one does not."""
    config = config_of(tmp_path)
    assert planned_study(config) is None
    leave_plan(config, tmp_path)
    assert planned_study(config) == tmp_path
    with pytest.raises(DeploymentError, match="a plan is being made"):
        require_no_plan(config, "7")
    require_no_plan(config, None)
    assert planned_study(config) is None
    require_no_plan(config, "7")
    end_task(config)


def test_a_study_is_named_by_its_file_or_folder(tmp_path: Path) -> None:
    """Another file is refused."""
    assert folder_of_study(tmp_path) == folder_of_study(tmp_path / "study.yaml") == tmp_path
    with pytest.raises(SettingsError, match=r"other\.yaml: not a study\.yaml"):
        folder_of_study(tmp_path / "other.yaml")


def test_without_a_server_there_is_one_line(
    consortium: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, and no task is left for the next run."""
    folder = consortium / "coordinator"
    capsys.readouterr()
    assert server.cli.main(["plan", "--folder", str(folder)]) == 1
    assert capsys.readouterr().err.startswith("ghanet-server: error: no server answers at")
    assert not (folder / "state" / TASK_FILE).exists()
    assert server.cli.main(["plan", str(consortium / "none.yaml"), "--folder", str(folder)]) == 1


def test_a_hospital_that_changed_since_it_described_its_cohort_is_named(consortium: Path) -> None:
    """A case was withdrawn; deaths are those that it told before."""
    planned(consortium)
    home = consortium / "hospital-b"
    case = (home / "clinical.csv").read_text().splitlines()[1].split(",")[0]
    run(client.cli.main, "withdraw", case, "--folder", home)
    said = "\n".join(planned(consortium)["warnings"])
    assert "hospital-b: 44 cases; its deaths, age and stage are those of 45" in said
