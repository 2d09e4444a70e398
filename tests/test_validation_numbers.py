"""Numbers of a validation: lifelines' where it has them, planted truth where it has not."""

import math

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test
from lifelines.utils import concordance_index
from validation_site import EDGES, drawn, make_site, release_of

from client.recalibration import Recalibration
from client.validation_cases import Cases
from client.validation_fit import followed, line, shift, slope_between
from client.validation_numbers import recalibration_of, validation_numbers


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory):
    """A release, for its study and its cut-offs."""
    return release_of(make_site(tmp_path_factory.mktemp("made") / "hospital-a"))


def fits(cases: Cases):
    """The cases as the fits take them."""
    return followed(cases.time, cases.event, cases.hazards, EDGES)


def numbers(cases: Cases, release) -> dict:
    """The numbers of drawn cases, by the release's edges."""
    return validation_numbers(cases, release, generator=np.random.default_rng(0))


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (0.4, 1.0), (-0.5, 1.0), (0.3, 0.6), (0.0, 1.5)])
def test_planted_line_is_recovered(a, b):
    """Inside its own interval, which is narrow: a and b, and without a slope a alone."""
    cases = fits(drawn(3000, a=a, b=b))
    found = line(cases)
    for estimate, truth in ((found.a, a), (found.b, b)):
        assert abs(estimate.value - truth) < 1.5 * (estimate.high - estimate.value)
        assert estimate.high - estimate.low < 0.25
    if b == 1:
        alone = shift(cases)
        assert alone.low - 0.03 < a < alone.high + 0.03


def test_intervals_hold_what_was_planted():
    """Of a hundred samples about 95 intervals do, of the shift, of b and between cases."""
    held = np.zeros(3)
    for seed in range(100):
        cases = drawn(150, a=0.3, seed=seed)
        seen = fits(cases)
        between = slope_between(cases.time, cases.event, seen, 60.0)
        for place, (one, truth) in enumerate(((shift(seen), 0.3), (line(seen).b, 1), (between, 1))):
            held[place] += one.low < truth < one.high
    assert (held >= 88).all()


def test_a_slope_is_the_top_of_its_likelihood():
    """No a and b near it do better, written down case by case."""
    cases = drawn(80, a=0.2, b=0.8)
    seen = fits(cases)
    found = line(seen)

    def likelihood(a: float, b: float) -> float:
        total = 0.0
        for h, part, died in zip(seen.hazard, seen.part, seen.died, strict=True):
            steps = np.diff(np.exp(a) * h**b, prepend=0.0)
            total += np.log(steps[died]).sum() - (part * steps).sum()
        return total

    best = likelihood(found.a.value, found.b.value)
    for moved in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)):
        assert likelihood(found.a.value + moved[0], found.b.value + moved[1]) < best


def test_the_slope_between_cases_is_lifelines():
    """Cox's coefficient of log(-log S), to its error."""
    cases = drawn(200, b=0.7)
    seen = fits(cases)
    found = slope_between(cases.time, cases.event, seen, 60.0)
    died = cases.event & (cases.time < 60)
    frame = pd.DataFrame({"x": np.log(seen.hazard[:, 2]), "t": cases.time.clip(max=60), "e": died})
    fitted = CoxPHFitter().fit(frame, "t", "e")
    assert found.value == pytest.approx(fitted.params_["x"], abs=1e-5)
    assert found.high - found.value == pytest.approx(
        1.959964 * fitted.standard_errors_["x"], abs=1e-5
    )


def test_a_calibrated_model_is_found_to_be_one(release):
    """Observed over expected near 1 everywhere, slope 1, better than one curve for all."""
    found = numbers(drawn(1500), release)
    assert len(found["calibration"]) == 12
    for row in found["calibration"]:
        error = max(row["ratio_high"] - row["ratio"], row["ratio"] - row["ratio_low"])
        assert abs(row["ratio"] - 1) < 1.6 * error < 0.7
        assert row["group"] != "all" or abs(row["ratio"] - 1) < 0.1
    assert found["ratio"]["value"] == pytest.approx(1, abs=0.06)
    assert found["slope_between"]["low"] < 1 < found["slope_between"]["high"]
    assert all(row["model"] < row["kaplan_meier"] for row in found["brier"])


def test_too_hopeful_a_model_is_found_to_be_one(release):
    """Half again as many die as it says."""
    found = numbers(drawn(1500, a=math.log(1.5)), release)
    assert found["ratio"]["value"] == pytest.approx(1.5, abs=0.1)
    assert found["intercept"]["value"] == pytest.approx(math.log(1.5), abs=0.07)
    assert found["calibration"][0]["ratio_low"] > 1


def test_order_curves_and_test_are_lifelines(release):
    """C-index, Kaplan-Meier with its interval and log-rank, on whole months."""
    cases = drawn(120, a=0.3)
    whole = Cases(np.floor(cases.time), cases.event, cases.hazards, cases.risk, cases.group)
    found = numbers(whole, release)
    c_index = concordance_index(whole.time, -whole.risk, whole.event)
    assert found["c_index"]["value"] == pytest.approx(c_index, abs=1e-12)
    assert found["c_index"]["low"] < c_index < found["c_index"]["high"]
    tested = multivariate_logrank_test(whole.time, whole.group, whole.event)
    assert found["groups"]["log_rank"]["chi2"] == pytest.approx(tested.test_statistic, rel=1e-9)
    fitter = KaplanMeierFitter().fit(whole.time, whole.event)
    row = next(r for r in found["calibration"] if (r["months"], r["group"]) == (36, "all"))
    assert row["observed"] == pytest.approx(fitter.predict(35.99), abs=1e-9)
    interval = fitter.confidence_interval_survival_function_.loc[:35.99].iloc[-1]
    assert [row["low"], row["high"]] == pytest.approx(interval.tolist(), abs=1e-9)


def test_what_follow_up_does_not_reach_is_not_said(release):
    """Nobody is followed to 36 months: no curve, ratio or error there, and none is made up."""
    cases = drawn(60)
    short = Cases(
        cases.time.clip(max=20),
        cases.event & (cases.time < 20),
        cases.hazards,
        cases.risk,
        cases.group,
    )
    found = numbers(short, release)
    late = [row for row in found["calibration"] if row["months"] > 12]
    assert all(row["observed"] is row["ratio"] is row["low"] is None for row in late)
    assert [row["months"] for row in found["brier"]] == [12]
    assert found["integrated_brier"] is None
    assert found["groups"]["survival"][0][40] is None


def test_how_many_deaths_what_recalibration_takes(release):
    """None below 10, a shift below 50, a line from there on; of training cases none at all."""
    few, some, many = (numbers(drawn(n), release) for n in (10, 60, 300))
    assert few["deaths_before_last_edge"] < 10 <= some["deaths_before_last_edge"] < 50
    assert recalibration_of(few) is None
    assert few["slope_between"] is few["line"] is None
    assert recalibration_of(some) == (some["intercept"]["value"], 1.0)
    assert recalibration_of(many)[1] == many["line"]["b"]["value"] != 1
    assert recalibration_of({**many, "training_cases": 3}) is None


def test_recalibration_makes_observed_what_is_predicted():
    """Bent by what was fitted, cases have neither shift nor slope left."""
    cases = drawn(400, a=0.5, b=0.7)
    found = line(fits(cases))
    bent = Recalibration("", found.a.value, found.b.value, 400, 100, "2026-11-29")
    survival = bent.survival(np.cumprod(1 - cases.hazards, axis=1))
    before = np.hstack([np.ones((400, 1)), survival[:, :-1]])
    again = followed(cases.time, cases.event, 1 - survival / before, EDGES)
    assert shift(again).value == pytest.approx(0, abs=1e-6)
    assert line(again).b.value == pytest.approx(1, abs=1e-4)
