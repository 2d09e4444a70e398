"""Whole rounds without Flower: real hospitals' answers, real sums, real files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from local import edit
from support import (
    LocalExchange,
    approve_as_it_is,
    join,
    make_consortium,
    make_run,
    run,
    write_study,
)

import server.cli
from client.answers import open_site, round_seed
from client.bags import training_bags
from ghanet_model.errors import ReleaseError, StudyError, TrainingError
from ghanet_model.gene_values import GeneValues
from ghanet_model.genes import GenePanel
from ghanet_model.network import DECODERS, new_model
from ghanet_model.panel import panel_of_tables
from ghanet_model.release import model_config, read_release
from ghanet_model.training import TrainingSettings, train
from ghanet_model.weights import weights_of
from server.checkpoint import Checkpoint
from server.finish import deliver, evaluate_final, release
from server.panel import fix_panel
from server.report import report_of
from server.rounds import one_round, start_or_resume, train_rounds
from server.run import Run


@pytest.fixture
def consortium(tmp_path: Path) -> Path:
    """Two hospitals train with genes, one infers."""
    make_consortium(tmp_path)
    return tmp_path


def train_alone(root: Path, name: str, panel: GenePanel, rounds: int) -> dict[str, np.ndarray]:
    """What a hospital would train by itself, from the same initial weights."""
    site = open_site(root / name)
    study, features = site.study, site.features()
    torch.set_num_threads(site.config.threads)
    model = new_model(model_config(study, panel), seed=study.seed)
    bags = training_bags(site.cohort(), features, study=study, panel=panel)
    for number in range(1, rounds + 1):
        train(
            model,
            bags,
            TrainingSettings.from_study(study),
            outcomes=[o for o in bags.outcomes if o],
            use_genes=True,
            seed=round_seed(study, number, name),
            device=torch.device("cpu"),
        )
    return weights_of(model)


def test_a_federation_of_one_hospital_equals_training_it_alone(tmp_path: Path) -> None:
    """Federating one hospital changes nothing but the place of the arithmetic."""
    write_study(tmp_path / "coordinator")
    run(server.cli.main, "init", "--folder", tmp_path / "coordinator", "--host", "127.0.0.1")
    join(tmp_path, "hospital-a", role="trains", genes=True)
    one = make_run(tmp_path)
    panel = fix_panel(one)
    federated = train_rounds(one, panel).weights
    alone = train_alone(tmp_path, "hospital-a", panel, rounds=3)
    for name, array in alone.items():
        np.testing.assert_allclose(federated[name], array, atol=1e-6, rtol=0)


def test_the_panel_of_sums_is_that_of_the_hospitals_tables(consortium: Path) -> None:
    """What travels over the wire makes the panel that the tables make in one place."""
    names = ("hospital-a", "hospital-b")
    tables = {n: open_site(consortium / n).cohort().training_genes for n in names}
    one = make_run(consortium)
    assert fix_panel(one) == panel_of_tables(one.study, tables, least=10)
    assert fix_panel(make_run(consortium)) == fix_panel(one)  # the second time from its file


def finish(one: Run) -> Checkpoint:
    """All stages of a run."""
    panel = fix_panel(one)
    checkpoint = train_rounds(one, panel)
    final = evaluate_final(one, checkpoint, panel)
    assert deliver(one, release(one, checkpoint, panel, final)) == {}
    return checkpoint


def test_a_run_ends_with_the_same_release_in_every_inbox(consortium: Path) -> None:
    """Every hospital, also one that only infers, holds the signed release at the end."""
    finish(make_run(consortium))
    public = (consortium / "coordinator" / "keys" / "release.key.pub").read_bytes()
    files = [consortium / n / "inbox" / "small.ghanet" for n in ("hospital-a", "hospital-d")]
    found = {read_release(path, public_pem=public).sha256 for path in files}
    assert len(found) == 1


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(consortium: Path) -> None:
    """Stopping after round 2 and starting again changes no bit of the result."""
    one = make_run(consortium)
    panel = fix_panel(one)
    straight = start_or_resume(one, panel)
    for _ in range(3):
        straight = one_round(one, straight, panel)

    class Stops(LocalExchange):
        def ask(self, kind, asks, **options):
            if [k for k, _ in self.asked].count("round") == 6:
                raise KeyboardInterrupt
            return super().ask(kind, asks, **options)

    with pytest.raises(KeyboardInterrupt):
        train_rounds(make_run(consortium, Stops(consortium, one.roster.names())), panel)
    after = make_run(consortium)
    assert start_or_resume(after, panel).number == 2
    again = train_rounds(after, panel)
    assert [name for kind, name in after.exchange.asked if kind == "round"].count("hospital-a") == 1
    assert all(np.array_equal(again.weights[name], a) for name, a in straight.weights.items())


def test_a_hospital_that_only_infers_sends_no_update(consortium: Path) -> None:
    """A hospital with the role infers evaluates, and nothing else leaves it."""
    one = make_run(consortium)
    one_round(one, start_or_resume(one, fix_panel(one)), fix_panel(one))
    replies = [r for name, r in one.exchange.answers if name == "hospital-d"]
    assert len(replies) == 1
    assert not replies[0].arrays
    assert replies[0].values["evaluation.cases"] == 30.0


def test_a_hospital_without_genes_trains_the_survival_branch_only(consortium: Path) -> None:
    """Its update has no gene decoders, and decoders are averaged over the others."""
    join(consortium, "hospital-e", role="trains", genes=False)
    one = make_run(consortium)
    panel = fix_panel(one)
    before = start_or_resume(one, panel)
    after = one_round(one, before, panel)
    update = next(r for n, r in one.exchange.answers if n == "hospital-e").arrays
    assert update
    assert not any(name.startswith(DECODERS) for name in update)
    record = {site.name: site for site in after.history[0].sites}
    assert record["hospital-e"].gene_cases == 0 < record["hospital-a"].gene_cases
    assert any(not np.array_equal(after.weights[n], a) for n, a in before.weights.items()
               if n.startswith(DECODERS))  # fmt: skip


def test_a_hospital_with_another_study_is_named_and_the_round_refused(consortium: Path) -> None:
    """A round that lacks a hospital ends the run, saying whose answer is missing and why."""
    edit(consortium / "hospital-b" / "study.yaml", {"learning_rate": 0.5})
    approve_as_it_is(consortium / "hospital-b")
    with pytest.raises(TrainingError, match=r"hospital-b: it holds another study\.yaml"):
        fix_panel(make_run(consortium))


def test_a_failed_round_can_go_on_without_a_hospital_if_the_study_allows_it(
    tmp_path: Path,
) -> None:
    """With minimum_sites 1 the round goes on, and history says who was left out and why."""
    make_consortium(tmp_path, minimum_sites=1)
    one = make_run(tmp_path)
    panel = fix_panel(one)
    (tmp_path / "hospital-b" / "clinical.csv").unlink()
    after = one_round(one, start_or_resume(one, panel), panel)
    record = {site.name: site for site in after.history[0].sites}
    assert record["hospital-b"].left_out == "its tables cannot be used"
    assert record["hospital-a"].trained


def test_few_cases_give_no_evaluation_sum(tmp_path: Path) -> None:
    """A sum over fewer cases than the study's minimum stays in the hospital, and is told."""
    make_consortium(tmp_path, minimum_cases=15)
    one = make_run(tmp_path)
    panel = fix_panel(one)
    after = one_round(one, start_or_resume(one, panel), panel)
    record = {site.name: site for site in after.history[0].sites}
    assert record["hospital-a"].evaluation is None
    assert record["hospital-a"].withheld == "few_cases"
    assert record["hospital-b"].evaluation.cases == 15


def test_state_of_another_study_is_refused(consortium: Path) -> None:
    """A study.yaml changed in the middle never mixes with what was trained before."""
    fix_panel(make_run(consortium))
    edit(consortium / "coordinator" / "study.yaml", {"rounds": 9})
    with pytest.raises(StudyError, match="another study"):
        fix_panel(make_run(consortium))


def test_no_answer_holds_anything_that_names_a_case(consortium: Path) -> None:
    """Scalars of answers are counts, sums, digests and fixed words."""
    finish(one := make_run(consortium))
    texts = {v for _, r in one.exchange.answers for v in r.values.values() if isinstance(v, str)}
    assert all(t in ("", GeneValues.topic) or len(t) == 64 for t in texts)
    assert "B0003" not in json.dumps([dict(r.values) for _, r in one.exchange.answers])


def test_a_tampered_release_is_not_put_into_the_inbox(consortium: Path) -> None:
    """A hospital refuses a delivery that its consortium's key did not sign, and says so in code."""
    one = make_run(consortium)
    panel = fix_panel(one)
    checkpoint = train_rounds(one, panel)
    content = bytearray(release(one, checkpoint, panel, evaluate_final(one, checkpoint, panel)))
    content[-2000] ^= 1
    left = deliver(one, bytes(content))
    assert left["hospital-d"] == "it refused the release"
    assert not (consortium / "hospital-d" / "inbox").exists()


def test_a_hospital_that_was_away_gets_the_release_later(consortium: Path) -> None:
    """One enrolled after the end receives the same release and stands in the report."""
    finish(make_run(consortium))
    join(consortium, "hospital-z", role="infers", genes=False)
    later = make_run(consortium)
    checkpoint = finish(later)
    assert [name for kind, name in later.exchange.asked] == ["hospital-z"]
    final = evaluate_final(later, checkpoint, fix_panel(later))
    report = report_of(later.study, later.roster, checkpoint, final)
    assert report["sites"][-1]["note"] == "enrolled later"


def test_a_release_of_another_training_is_not_delivered(consortium: Path) -> None:
    """A release file that does not hold the last checkpoint's weights stops the run."""
    finish(make_run(consortium))
    shutil.rmtree(consortium / "coordinator" / "state")
    table = consortium / "hospital-a" / "clinical.csv"
    table.write_text(table.read_text().replace(",1,train", ",0,train", 1))
    with pytest.raises(ReleaseError, match="another training"):
        finish(make_run(consortium))


def test_too_few_cases_with_genes_keep_the_decoders_at_home(consortium: Path) -> None:
    """A hospital with genes of two cases is left out rather than sending what they taught."""
    one = make_run(consortium)
    panel = fix_panel(one)
    genes = consortium / "hospital-a" / "genes.csv"
    genes.write_text("\n".join(genes.read_text().splitlines()[:3]) + "\n")
    with pytest.raises(TrainingError, match="hospital-a: its genes cannot be used"):
        one_round(one, start_or_resume(one, panel), panel)


def test_the_final_evaluation_needs_the_same_quorum(consortium: Path) -> None:
    """Cut-offs are never those of the hospitals that happened to answer."""
    one = make_run(consortium)
    panel = fix_panel(one)
    checkpoint = train_rounds(one, panel)
    table = consortium / "hospital-b" / "clinical.csv"
    table.rename(table.with_suffix(".away"))
    with pytest.raises(TrainingError, match=r"final evaluation: 1 of 2 hospitals answered"):
        evaluate_final(one, checkpoint, panel)
    table.with_suffix(".away").rename(table)
    assert evaluate_final(one, checkpoint, panel).training_risk.cases == 20 + 30
