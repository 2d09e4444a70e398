"""``benchmarks/cox.py --data DIR``: Cox from sums on Fed-TCGA-BRCA's six centres, beside pooled.

The same functions as a hospital and the coordinator call, in this process. See README.md beside
this file for what it may and may not show. It prints numbers about groups of cases only.
"""

import argparse
import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))  # benchmarks/, which is no package

from brca import FILES, Cases, read_cases
from intervals import GENERATOR, REPLICATES, Estimate, Replicates, c_indices, comparable, draws
from options import benchmark_parser
from report import markdown

from client.policy import Policy
from ghanet_model.commands import run_command
from ghanet_model.cox import (
    Fit,
    Linear,
    fit,
    linear_risk,
    mean_and_sd,
    site_covariate_sums,
    site_cox_sums,
    standardise,
)
from ghanet_model.errors import TrainingError
from ghanet_model.files import write_json
from ghanet_model.question import Sums, add_sums

LEAST_C, MOST_DIFFERENCE = 0.84, 1e-6  # by --check
FEDERATED, POOLED, ALONE, AGE = "federated", "pooled", "alone", "age"
RIDGES, FOLDS = (1.0, 10.0, 100.0, 1000.0), 5  # each arm chooses by its training cases
LEAST = Policy().minimum_cases
WITHHOLDING = f"federated, numbers below {LEAST} untold"
COLUMNS = ("test cases", "test cases, pairs within centres")
PUBLISHED = {  # FLamby's result files at commit edacf54: means of 5 seeds, their deviation
    "pooled": ".704 ± .102",
    "local (6)": ".565 to .728",
    "FedAvg": ".735 ± .157",
    "FedProx": ".717 ± .145",
    "Scaffold": ".699 ± .031",
    "Cyclic": ".661 ± .067",
    "FedAdagrad": ".834 ± .007",
    "FedAdam, FedYogi": ".842 ± .015",
}


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A model that was fitted, and how many centres had too small numbers for it."""

    fit: Fit
    linear: Linear
    ridge: float
    withheld: int


def benchmark(options: argparse.Namespace) -> int:
    """Fit every arm, print the tables, write the numbers."""
    names, train, test = read_cases(options.data)
    fitted = fit_arms(train)
    risks = {name: linear_risk(test.x, found.linear) for name, found in fitted.items()}
    risks[AGE] = test.x[:, next(n for n, name in enumerate(names) if name.startswith("age"))]
    rows = compare(risks, test, replicates=200 if options.quick else REPLICATES)
    federated, withheld = fitted[FEDERATED], fitted[WITHHOLDING].withheld
    difference = largest_difference(train, federated)
    about = (
        f"training cases {train}, test cases {test}, {len(names)} covariates; federated: ridge "
        f"{federated.ridge:g}, {federated.fit.steps} exchanges"
    )
    published = markdown([["FLamby's own, test cases", "C"], *map(list, PUBLISHED.items())])
    print(f"C-index with 95% bootstrap interval; {about}\n\n{table(rows, test)}\n\n{published}\n")
    print(f"largest difference of a coefficient from lifelines' on pooled cases: {difference:.1e}")
    print(f"centres that tell nothing where small numbers are untold: {withheld}")
    if options.json:
        found = {
            name: {column: dataclasses.astuple(estimate) for column, estimate in row.items()}
            for name, row in rows.items()
        }
        numbers = {"coefficient_difference": difference, "withheld": withheld}
        ridges = {name: arm.ridge for name, arm in fitted.items()}
        write_json(options.json, {"about": about, "c_index": found, "ridge": ridges, **numbers})
    if options.check:
        require_targets(rows[FEDERATED][COLUMNS[0]].value, difference)
    return 0


def fit_arms(train: Cases) -> dict[str, Fitted]:
    """Federated, pooled, with small numbers untold, and each centre alone."""
    one = dataclasses.replace(train, centre=np.zeros_like(train.centre))
    arms = {FEDERATED: fit_chosen(train), POOLED: fit_chosen(one)}
    arms[WITHHOLDING] = fit_by_sums(train, arms[FEDERATED].ridge, least=LEAST)
    return arms | {f"{ALONE} {own.centre[0]}": fit_chosen(own) for own in train.centres()}


def fit_chosen(cases: Cases) -> Fitted:
    """The model with the ridge that foretells these cases best."""
    return fit_by_sums(cases, max(RIDGES, key=lambda ridge: foretold(cases, ridge)))


def foretold(cases: Cases, ridge: float) -> float:
    """The cross-validated partial likelihood: sum over folds k of l(b) - l(b without k).

    b is fitted without fold k. Each term is a sum over centres, so a federation can choose so too.
    """
    order = np.lexsort((np.random.default_rng(GENERATOR).random(len(cases.time)), cases.event))
    fold = np.empty(len(order), int)
    fold[order] = np.arange(len(order)) % FOLDS  # as many deaths in each
    total = 0.0
    for rest in (cases.only(fold != k) for k in range(FOLDS)):
        at = fit_by_sums(rest, ridge).linear
        total += _log_likelihood(cases, at) - _log_likelihood(rest, at)
    return total


def _log_likelihood(cases: Cases, at: Linear) -> float:
    return float(ask_centres(cases, at, least=1)["log_likelihood"][0])


def fit_by_sums(cases: Cases, ridge: float, *, least: int = 1) -> Fitted:
    """The model stratified by centre, from what each centre says."""
    sums = (site_covariate_sums(own.x, least=least) for own in cases.centres())
    mean, sd = mean_and_sd(add_sums(sums))
    found = fit(
        lambda beta: ask_centres(cases, Linear(mean, sd, beta), least=least), len(mean), l2=ridge
    )
    linear = Linear(mean, sd, found.beta)
    withheld = int(ask_centres(cases, linear, least=least)["withheld"][0])
    return Fitted(found, linear, ridge, withheld)


def ask_centres(cases: Cases, at: Linear, *, least: int) -> Sums:
    """What all centres say together."""
    return add_sums(
        site_cox_sums(own.x, own.time, own.event, at, least=least) for own in cases.centres()
    )


def largest_difference(train: Cases, found: Fitted) -> float:
    """Of a coefficient from those of lifelines' stratified Cox model on all cases.

    lifelines divides by deviations over n - 1, then takes n / 2 penalizer |beta|^2.
    """
    n = len(train.time)
    z = standardise(train.x, found.linear.mean, found.linear.sd)
    frame = pd.DataFrame(z).assign(time=train.time, event=train.event, centre=train.centre)
    fitter = CoxPHFitter(penalizer=found.ridge * (n - 1) / n**2)
    fitter.fit(frame, "time", "event", strata=["centre"], fit_options={"precision": 1e-12})
    return float(np.abs(fitter.params_.to_numpy() - found.fit.beta).max())


def compare(
    risks: Mapping[str, NDArray[np.float64]], test: Cases, *, replicates: int
) -> dict[str, dict[str, Estimate]]:
    """C of every arm and their differences, by column; the same draws for all of them."""
    weights = draws(len(test.time), replicates=replicates)
    rows: dict[str, dict[str, Estimate]] = {}
    for column, pairs in zip(COLUMNS, _pairs(test), strict=True):
        found = {name: c_indices(own, pairs, weights) for name, own in risks.items()}
        for name, values in _with_differences(found).items():
            rows.setdefault(name, {})[column] = Estimate.of(values)
    return rows


def _pairs(test: Cases) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    everywhere = comparable(test.time, test.event)
    return everywhere, comparable(test.time, test.event, test.centre)


def _with_differences(found: Mapping[str, Replicates]) -> dict[str, Replicates]:
    alone = np.mean([c for name, c in found.items() if name.startswith(ALONE)], axis=0)
    return {
        **found,
        f"{ALONE}, mean": alone,
        f"{POOLED} - {FEDERATED}": found[POOLED] - found[FEDERATED],
        f"{FEDERATED} - {ALONE}, mean": found[FEDERATED] - alone,
        f"{FEDERATED} - {AGE}": found[FEDERATED] - found[AGE],
        f"{FEDERATED} - with small numbers untold": found[FEDERATED] - found[WITHHOLDING],
    }


def table(rows: Mapping[str, Mapping[str, Estimate]], test: Cases) -> str:
    """A row for each arm and difference."""
    sizes = ["comparable pairs", *(str(pairs.sum()) for pairs in _pairs(test))]
    body = [[name, *map(str, row.values())] for name, row in rows.items()]
    return markdown([["", *COLUMNS], sizes, *body])


def require_targets(c_index: float, difference: float) -> None:
    """Refuse a run below the targets.

    Raises:
        TrainingError: which one is missed.
    """
    if not c_index >= LEAST_C:
        raise TrainingError(f"federated has a C of {c_index:.3f}, below {LEAST_C}")
    if not difference <= MOST_DIFFERENCE:
        raise TrainingError(f"coefficients differ from lifelines' by {difference:.1e}")


def make_parser() -> argparse.ArgumentParser:
    """The few options."""
    parser = benchmark_parser("cox.py", __doc__, benchmark, quick="200 bootstraps instead of 2,000")
    add = parser.add_argument
    add("--data", type=Path, required=True, help=f"a folder with {' and '.join(FILES)}")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(make_parser()))
