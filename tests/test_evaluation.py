"""The evaluation of a run: four arms on the same cases, from sums of real hospitals' answers."""

import json
from pathlib import Path

import numpy as np
import pytest
from support import LocalExchange, make_consortium, make_run

from client.answers import open_site
from client.bags import SiteBags
from client.memory import Memory
from client.predictions import EVALUATION, TRAINING, chosen
from ghanet_model.cox import Linear, linear_risk
from ghanet_model.metrics import concordance
from ghanet_model.network import new_model
from ghanet_model.percentile import risk_at, shares_below
from ghanet_model.release import model_config
from ghanet_model.reliability import LEAST_R
from ghanet_model.slide_reference import SlideReference, unusual
from ghanet_model.weights import load_weights
from server.evaluation import EVALUATION_FILE, evaluate
from server.finish import choose_model
from server.panel import fix_panel
from server.reference import REFERENCE_FILE, describe_reference
from server.rounds import train_rounds

TRAINS = ("hospital-a", "hospital-b")


def evaluated(root: Path, exchange: LocalExchange | None = None):
    """A run up to its evaluation."""
    one = make_run(root, exchange)
    panel = fix_panel(one)
    checkpoint, final = choose_model(one, train_rounds(one, panel), panel)
    return one, panel, checkpoint, evaluate(one, checkpoint, panel, final.training_risk)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A consortium of three whose hospitals also train alone, evaluated."""
    root = tmp_path_factory.mktemp("consortium")
    make_consortium(root, train_alone=True, validation=0.2, replicates=50, rounds=2)
    return root, *evaluated(root)


def test_the_c_index_of_the_federated_arm_is_that_of_the_cases(finished) -> None:
    """Counted with the released model on every hospital's evaluated cases, in one place."""
    root, one, panel, checkpoint, found = finished
    model = new_model(model_config(one.study, panel), seed=0)
    load_weights(model, checkpoint.weights)
    total = concordance([], [], [])
    for name in ("hospital-a", "hospital-b", "hospital-d"):
        site = open_site(root / name, Memory())
        which = EVALUATION if name != "hospital-d" else "everybody"
        cases = chosen(site.cohort(), which)
        ids = [c for c in site.cohort().cases if c.held_out or name == "hospital-d"]
        assert len(ids) == len(cases)
        total += concordance(cases.time, cases.event, risks_of(site, model, ids))
    federated = found["arms"]["federated"]
    assert federated["c_within"]["value"] == pytest.approx(total.c_index, abs=1e-9)
    assert federated["c_within"]["pairs"] == total.comparable
    assert federated["c_within"]["low"] <= total.c_index <= federated["c_within"]["high"]


def risks_of(site, model, cases):
    """Risks of some cases, each read and predicted alone."""
    bags = SiteBags(cases, site.features(), study=site.study)
    return np.array([float(model.predict([bag.features]).risk[0]) for bag in bags])


def test_arms_are_compared_where_both_are(finished) -> None:
    """The hospital that only infers trains no model alone."""
    found = finished[-1]
    alone = next(d for d in found["differences"] if d["minus"] == "alone")
    assert alone["hospitals"] == ["hospital-a", "hospital-b"]
    assert alone["low"] <= alone["value"] <= alone["high"]
    assert found["by_hospital"]["hospital-d"]["alone"] is None


def test_the_evaluation_is_a_file_that_is_made_once(finished) -> None:
    """A second look asks nobody."""
    root, one, panel, checkpoint, found = finished
    again = make_run(root)
    assert evaluate(again, checkpoint, panel, None) == found
    assert again.exchange.asked == []
    stored = (one.config.state / EVALUATION_FILE).read_text()
    assert json.loads(stored)["study"] == one.study.digest


def test_what_is_withheld_is_named(finished) -> None:
    """Ten to fifteen held-out cases have fewer than ten deaths or survivors."""
    found = finished[-1]
    said = {(row["hospital"], row["what"]) for row in found["withheld"]}
    assert ("hospital-a", "C over all pairs") in said


def test_without_anybodys_follow_up_there_is_no_brier_score(finished) -> None:
    """Weights would be made up: the held-out deaths of these hospitals are all few."""
    found = finished[-1]
    assert (found["brier"], found["integrated_brier"]) == ([], None)
    said = {(row["hospital"], row["what"]) for row in found["withheld"]}
    assert {("", "Brier score"), ("hospital-a", "follow-up")} <= said


def test_no_small_number_leaves(finished) -> None:
    """No count of 1 to 9 in any answer about sums, but pairs and numbers of hospitals."""
    _, one, *_ = finished
    told = ("cases", "events", "order", "group_cases", "group_times", "times", "risks", "count")
    sums = [r for _, r in one.exchange.answers if "topic" in r.values]
    assert len(sums) > 10
    for record in sums:
        for name in set(told) & set(record.arrays):
            array = record.arrays[name]
            assert not ((array > 0) & (array < 10)).any(), (record.values["topic"], name)


def test_a_hospital_that_stops_answering_is_left_out_and_named(tmp_path: Path) -> None:
    """In the middle of the fits; the evaluation goes on without it."""
    make_consortium(tmp_path, rounds=1, replicates=20)

    class Loses(LocalExchange):
        def _ask(self, kind, name, ask, on_answer):
            if name == "hospital-b" and ask.values.get("topic") in ("cox", "slide moments"):
                on_answer(name, "missing")
                return self._nothing()
            return super()._ask(kind, name, ask, on_answer)

        def _nothing(self):
            from server.run import Traffic  # noqa: PLC0415

            return Traffic()

    names = ["hospital-a", "hospital-b", "hospital-d"]
    one, panel, checkpoint, found = evaluated(tmp_path, Loses(tmp_path, names))
    assert {"hospital": "hospital-b", "what": "evaluation", "why": "no answer in time"} in found[
        "withheld"
    ]
    assert found["arms"]["federated"]["hospitals"] == names
    assert describe_reference(one, checkpoint, panel, {})["features"]
    left_out = json.loads((one.config.state / REFERENCE_FILE).read_text())["left_out"]
    assert left_out["hospital-b"] == "slide moments: no answer in time"


@pytest.fixture(scope="module")
def reference(finished):
    """What the release's answers are held against."""
    _, one, panel, checkpoint, found = finished
    return describe_reference(one, checkpoint, panel, found["cox"])


def test_usual_risks_are_those_of_training_cases(finished) -> None:
    """The share of them below any risk lies between the bounds that are told."""
    root, one, panel, checkpoint, found = finished
    model = new_model(model_config(one.study, panel), seed=0)
    load_weights(model, checkpoint.weights)
    risks = []
    for name in TRAINS:
        site = open_site(root / name, Memory())
        risks += [*risks_of(site, model, [c for c in site.cohort().cases if c.can_train])]
    boxes = found["risk_boxes"]
    assert sum(cases for _, _, cases in boxes) == len(risks)
    for risk in (*risks, min(risks) - 1, max(risks) + 1):
        low, high = shares_below(boxes, risk)
        assert low - 1e-9 <= np.mean(np.array(risks) < risk - 1e-6) <= high + 1e-9
    for share in (0.05, 0.5, 0.95):
        low, high = risk_at(boxes, share)
        assert low - 1e-6 <= np.quantile(risks, share, method="inverted_cdf") <= high + 1e-6


def test_slides_of_the_same_hospitals_are_usual_and_others_are_not(finished, reference) -> None:
    """The held-out ones, and the same with another stain."""
    root, one, *_ = finished
    usual = SlideReference.from_json(reference["features"], width=one.study.feature_width)
    site = open_site(root / "hospital-b", Memory())
    bags = SiteBags(
        [c for c in site.cohort().cases if c.held_out], site.features(), study=one.study
    )
    flagged = [any(unusual(usual.deviations(bag.features))) for bag in bags]
    assert sum(flagged) <= len(flagged) // 4
    assert all(any(unusual(usual.deviations(2 * bag.features + 1))) for bag in bags)


def test_the_reliability_of_a_gene_group_is_its_correlation(finished, reference) -> None:
    """Of predicted and measured activity of held-out cases, each hospital around its own mean."""
    root, one, panel, checkpoint, _ = finished
    model = new_model(model_config(one.study, panel), seed=0)
    load_weights(model, checkpoint.weights)
    said, measured = [], []
    for name in TRAINS:
        site = open_site(root / name, Memory())
        cohort = site.cohort()
        rows = [row for row, case in enumerate(cohort.cases) if case.held_out]
        if len(rows) < one.study.minimum_cases:
            continue
        groups = panel.scaled(cohort.genes[rows], cohort.gene_columns)
        own = np.nanmean(groups[0], axis=1)
        bags = SiteBags([cohort.cases[row] for row in rows], site.features(), study=one.study)
        x = np.array([float(model.predict([bag.features]).genes[0].mean()) for bag in bags])
        said += [*(x - x.mean())]
        measured += [*(own - own.mean())]
    first = reference["gene_groups"][0]
    assert first["cases"] == len(said) >= one.study.minimum_cases
    assert first["r"] == pytest.approx(np.corrcoef(said, measured)[0, 1], abs=1e-6)
    assert first["low"] < first["r"] < first["high"]
    assert 0 < LEAST_R < 1


def test_a_clinical_arm_can_be_applied(finished) -> None:
    """The coefficients are those of the fit, and its usual risks those of training cases."""
    root, one, panel, checkpoint, _ = finished
    fit = {"hazard_ratio": [1.5, 1.0, 2.0, 0.8], "mean": [60.0, 0.5, 2.0, 2.0], "sd": [10.0] * 4}
    before = one.config.state / REFERENCE_FILE
    before.unlink(missing_ok=True)
    arm = describe_reference(one, checkpoint, panel, {"clinical": fit})["cox"]["clinical"]
    before.unlink()
    assert np.allclose(np.exp(arm["beta"]), fit["hazard_ratio"])
    assert arm["covariates"] == ["age", "female", "grade", "stage"]
    at = Linear(*(np.array(arm[key]) for key in ("mean", "sd", "beta")))
    found = [chosen(open_site(root / name, Memory()).cohort(), TRAINING) for name in TRAINS]
    risks = np.concatenate([linear_risk(own.covariates, at) for own in found])
    for risk in (-9.0, -0.5, 0.0, 0.5, 9.0):
        low, high = shares_below(arm["risk_boxes"], risk)
        assert low <= np.mean(risks < risk) <= high


def test_the_reference_is_made_once(finished, reference) -> None:
    """It is a file; for another model it is made anew."""
    _, one, panel, checkpoint, found = finished
    path = one.config.state / REFERENCE_FILE
    assert describe_reference(one, checkpoint, panel, found["cox"]) == reference
    before = path.stat().st_mtime_ns
    assert describe_reference(one, checkpoint, panel, found["cox"]) == reference
    assert path.stat().st_mtime_ns == before
