"""Power by simulation: closed formulas, figures measured on real cohorts, impossible studies."""

import math

import pytest

from ghanet_model.errors import TrainingError
from ghanet_model.power import Power, detectable_difference


def power(cases: list[int], events: list[int], correlation: float, replicates: int = 400) -> Power:
    """The same seed everywhere."""
    return detectable_difference(
        cases, events, correlation=correlation, replicates=replicates, seed=0
    )


def test_without_censoring_the_spread_is_that_of_kendalls_tau() -> None:
    """Var(tau) = 2 (2n + 5) / (9 n (n - 1)), and C = (tau + 1) / 2."""
    n = 30
    sd = math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1))) / 2
    assert power([n], [n], 0.5, 1500).sd == pytest.approx(sd, rel=0.07)


def test_risks_that_share_nothing_differ_by_root_two_and_equal_ones_by_nothing() -> None:
    """The two ends of the correlation."""
    apart, same = power([60], [30], 0.0, 1000), power([60], [30], 1.0, 100)
    assert apart.sd_difference == pytest.approx(math.sqrt(2) * apart.sd, rel=0.1)
    assert same.sd_difference == same.detectable == 0
    assert apart.half_width == pytest.approx(1.96 * apart.sd, rel=0.001)
    assert apart.detectable == pytest.approx(2.8 * apart.sd_difference, rel=0.001)


@pytest.mark.parametrize(("cases", "events", "sd"), [(96, 15, 0.085), (114, 37, 0.054)])
def test_one_fold_of_a_real_cohort_is_as_uncertain_as_was_measured(
    cases: int, events: int, sd: float
) -> None:
    """UCEC and GBMLGG, the ends of the range: null spread of C on one of five folds."""
    assert power([cases], [events], 0.5).sd == pytest.approx(sd, rel=0.1)


def test_five_folds_detect_what_they_were_found_to_detect() -> None:
    """UCEC .10 by models of different kinds; GBMLGG .03 by good ones, of chance a little more."""
    assert power([96] * 5, [15] * 5, 0.5, 200).detectable == pytest.approx(0.10, abs=0.02)
    assert 0.03 < power([114] * 5, [37] * 5, 0.8, 200).detectable < 0.05


def test_pairs_of_different_hospitals_do_not_count() -> None:
    """Cases in many small hospitals say less than the same cases in one."""
    assert power([120], [40], 0.5).detectable < power([12] * 10, [4] * 10, 0.5).detectable


def test_a_study_without_deaths_detects_nothing() -> None:
    """No pair, no number."""
    assert math.isnan(power([40, 0], [0, 0], 0.5, 5).detectable)


@pytest.mark.parametrize(("events", "correlation"), [(11, 0.5), (3, 1.5)])
def test_what_cannot_be_is_refused(events: int, correlation: float) -> None:
    """More deaths than cases; a correlation above 1."""
    with pytest.raises(TrainingError, match="power"):
        power([10], [events], correlation, 5)
