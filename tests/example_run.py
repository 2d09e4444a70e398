"""A made-up run with everything a report can show: what tests and people look at pages with."""

import dataclasses
import math
import random
from typing import Any

from demo.cohorts import ENCODER

from ghanet_model.metrics import Concordance, EvaluationSums
from ghanet_model.study import VALIDATION, StudyConfig
from server.checkpoint import Checkpoint, RoundRecord, SiteRound
from server.finish import FinalEvaluation
from server.progress import FINISHED, Progress
from server.report_run import RunReport
from server.roster import INFERS, TRAINS, Member, Roster

NAMES = ("aachen", "bordeaux", "coimbra", "dresden", "uppsala-university-hospital", "zagreb")
CASES = dict(zip(NAMES, (412, 268, 190, 341, 96, 34), strict=True))
ROUNDS, HORIZONS = 20, (12, 36, 60)
GROUPS = ("low", "intermediate", "high")
STUDY = StudyConfig(
    name="bladder-survival",
    encoder=ENCODER,
    feature_width=1024,
    time_bin_edges=HORIZONS,
    gene_groups="gene_groups.csv",
    groups=(
        ("tumour suppressors", ("TP53", "RB1", "CDKN2A")),
        ("oncogenes", ("FGFR3", "ERBB2", "PIK3CA")),
        ("cytokines and growth factors", ("IL6", "VEGFA")),
    ),
    rounds=ROUNDS,
    validation=0.1,
    selected_round=VALIDATION,
    train_alone=True,
)


def roster() -> Roster:
    """Five that train, one of them without genes; one that infers; one was revoked."""
    return Roster(
        tuple(
            Member(
                name,
                INFERS if name == "zagreb" else TRAINS,
                has_genes=name not in ("coimbra", "zagreb"),
                public_key="",
                enrolled="2026-05-04T09:00:00+00:00",
                cases=500,
                revoked="2026-06-01T10:00:00+00:00" if name == "dresden" else "",
                reason="key stolen" if name == "dresden" else "",
            )
            for name in NAMES
        )
    )


def sums(cases: int, c_index: float, *, pairs_each: int = 9, nll: float = 1.2) -> EvaluationSums:
    """What a hospital says of a model."""
    pairs = cases * pairs_each
    good = round(c_index * pairs)
    return EvaluationSums(
        cases, cases // 3, nll * cases, 0.0, cases, Concordance(good, pairs - good, 0, pairs)
    )


def site_round(name: str, number: int, chance: random.Random) -> SiteRound:
    """One hospital in one round, or after the last (round 0)."""
    behind = number - 1 if number else ROUNDS
    left_out = {
        ("bordeaux", 7): "no answer in time",
        ("bordeaux", 8): "not connected",
        ("aachen", 12): "quarantined: weights moved further than training can",
    }.get((name, number), "")
    if name == "dresden" and (number > 17 or not number):
        left_out = "revoked by the coordinator"
    if left_out or (name == "coimbra" and 0 < number < 5):
        return SiteRound(name, trained=False, left_out=left_out)
    learnt = 1 - math.exp(-behind / 6)
    c_index = 0.5 + 0.17 * learnt + chance.gauss(0, 0.25 / CASES[name] ** 0.5)
    few = name == "uppsala-university-hospital"
    trains = number > 0 and name != "zagreb"
    return SiteRound(
        name,
        trained=trains,
        cases=round(CASES[name] * 0.7) if trains else 0,
        events=None if few else round(CASES[name] * 0.3),
        gene_cases=round(CASES[name] * 0.7) if trains else 0,
        loss=1.35 - 0.5 * learnt + chance.gauss(0, 0.03) if trains else 0.0,
        seconds=CASES[name] * 0.12 + chance.random(),
        evaluation=None if few else sums(round(CASES[name] * 0.2), c_index),
        validation=None if few or name == "zagreb" else sums(20, 0.6, nll=1.3 - 0.3 * learnt),
        withheld="few_cases" if few else "",
        sent=3_020_000,
        received=3_020_000 if trains else 9_000,
    )


def history() -> tuple[RoundRecord, ...]:
    """Twenty rounds."""
    chance = random.Random(5)
    return tuple(
        RoundRecord(
            number, 50 + chance.random(), tuple(site_round(n, number, chance) for n in NAMES)
        )
        for number in range(1, ROUNDS + 1)
    )


def shares(total: int, **parts: float | None) -> dict[str, int | None]:
    """Counts of these shares of a total; None stays untold."""
    return {key: None if part is None else round(part * total) for key, part in parts.items()}


def described(name: str, cases: int) -> dict[str, Any]:
    """One hospital's row of the cohort table."""
    small = cases < 100
    return {
        "cases": cases,
        "events": None if cases < 40 else round(cases * 0.43),
        "training": 0 if name == "zagreb" else round(cases * 0.8),
        "held_out": cases if name == "zagreb" else cases - round(cases * 0.8),
        "with_genes": 0 if name in ("coimbra", "zagreb") else round(cases * 0.9),
        "mean_follow_up": 24.1 + cases / 50,
        "follow_up": None if cases < 40 else 31.0 + cases / 40,
        "age": {"mean": 67.4 + cases / 200, "sd": 10.1, "known": cases},
        "sex": shares(cases, female=None if cases < 40 else 0.27, male=0.7, unknown=0),
        "stage": {"0": 0}
        | shares(cases, I=None if small else 0.05, II=0.31, III=0.34, IV=None if small else 0.28)
        | {"unknown": 0},
        "grade": {"1": 0} | shares(cases, **{"2": None if small else 0.1, "3": 0.85}) | {"4": 0},
    }


def cohort() -> dict[str, Any]:
    """state/cohort.json."""
    return {
        "study": STUDY.digest,
        "hospitals": {name: described(name, cases) for name, cases in CASES.items()},
        "total": described("all", sum(CASES.values()))
        | {
            "held_out": 296,
            "training": 1045,
            "follow_up": 37.0,
            "mean_follow_up": 28.0,
            "with_genes": 1005,
        }
        | {"age": {"mean": 68.6, "sd": 10.3, "known": 1341}},
        "left_out": {},
    }


def interval(value: float, half: float, **rest: Any) -> dict[str, Any]:
    """A value with its interval."""
    return {"value": value, "low": value - half, "high": value + half, **rest}


def evaluation() -> dict[str, Any]:
    """state/evaluation.json."""
    told = [name for name in NAMES if name not in ("uppsala-university-hospital", "dresden")]
    values = {"federated": 0.668, "alone": 0.607, "clinical": 0.641, "stacked": 0.694}
    chance = random.Random(3)
    return {
        "study": STUDY.digest,
        "horizons": list(HORIZONS),
        "replicates": 500,
        "arms": {
            arm: {
                "c_within": interval(value, 0.037, pairs=9_412),
                "c_all": None
                if arm == "alone"
                else {"value": value - 0.008, "low": value - 0.019, "high": value + 0.004},
                "cases": 208,
                "events": 81,
                "untold_events": 1,
                "hospitals": told,
            }
            for arm, value in values.items()
        },
        "differences": [
            {"of": "federated", "minus": "alone", **interval(0.061, 0.048), "hospitals": told},
            {"of": "federated", "minus": "clinical", **interval(0.027, 0.052), "hospitals": told},
            {"of": "stacked", "minus": "clinical", **interval(0.053, 0.031), "hospitals": told},
        ],
        "by_hospital": {
            name: {
                arm: None
                if (name, arm) == ("zagreb", "alone")
                else interval(
                    value + chance.gauss(0, 0.03), 0.9 / CASES[name] ** 0.5, pairs=CASES[name] * 9
                )
                for arm, value in values.items()
            }
            for name in told
        },
        "groups": groups(),
        "calibration": calibration(),
        "brier": [
            {"months": 12, "model": 0.121, "kaplan_meier": 0.128},
            {"months": 36, "model": 0.204, "kaplan_meier": 0.226},
            {"months": 60, "model": 0.213, "kaplan_meier": 0.241},
        ],
        "integrated_brier": {"months": 60, "model": 0.174, "kaplan_meier": 0.193},
        "cox": {"clinical": cox(), "stacked": cox(stacked=True)},
        "withheld": [
            {
                "hospital": "uppsala-university-hospital",
                "what": "evaluation",
                "why": "too few cases",
            },
            {"hospital": "zagreb", "what": "risk group low", "why": "few deaths or survivors"},
        ],
    }


def groups() -> dict[str, Any]:
    """Survival of three groups, exponential with steps."""
    rates = (0.007, 0.015, 0.031)
    survival = [[math.exp(-rate * month) for month in range(61)] for rate in rates]
    width = [[0.0004 * month**1.25 + 0.02 * (month > 2) for month in range(61)] for _ in rates]
    bands = [
        [
            [min(1.0, max(0.0, s + side * w)) for s, w in zip(row, half, strict=True)]
            for row, half in zip(survival, width, strict=True)
        ]
        for side in (-2, 2)
    ]
    months = list(range(0, 61, 12))
    return {
        "names": list(GROUPS),
        "cutoffs": [-2.91, -2.44],
        "cases": [64, 71, 73],
        "survival": survival,
        "low": bands[0],
        "high": bands[1],
        "at_risk": {
            "months": months,
            "numbers": [
                [round(70 * math.exp(-(rate + 0.012) * month), 1) for month in months]
                for rate in rates
            ],
        },
        "log_rank": {"chi2": 21.4, "dof": 2, "p": 0.0000225},
        "hospitals": list(NAMES[:3]),
        "withheld": {"zagreb": ["low"]},
    }


def calibration() -> list[dict[str, Any]]:
    """Nine points, somewhat too hopeful for the high group."""
    return [
        {
            "months": months,
            "group": group,
            "cases": 64 + 4 * place,
            "predicted": math.exp(-rate * months),
            "observed": math.exp(-rate * 1.12 * months),
            "low": max(0.0, math.exp(-rate * 1.12 * months) - 0.09),
            "high": min(1.0, math.exp(-rate * 1.12 * months) + 0.08),
        }
        for months in HORIZONS
        for place, (group, rate) in enumerate(zip(GROUPS, (0.007, 0.015, 0.031), strict=True))
    ]


def cox(*, stacked: bool = False) -> dict[str, Any]:
    """A Cox model of four covariates, and of five."""
    ratios = [1.38, 0.94, 1.08, 1.71, *([1.52] if stacked else [])]
    names = ["age", "female", "grade", "stage", *(["model risk"] if stacked else [])]
    return {
        "covariates": names,
        "mean": [68.2, 0.27, 2.9, 2.8, *([-2.7] if stacked else [])],
        "sd": [10.4, 0.44, 0.36, 0.87, *([0.61] if stacked else [])],
        "hazard_ratio": ratios,
        "low": [ratio * 0.84 for ratio in ratios],
        "high": [ratio * 1.19 for ratio in ratios],
        "p": [0.0003, 0.47, 0.31, 0.0000004, *([0.0011] if stacked else [])],
        "known": [1307, 1341, 1190, 1288, *([1341] if stacked else [])],
        "l2": 1.0,
        "ties": "efron",
        "cases": 912,
        "events": 388,
        "hospitals": list(NAMES[:4]),
        "withheld": ["uppsala-university-hospital"],
    }


def signature() -> dict[str, Any]:
    """state/signature.json."""
    similar = dict(zip(NAMES, (0.97, 0.96, 0.95, 0.97, 0.91, None), strict=True))
    return {
        "study": STUDY.digest,
        "similarity": similar,
        "least": 0.5,
        "foreign": [],
        "left_out": {"zagreb": "too few cases to compare"},
    }


def panel() -> dict[str, Any]:
    """state/panel.json."""
    measured = {group: [len(symbols) * 3, len(symbols) * 3] for group, symbols in STUDY.groups}
    return {
        "study": STUDY.digest,
        "panel": {
            "groups": [[name, [f"{s}_rnaseq" for s in symbols]] for name, symbols in STUDY.groups],
            "columns": sorted(f"{s}_rnaseq" for _, symbols in STUDY.groups for s in symbols),
        },
        "coverage": {
            "aachen": measured,
            "bordeaux": measured | {"oncogenes": [7, 9]},
            "dresden": measured,
        },
        "missing": {"bordeaux": ["ERBB2_cnv", "PIK3CA_mut"]},
    }


def example() -> RunReport:
    """A finished run with everything."""
    final = FinalEvaluation(
        tuple(site_round(name, 0, random.Random(9)) for name in NAMES), sums(700, 0.7)
    )
    return RunReport(
        STUDY,
        roster(),
        Checkpoint(ROUNDS, STUDY.digest, {}, history()),
        final,
        last=final,
        released=ROUNDS,
        cohort=cohort(),
        signature=signature(),
        panel=panel(),
        evaluation=evaluation(),
        now=Progress(run="1", phase=FINISHED, updated="2026-06-02T14:31:07+00:00"),
        digests={
            "study": STUDY.digest,
            "software": "5e" * 32,
            "versions": {"federated-ghanet": "0.1.0", "flwr": "1.41.0", "torch": "2.9.0"},
            "release": "a7" * 32,
            "ledger_lines": 148,
            "ledger_head": "0c" * 32,
        },
    )


def half_way() -> RunReport:
    """The same after three rounds."""
    whole = example()
    begun = Checkpoint(3, STUDY.digest, {}, whole.checkpoint.history[:3])
    return dataclasses.replace(
        whole,
        checkpoint=begun,
        final=None,
        last=None,
        released=None,
        evaluation=None,
        running=True,
        cohort=None,
    )
