"""A cohort as it is, for tests that write it down in many ways and read it again."""

import datetime as dt
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from client.cohort import require_cohort
from client.config import read_site
from ghanet_model.study import StudyConfig
from ghanet_model.survival import time_bin_of

CASES, SEED = 40, 5
SYMBOLS = ("TP53", "KRAS", "HLA-A", "MARCHF1")
STUDY = StudyConfig(
    name="exports",
    encoder="enc-v1",
    feature_width=4,
    time_bin_edges=(12.0, 36.0, 60.0),
    gene_groups="groups.csv",
    groups=(("first", SYMBOLS[:2]), ("second", SYMBOLS[2:])),
    held_out=0.3,
    seed=SEED,
)
GENE_COLUMNS = sorted(f"{symbol}_{kind}" for symbol in SYMBOLS for kind in STUDY.gene_types)
_FIRST_DAY = dt.date(2010, 1, 4)


@dataclass(frozen=True)
class Truth:
    """One case of the cohort, whatever a table makes of it."""

    case_id: str
    start: dt.date
    days: int
    died: bool
    slides: tuple[str, ...]
    genes: dict[str, float] = field(hash=False)


def make_truth() -> list[Truth]:
    """Forty cases, some with names that are not ASCII; their follow-up is whole days."""
    random = np.random.default_rng(SEED)
    names = ["Müller 7", "Ångström-3", "Þór", "Œuvre", "Zoë;2", "n,1"]
    names += [f"case-{i:02d}" for i in range(CASES - len(names))]
    truth = []
    for place, name in enumerate(names):
        genes = {c: round(float(random.normal()), 3) for c in GENE_COLUMNS if c.endswith("_rnaseq")}
        genes |= {f"{s}_cnv": float(random.integers(-2, 3)) for s in SYMBOLS}
        mutated = {f"{s}_mut": float(random.integers(0, 2)) for s in SYMBOLS}
        genes |= dict.fromkeys(mutated, np.nan) if place % 7 == 3 else mutated
        genes["KRAS_rnaseq"] = np.nan if place % 5 == 1 else genes["KRAS_rnaseq"]
        start = _FIRST_DAY + dt.timedelta(days=int(random.integers(0, 2000)))
        slides = tuple(f"slide-{place:02d}-{i}" for i in range(place % 3 + 1))
        days, died = int(random.integers(0, 3000)), bool(random.integers(0, 2))
        truth.append(Truth(name, start, days, died, slides, genes))
    return truth


TRUTH = make_truth()


def write_settings(folder: Path, settings: dict[str, Any]) -> None:
    """A site.yaml with these settings."""
    known = {"format": 1, "name": "north", "server": "localhost:1", "encoder": "enc-v1"}
    text = yaml.safe_dump(known | {"features": "features"} | settings, allow_unicode=True)
    (folder / "site.yaml").write_text(text, encoding="utf-8")


def require_truth(folder: Path) -> tuple[str, ...]:
    """The site's cohort is the one that was written down; what was understood of it."""
    cohort = require_cohort(read_site(folder), STUDY)
    truth = {case.case_id: case for case in TRUTH}
    assert sorted(case.case_id for case in cohort.cases) == sorted(truth)
    assert cohort.gene_columns == tuple(GENE_COLUMNS)
    for case, genes in zip(cohort.cases, cohort.genes, strict=True):
        true = truth[case.case_id]
        months = true.days / (365.25 / 12)
        assert case.outcome.time == pytest.approx(months, abs=1e-9)
        assert case.outcome.event is true.died
        assert case.outcome.time_bin == time_bin_of(months, STUDY.time_bin_edges)
        assert case.held_out is is_held_out(case.case_id)
        assert case.slide_ids == true.slides
        expected = np.array([true.genes[name] for name in GENE_COLUMNS], dtype=np.float32)
        np.testing.assert_array_equal(genes, expected)
    return cohort.understood


def is_held_out(case_id: str) -> bool:
    """The study's share, by SHA-256 of its seed and the case's id."""
    digest = hashlib.sha256(f"{SEED}|{case_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < STUDY.held_out
