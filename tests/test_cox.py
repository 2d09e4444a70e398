"""Cox from sums: for any split into hospitals, the stratified fit of lifelines on all cases."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter

from ghanet_model.cox import (
    Linear,
    fit,
    linear_risk,
    mean_and_sd,
    site_covariate_sums,
    site_cox_sums,
    standardise,
    tellable,
)
from ghanet_model.errors import ProtocolError, TrainingError
from ghanet_model.partial_likelihood import cox_sums
from ghanet_model.question import add_sums


def draw(seed, cases=150):
    """Covariates that matter, months with ties, deaths and hospitals."""
    rng = np.random.default_rng(seed)
    x = rng.normal([60, 0, 2], [10, 1, 1], (cases, 3))
    hazard = np.exp((x - [60, 0, 2]) @ [0.03, -0.5, 0.4])
    time = np.floor(rng.exponential(40 / hazard)) + 1
    return x, time, rng.random(cases) < 0.7, rng.integers(0, 3, cases)


def asked(x, time, event, site, *, least=1):
    """A question to all hospitals, and the standardised covariates."""
    parts = [site == number for number in sorted(set(site))]
    mean, sd = mean_and_sd(add_sums(site_covariate_sums(x[at], least=least) for at in parts))

    def ask(beta):
        return add_sums(
            site_cox_sums(x[at], time[at], event[at], Linear(mean, sd, beta), least=least)
            for at in parts
        )

    return ask, standardise(x, mean, sd)


def lifelines_fit(z, time, event, site, *, penalizer):
    """The same by lifelines: coefficients, standard errors, log likelihood."""
    frame = pd.DataFrame(z).assign(time=time, event=event, site=site)
    fitter = CoxPHFitter(penalizer=penalizer)
    fitter.fit(frame, "time", "event", strata=["site"], fit_options={"precision": 1e-12})
    return fitter.params_.to_numpy(), fitter.standard_errors_.to_numpy(), fitter.log_likelihood_


def test_intervals_and_p_are_those_of_lifelines():
    """Of a hazard ratio, 95%, by Wald."""
    x, time, event, _ = draw(3)
    found = fit(lambda beta: cox_sums(x - x.mean(axis=0), time, event, beta), 3, l2=0.0)
    fitter = CoxPHFitter().fit(pd.DataFrame(x).assign(t=time, e=event), "t", "e")
    summary = fitter.summary
    columns = ["exp(coef)", "exp(coef) lower 95%", "exp(coef) upper 95%"]
    for ratios, column in zip(found.hazard_ratios, columns, strict=True):
        assert ratios == pytest.approx(summary[column].to_numpy(), rel=1e-5)
    assert found.z == pytest.approx(summary["z"].to_numpy(), rel=1e-5)
    assert found.p == pytest.approx(summary["p"].to_numpy(), rel=1e-4)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_coefficients_of_any_split_are_those_of_lifelines(seed):
    """Coefficients, standard errors and log likelihood, ties by Efron, no ridge."""
    x, time, event, site = draw(seed)
    assume(all(event[site == number].sum() > 3 for number in range(3)))
    ask, z = asked(x, time, event, site)
    found = fit(ask, 3, l2=0.0)
    beta, se, likelihood = lifelines_fit(z, time, event, site, penalizer=0.0)
    assert found.beta == pytest.approx(beta, abs=1e-6)
    assert found.se == pytest.approx(se, abs=1e-6)
    assert found.log_likelihood == pytest.approx(likelihood, abs=1e-6)


def test_the_ridge_is_the_penalizer_of_lifelines_times_the_cases():
    """On covariates whose deviation is 1 in lifelines' way of counting."""
    x, time, event, site = draw(1)
    _, z = asked(x, time, event, site)
    z = z / z.std(axis=0, ddof=1)
    ones = np.ones(3)

    def ask(beta):
        return add_sums(
            site_cox_sums(z[at], time[at], event[at], Linear(0 * ones, ones, beta), least=1)
            for at in (site == number for number in range(3))
        )

    found = fit(ask, 3, l2=0.1 * len(z))
    beta, se, penalised = lifelines_fit(z, time, event, site, penalizer=0.1)
    assert found.beta == pytest.approx(beta, abs=1e-6)
    assert found.se == pytest.approx(se, abs=1e-6)
    ridge = 0.1 * len(z) / 2 * found.beta @ found.beta
    assert found.log_likelihood - ridge == pytest.approx(penalised, abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_score_and_information_are_derivatives_of_the_likelihood(seed):
    """By differences."""
    x, time, event, _ = draw(seed, cases=25)
    z, beta, step = (x - x.mean(axis=0)) / x.std(axis=0), np.array([0.1, -0.2, 0.3]), 1e-5
    here = cox_sums(z, time, event, beta)
    for place in range(3):
        move = step * np.eye(3)[place]
        up, down = (cox_sums(z, time, event, beta + sign * move) for sign in (1, -1))
        slope = (up["log_likelihood"] - down["log_likelihood"]) / (2 * step)
        assert slope[0] == pytest.approx(here["score"][place], abs=1e-4)
        bend = (down["score"] - up["score"]) / (2 * step)
        assert bend == pytest.approx(here["information"][place], abs=1e-4)


def test_coefficients_far_off_make_no_overflow():
    """Those at risk late weigh exp(-2000) beside those at risk early."""
    z, time = np.array([[1.0], [0.0], [-1.0], [-1.0]]), np.array([1.0, 2.0, 3.0, 4.0])
    sums = cox_sums(z, time, np.ones(4, bool), np.array([2000.0]))
    assert sums["log_likelihood"][0] == pytest.approx(np.log(0.5))
    assert sums["score"][0] == pytest.approx(0)
    with pytest.raises(TrainingError, match="too large"):
        cox_sums(10 * z, time, np.ones(4, bool), np.array([1e308]))


@pytest.mark.parametrize("deaths", [0, 3, 9, 31, 39])
def test_a_hospital_with_few_deaths_or_survivors_tells_nothing(deaths):
    """Its score would be about them; it is counted."""
    x, time, event, _ = draw(2, cases=40)
    event = np.arange(40) < deaths
    at = Linear(np.zeros(3), np.ones(3), np.zeros(3))
    sums = site_cox_sums(x, time, event, at, least=10)
    assert (sums["told"][0], sums["withheld"][0]) == (0, 1)
    assert not any(sums[name].any() for name in ("score", "information", "events", "cases"))


def test_a_covariate_known_of_few_is_as_if_known_of_none():
    """And one that is not known counts as the mean."""
    x = np.array([[1.0, np.nan], [1.0, np.nan], [3.0, np.nan], [3.0, np.nan], [np.nan, 5.0]])
    assert np.isnan(tellable(x, least=2)[:, 1]).all()
    sums = site_covariate_sums(x, least=2)
    assert (sums["count"].tolist(), sums["total"].tolist()) == ([4, 0], [8, 0])
    mean, sd = mean_and_sd(sums)
    assert linear_risk(x, Linear(mean, sd, np.ones(2))).tolist() == [-1.0, -1.0, 1.0, 1.0, 0.0]


def test_a_value_that_few_cases_have_is_not_told():
    """Of 40 women and 2 men, a sum of 40 would tell of the men; ages have too many values to."""
    female = np.append(np.ones(40), np.zeros(2))
    ages = 50.0 + np.arange(42)
    sums = site_covariate_sums(np.column_stack([female, ages]), least=10)
    assert (sums["count"].tolist(), sums["total"].tolist()) == ([40, 42], [40, ages.sum()])
    x = np.column_stack([female, ages])
    assert np.array_equal(tellable(x, least=2), x)


def test_a_fit_without_a_maximum_says_so():
    """Who has the covariate dies first, always: the coefficient grows for ever."""
    x = np.array([[1.0], [1.0], [0.0], [0.0]])
    time, event = np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4, bool)
    with pytest.raises(TrainingError, match="does not converge"):
        fit(lambda beta: cox_sums(x, time, event, beta), 1, l2=0.0)
    assert fit(lambda beta: cox_sums(x, time, event, beta), 1, l2=1.0).beta[0] > 0


def test_a_constant_covariate_has_no_coefficient():
    """With a ridge it stays at 0."""
    x, time, event, site = draw(4)
    ask, _ = asked(np.column_stack([x, np.ones(len(x))]), time, event, site)
    assert fit(ask, 4, l2=1.0).beta[3] == 0


def test_coefficients_that_single_out_cases_are_refused():
    """A coordinator that asks at huge coefficients would get the extreme case's covariates."""
    x, time, event, _ = draw(5, cases=60)
    at = Linear(x.mean(axis=0), x.std(axis=0), np.array([20.0, 0.0, 0.0]))
    with pytest.raises(ProtocolError, match="a few cases"):
        site_cox_sums(x, time, event, at, least=10)
