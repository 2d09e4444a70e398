"""The report's twin: what lies on a coordinator's disk, as JSON, at any time of a run."""

import dataclasses
import json
import shutil
from pathlib import Path

import example_run
import pytest
from support import make_consortium, make_run

import server.cli
from ghanet_model.errors import StudyError
from ghanet_model.study import VALIDATION
from server.checkpoint import write_checkpoint
from server.cohort import describe_cohorts
from server.panel import fix_panel
from server.progress import FAILED, FINISHED, ROUND, Progress
from server.report import report_now, twin_of
from server.report_rounds import END, NOT_ASKED, ONLY_TRAINED, QUARANTINED, RELEASED, TRAINED
from server.rounds import one_round, start_or_resume


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A consortium whose cohorts are described and that trained one of three rounds."""
    root = tmp_path_factory.mktemp("consortium")
    make_consortium(root)
    one = make_run(root)
    describe_cohorts(one)
    panel = fix_panel(one)
    checkpoint = one_round(one, start_or_resume(one, panel), panel)
    write_checkpoint(one.config.state / "checkpoints", checkpoint)
    return root


@pytest.fixture
def coordinator(made: Path, tmp_path: Path) -> Path:
    """A copy of its folder."""
    return Path(shutil.copytree(made / "coordinator", tmp_path / "coordinator"))


@pytest.fixture(scope="module")
def twin():
    """The twin of a made-up run with everything."""
    return twin_of(example_run.example())


def command(*arguments: object) -> int:
    """Run ``ghanet-server``."""
    return server.cli.main([str(argument) for argument in arguments])


def test_a_report_half_way_needs_no_server(coordinator, capsys):
    """After one of three rounds, page, twin and picture are written and say how far it is."""
    assert command("report", "--folder", coordinator) == 0
    page = coordinator / "report" / "report.html"
    assert capsys.readouterr().out == f"report: {page}\n"
    assert "Half-way: 1 of 3 rounds" in page.read_text()
    assert json.loads((coordinator / "report" / "report.json").read_text())["rounds"] == 1
    assert (coordinator / "report" / "learning_curve.png").exists()


def test_the_page_goes_where_it_is_wanted(coordinator, tmp_path):
    """--output names another file; its twin stays in the coordinator's folder."""
    assert command("report", "--folder", coordinator, "--output", tmp_path / "r" / "a.html") == 0
    assert "Half-way" in (tmp_path / "r" / "a.html").read_text()
    assert not (coordinator / "report" / "report.html").exists()


def test_nothing_to_report_is_one_line(coordinator, capsys):
    """Before the first stage there is nothing, and that is said."""
    shutil.rmtree(coordinator / "state")
    assert command("report", "--folder", coordinator) == 1
    assert capsys.readouterr().err.splitlines() == [
        "ghanet-server: error: there is nothing to report yet",
        "ghanet-server: hint: run 'ghanet-server train' first",
    ]


def test_cohorts_alone_are_a_report(coordinator):
    """What is there before the first round is reported."""
    shutil.rmtree(coordinator / "state" / "checkpoints")
    report_now(server.cli.read_server(coordinator))
    twin = json.loads((coordinator / "report" / "report.json").read_text())
    assert twin["state"] == "before the first round: 0 of 3 rounds"
    assert set(twin["cohort"]["hospitals"]) == {"hospital-a", "hospital-b", "hospital-d"}


@pytest.mark.parametrize(
    ("content", "words"), [('{"study": "0"}', "another study"), ("{", "damaged"), ("[]", "damaged")]
)
def test_a_file_of_another_study_is_refused(coordinator, content, words):
    """Numbers of two studies are never on one page, and half a file is none."""
    (coordinator / "state" / "cohort.json").write_text(content)
    with pytest.raises(StudyError, match=rf"state/cohort.json .*{words}"):
        report_now(server.cli.read_server(coordinator))


def test_the_same_disk_gives_the_same_bytes(coordinator):
    """A report says when the run was, not when the report was made."""
    config = server.cli.read_server(coordinator)
    first = report_now(config).read_bytes()
    assert report_now(config).read_bytes() == first


def test_every_hospital_did_something_in_every_round(twin):
    """What each did is one of a few words, with the reason where it was left out."""
    rounds = {stage["stage"]: stage["hospitals"] for stage in twin["participation"]}
    assert len(rounds) == example_run.ROUNDS + 1
    assert rounds["12"]["aachen"]["did"] == QUARANTINED
    assert rounds["12"]["aachen"]["why"] == "weights moved further than training can"
    assert rounds["7"]["bordeaux"]["why"] == "no answer in time"
    assert rounds["4"]["coimbra"]["did"] == NOT_ASKED
    assert rounds["5"]["coimbra"]["did"] == TRAINED
    assert rounds["5"]["uppsala-university-hospital"]["did"] == ONLY_TRAINED
    assert END in rounds


def test_the_mean_loss_weighs_by_cases(twin):
    """A hospital with twice the cases counts twice."""
    stage = twin["participation"][0]
    trained = [deed for deed in stage["hospitals"].values() if deed["cases"]]
    cases = sum(deed["cases"] for deed in trained)
    assert stage["loss"] == pytest.approx(
        sum(deed["loss"] * deed["cases"] for deed in trained) / cases
    )


def test_everything_that_is_missing_is_named_with_its_reason(twin):
    """Left out, quarantined, revoked, untold, too few, not measured: a row for each reason."""
    rows = {(row["hospital"], row["what"]): row["why"] for row in twin["withheld"]}
    assert rows["aachen", "quarantined: round 12"] == "weights moved further than training can"
    assert rows["bordeaux", "left out: round 8"] == "not connected"
    gone = rows["dresden", "left out: rounds 18–20 and final evaluation"]  # noqa: RUF001
    assert gone == "revoked by the coordinator"
    assert "key stolen" in rows["dresden", "everything after it was out"]
    assert rows["zagreb", "comparison of features"] == "too few cases to compare"
    assert ("zagreb", "risk group low") in rows
    assert ("bordeaux", "2 gene columns not measured: ERBB2_cnv, PIK3CA_mut") in rows
    cells = "5 cells of the cohort table: deaths, sex female, stage I, stage IV, grade 2"
    assert ("zagreb", cells) in rows
    assert len(rows) == len(twin["withheld"])


def test_a_chosen_round_that_is_not_the_last_is_evaluated_beside_it():
    """Curves end with the last model; the C-index reported is that of the released one."""
    run = example_run.example()
    chosen = dataclasses.replace(
        run.final,
        sites=tuple(
            dataclasses.replace(site, evaluation=example_run.sums(50, 0.7))
            for site in run.final.sites
        ),
    )
    twin = twin_of(dataclasses.replace(run, final=chosen, released=14))
    assert [stage["stage"] for stage in twin["participation"][-2:]] == [END, RELEASED]
    assert twin["c_index"] == pytest.approx(0.7, abs=0.01)
    assert twin["participation"][-2]["c_index"] != twin["c_index"]
    assert twin["selection"] | {"validation": {}} == {
        "by": VALIDATION,
        "round": 14,
        "validation": {},
    }


@pytest.mark.parametrize(
    ("phase", "error", "stopped", "undelivered"),
    [
        (FAILED, "round 3: too few", "round 3: too few", ""),
        (ROUND, "", "in 'round', without a word", ""),
        (FINISHED, "release not delivered to zagreb", "", "release not delivered to zagreb"),
        (FINISHED, "", "", ""),
    ],
)
def test_a_run_that_stopped_says_why(phase, error, stopped, undelivered):
    """A failure, an end without a word, and a release that did not arrive are three things."""
    now = Progress(run="1", phase=phase, error=error)
    twin = twin_of(dataclasses.replace(example_run.example(), now=now))
    assert (twin["stopped"], twin["undelivered"]) == (stopped, undelivered)


def test_the_twin_is_json(twin):
    """Numbers, words and null: any program reads it."""
    assert json.loads(json.dumps(twin, allow_nan=False))["format"] == 1
