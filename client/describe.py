"""This hospital's cases as a table of counts, for the coordinator. Small numbers stay here."""

import math

import numpy as np
from numpy.typing import NDArray

from ghanet_model.cohort_table import CohortTable, Described, table_of
from ghanet_model.protocol import StatisticsAsk
from ghanet_model.question import Sums

from .cohort import Cohort
from .site import Site


def cohort_table(site: Site, _ask: StatisticsAsk, _question: CohortTable) -> Sums:
    """All usable cases; those whose consent was withdrawn are not among them."""
    return table_of(described(site.cohort()), least=site.least)


def described(cohort: Cohort) -> Described:
    """The cases as the table needs them."""
    cases = cohort.cases
    outcomes = [case.outcome for case in cases]
    rows = np.array([case.covariates for case in cases], np.float64).reshape(-1, 4)
    age, female, grade, stage = rows.T
    return Described(
        time=np.array([o.time if o else math.nan for o in outcomes], np.float64),
        event=np.array([float(o.event) if o else math.nan for o in outcomes], np.float64),
        age=age,
        female=female,
        grade=grade,
        stage=stage,
        training=np.array([case.can_train for case in cases], bool),
        held_out=np.array([case.held_out and bool(case.outcome) for case in cases], bool),
        with_genes=_with_genes(cohort),
    )


def _with_genes(cohort: Cohort) -> NDArray[np.bool_]:
    """Which cases have a gene that was measured."""
    if cohort.genes is None:
        return np.zeros(len(cohort.cases), bool)
    return np.asarray(~np.isnan(cohort.genes).all(axis=1), bool)
