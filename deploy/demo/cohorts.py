"""A small synthetic consortium: genes drive what slides look like and how long cases live.

Three hospitals have slides and genes, one has slides only; each stains a little differently. The
demo draws slides (``write_archive``); tests and benchmarks that need none draw features at once
(``write_hospital``). Nothing here describes a patient.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .slides import Stain, draw_slide
from .tiff import write_slide

ARCHIVE = "slides"  # folder of slide files
MPP, SIDE = 1.0, 576  # microns per pixel of the slides, and pixels across
WIDTH = 64  # D of the drawn features
ENCODER = "demo-v1"
FEATURES = f"features/20x_256px_0px_overlap/features_{ENCODER}"  # as TRIDENT names it
GROUPS = {
    "tumour suppressors": "TP53 RB1 PTEN CDKN2A BRCA1 BRCA2 APC SMAD4",
    "oncogenes": "KRAS PIK3CA ERBB2 CCND1 EGFR MDM2 BRAF NRAS",
    "protein kinases": "AKT1 CDK4 CDK6 MAPK1 JAK2 AURKA ATM CHEK1",
    "differentiation markers": "CD4 CD8A CD44 KRT5 KRT20 EPCAM CD19 CD24",
    "transcription factors": "MYC FOXA1 GATA3 STAT3 PPARG SOX2 KLF4 TBX3",
    "cytokines and growth factors": "IL6 TGFB1 VEGFA CXCL8 CCL5 FGF2 IL10 TNF",
}
EFFECT = np.array([1.0, -0.9, 0.8, -0.7, 0.9, -0.6])  # of each group's activity on log hazard
PHENOTYPES = len(GROUPS) + 2  # one answers to each group, two to none
LEVEL0_PIXELS = 256


@dataclass(frozen=True)
class Hospital:
    """One hospital of the demo."""

    name: str
    cases: int
    has_genes: bool
    months: float = 30.0  # mean survival of its cases that are average


# Of hospital-d so many cases, and so many that survive, that curves by group of risk can be told: a
# group with fewer than ten deaths or survivors is not.
HOSPITALS = (
    Hospital("hospital-a", 150, has_genes=True),
    Hospital("hospital-b", 120, has_genes=True),
    Hospital("hospital-c", 105, has_genes=True),
    Hospital("hospital-d", 180, has_genes=False, months=60),
)


@dataclass(frozen=True)
class World:
    """What is the same everywhere: how genes look under the microscope."""

    loadings: NDArray[np.float64]  # (groups, genes per group)
    centres: NDArray[np.float64]  # (phenotypes, WIDTH)
    looks: NDArray[np.float64]  # (groups, WIDTH): a group's activity inside its phenotype


def make_world(rng: np.random.Generator) -> World:
    """Draw the world."""
    genes = len(GROUPS["oncogenes"].split())
    return World(
        loadings=rng.uniform(0.6, 1.2, (len(GROUPS), genes)) * rng.choice([-1, 1], (1, genes)),
        centres=rng.standard_normal((PHENOTYPES, WIDTH)),
        looks=1.5 * rng.standard_normal((len(GROUPS), WIDTH)),
    )


def write_hospital(folder: Path, hospital: Hospital, world: World, *, seed: int) -> None:
    """Write one hospital's tables and features, as if an encoder had seen its slides."""
    rng = np.random.default_rng(seed)
    activity, stain = _write_tables(folder, hospital, world, rng, seed=seed)
    for name, slide, active in _slides(folder, activity, rng):
        _write_features(folder / FEATURES / f"{name}-{slide}.h5", active, world, stain, rng)


def write_archive(folder: Path, hospital: Hospital, world: World, *, seed: int) -> None:
    """Write one hospital's tables and slides, by as many processes as there are cores."""
    rng = np.random.default_rng(seed)
    activity, _ = _write_tables(folder, hospital, world, rng, seed=seed)
    stain = Stain.drawn(rng)
    wanted = [
        (folder / ARCHIVE / f"{name}-{slide}.tiff", active, stain, [seed, number])
        for number, (name, slide, active) in enumerate(_slides(folder, activity, rng))
    ]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        list(pool.map(_draw, wanted, chunksize=8))


def _draw(wanted: tuple[Path, NDArray[np.float64], Stain, list[int]]) -> None:
    path, active, stain, seed = wanted
    cv2.setNumThreads(1)
    write_slide(
        path, draw_slide(active, stain, np.random.default_rng(seed), side=SIDE, mpp=MPP), mpp=MPP
    )


def _write_tables(
    folder: Path, hospital: Hospital, world: World, rng: np.random.Generator, *, seed: int
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
    """Clinical and gene table; the activities (6,) of each case, and the hospital's stain."""
    names = [f"{hospital.name[-1].upper()}{number:04d}" for number in range(hospital.cases)]
    activity = rng.standard_normal((hospital.cases, len(GROUPS)))  # (cases, groups)
    stain = 0.3 * rng.standard_normal(WIDTH)
    folder.mkdir(parents=True, exist_ok=True)
    clinical = draw_outcomes(names, activity, rng, months=hospital.months)
    _add_covariates(clinical, activity, np.random.default_rng(seed + 1))
    clinical.to_csv(folder / "clinical.csv", index=False)
    if hospital.has_genes:
        _genes(names, activity, world, rng).to_csv(folder / "genes.csv", index=False)
    return dict(zip(names, activity, strict=True)), stain


def _slides(
    folder: Path, activity: dict[str, NDArray[np.float64]], rng: np.random.Generator
) -> Iterator[tuple[str, int, NDArray[np.float64]]]:
    """Case, number and activities of each slide; then the table of slides is written."""
    rows = []
    for name, active in activity.items():
        for slide in range(1, 2 + int(rng.random() < 0.15)):  # some cases have two slides
            rows.append((name, f"{name}-{slide}.svs"))
            yield name, slide, active
    pd.DataFrame(rows, columns=["case_id", "slide_id"]).to_csv(folder / "slides.csv", index=False)


def draw_outcomes(
    names: list[str],
    activity: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    months: float = 30.0,
) -> pd.DataFrame:
    """Exponential survival with a log hazard linear in the activities, uniform censoring."""
    hazard = np.exp(1.5 * activity @ EFFECT / np.linalg.norm(EFFECT)) / months
    death = rng.exponential(1 / hazard)
    censored = rng.uniform(6, 90, len(names))
    held_out = np.arange(len(names)) % 3 == 2
    return pd.DataFrame(
        {
            "case_id": names,
            "time": np.minimum(death, censored).round(2),
            "event": (death <= censored).astype(int),
            "split": np.where(held_out, "val", "train"),
        }
    )


def _add_covariates(
    clinical: pd.DataFrame, activity: NDArray[np.float64], rng: np.random.Generator
) -> None:
    """Age, sex, grade and stage; what drives survival shows in them, dimly."""
    cases = len(clinical)
    drive = activity @ EFFECT / np.linalg.norm(EFFECT)
    age = 64 + 3 * drive + 9 * rng.standard_normal(cases)
    stage = np.digitize(drive + 1.5 * rng.standard_normal(cases), [-0.8, 0.6, 1.8])
    grade = np.digitize(drive + 2.0 * rng.standard_normal(cases), [-0.7, 0.9])
    clinical["age"] = age.round().clip(25, 95).astype(int)
    clinical["sex"] = rng.choice(["female", "male"], cases)
    clinical["grade"] = [f"G{number + 1}" for number in grade]
    clinical["stage"] = [f"Stage {'I' * (n + 1) if n < 3 else 'IV'}" for n in stage]
    clinical.loc[rng.random(cases) < 0.05, "stage"] = ""  # some are not known


def _genes(
    names: list[str], activity: NDArray[np.float64], world: World, rng: np.random.Generator
) -> pd.DataFrame:
    """Expression: loading times activity plus noise, and one outlier as real tables have."""
    table: dict[str, object] = {"case_id": names}
    for group, symbols in enumerate(GROUPS.values()):
        for gene, symbol in enumerate(symbols.split()):
            noise = 0.5 * rng.standard_normal(len(names))
            signal = activity[:, group] * world.loadings[group, gene]
            table[f"{symbol}_rnaseq"] = (signal + noise).round(4)
    found = pd.DataFrame(table)
    found.loc[0, "MYC_rnaseq"] = 36893.0
    return found


def _write_features(
    path: Path,
    active: NDArray[np.float64],
    world: World,
    stain: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Write one slide's patches as TRIDENT does."""
    patches = draw_patches(active, world, stain, rng)
    count = len(patches)
    side = int(np.ceil(np.sqrt(count)))
    coords = np.stack(np.divmod(np.arange(count), side), axis=1) * LEVEL0_PIXELS
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        features = file.create_dataset("features", data=patches)
        features.attrs["encoder"] = ENCODER
        placed = file.create_dataset("coords", data=coords.astype("i8"))
        placed.attrs["patch_size"] = placed.attrs["patch_size_level0"] = LEVEL0_PIXELS
        placed.attrs["level0_magnification"] = placed.attrs["target_magnification"] = 20
        placed.attrs["overlap"] = 0


def draw_patches(
    active: NDArray[np.float64],
    world: World,
    stain: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """One slide's patches (N, WIDTH): shares and looks of phenotypes follow the activities."""
    logits = np.concatenate([0.9 * active, [0.5, 0.0]])
    shares = np.exp(logits) / np.exp(logits).sum()
    count = int(rng.integers(60, 140))
    phenotype = rng.choice(PHENOTYPES, count, p=shares)
    patches = world.centres[phenotype] + stain + 0.7 * rng.standard_normal((count, WIDTH))
    for group in range(len(GROUPS)):
        patches[phenotype == group] += active[group] * world.looks[group]
    drawn: NDArray[np.float32] = np.maximum(patches, 0).astype("f4")
    return drawn


def write_scaling(path: Path, world: World) -> None:
    """Write what genes are scaled by: the world's own constants, which no hospital's cases made."""
    rows = [
        (f"{symbol}_rnaseq", 0.0, float(np.hypot(world.loadings[group, gene], 0.5).round(4)))
        for group, symbols in enumerate(GROUPS.values())
        for gene, symbol in enumerate(symbols.split())
    ]
    pd.DataFrame(rows, columns=["column", "centre", "scale"]).to_csv(path, index=False)


def write_groups(path: Path) -> None:
    """Write the gene groups, one column each."""
    table = {name: symbols.split() for name, symbols in GROUPS.items()}
    pd.DataFrame(table).to_csv(path, index=False)
