"""What study and manifest say to items 18 to 27 of TRIPOD+AI. Pure.

Each function answers one item: with what is said and what of the item that lacks, or None where
the release says nothing of it. Only what a release holds is said.
"""

from ghanet_model.extraction import encoder_terms
from ghanet_model.page_numbers import part
from ghanet_model.study import StudyConfig

from .tripod_told import Found, Told, after, deaths_in_words, trained, training_cases, with_interval


def data(_: StudyConfig, __: Found) -> Told:
    """Item 18e."""
    return Told(
        "Cases stay in their hospitals; only updates and sums left.", "whom to ask for data"
    )


def code(_: StudyConfig, manifest: Found) -> Told:
    """Item 18f."""
    versions = manifest.get("software") or {}
    used = [
        f"{name} {versions[name]}" for name in ("federated-ghanet", "torch") if name in versions
    ]
    named = f" ({', '.join(used)})" if used else ""
    return Told(
        f"All analyses are part of this software{named}, Apache-2.0.", "where it can be had"
    )


def flow(study: StudyConfig, manifest: Found) -> Told:
    """Item 20a."""
    found = after(manifest)
    said = f"Training {training_cases(study, manifest)}"
    if found.get("cases"):
        deaths = deaths_in_words(found)
        said += f", evaluation {found['cases']:,}, of whom died: {deaths}"
    return Told(f"{said}.", "who was left out before that, and length of follow-up")


def patients(_: StudyConfig, manifest: Found) -> Told | None:
    """Item 20b."""
    rows = [f"{site['name']} {site['cases']:,}" for site in trained(manifest)]
    if not rows:
        return None
    return Told(f"Training cases: {', '.join(rows)}.", "age, sex, stage, treatment, follow-up")


def analyses(study: StudyConfig, manifest: Found) -> Told:
    """Item 21."""
    rows = [f"Training {training_cases(study, manifest)}"]
    found = after(manifest)
    if found.get("cases"):
        deaths = deaths_in_words(found)
        rows.append(f"evaluation {found['cases']:,} cases, deaths {deaths}")
    return Told(f"{'; '.join(rows)}.", "deaths among training cases")


def model(study: StudyConfig, manifest: Found) -> Told:
    """Item 22."""
    fitted = part(manifest, "reference", "cox")
    beside = (
        "Coefficients of the Cox models that it is compared with are there too. " if fitted else ""
    )
    return Told(
        "All weights are in weights.safetensors, scaling of genes and settings in manifest.json; "
        f"ghanet-client predict applies them. {beside}"
        f"Terms of the encoder: {encoder_terms(study.encoder, study.extraction)}.",
        "" if fitted else "coefficients of the Cox models that it is compared with",
    )


def performance(_: StudyConfig, manifest: Found) -> Told | None:
    """Item 23a."""
    groups = "performance by age, sex or other groups of patients"
    noisy, arms = part(manifest, "noisy", "c_within"), manifest.get("arms") or {}
    if noisy:
        return Told(f"C-index {with_interval(noisy)}.", groups)
    rows = [f"{arm} {with_interval(found['c_within'])}" for arm, found in arms.items() if found]
    if rows:
        return Told(f"C-index with 95% interval: {'; '.join(rows)}.", groups)
    value = after(manifest).get("c_index")
    return None if value is None else Told(f"C-index {value:.3f}.", f"intervals; {groups}")


def by_hospital(_: StudyConfig, manifest: Found) -> Told | None:
    """Item 23b."""
    rows_of = after(manifest).get("sites") or {}
    told = {name: row["c_index"] for name, row in rows_of.items() if row["c_index"] is not None}
    if not told:
        return None
    rows = ", ".join(f"{name} {value:.3f}" for name, value in told.items())
    return Told(f"C-index: {rows}. Those of single hospitals are uncertain.")


def updated(_: StudyConfig, __: Found) -> Told:
    """Item 24."""
    return Told("Nothing was changed after evaluation.")


def meaning(_: StudyConfig, manifest: Found) -> Told | None:
    """Item 25."""
    rows = [
        f"C-index of {row['of']} minus {row['minus']} {with_interval(row)}"
        for row in manifest.get("differences") or []
        if row["value"] is not None
    ]
    if not rows:
        return None
    said = "; ".join(rows)
    return Told(
        f"{said}. Where an interval includes 0, no difference is shown, nor that there is none.",
        "beside earlier studies, and for whom",
    )


def limitations(_: StudyConfig, manifest: Found) -> Told:
    """Item 26."""
    noise = " Noise for privacy costs accuracy." * bool(manifest.get("noisy"))
    return Told(
        "Cases of the past, chosen by who has slides. No external validation. Intervals hold the "
        "luck of the evaluated cases, not that of training. Small numbers stay untold, most where "
        f"few died, so what is told can be biased. Predictions are not recalibrated.{noise}"
    )


def poor_input(_: StudyConfig, manifest: Found) -> Told:
    """Item 27a."""
    unlike = (
        "A slide unlike those of training is told by its features and marked."
        if part(manifest, "reference", "features")
        else "Another stain, scanner, organ or disease gets an answer all the same."
    )
    return Told(
        "ghanet-client refuses a slide without resolution, with fewer than 5 patches, or of "
        f"another encoder. Genes are not needed. {unlike}"
    )


def users(_: StudyConfig, __: Found) -> Told:
    """Item 27b."""
    return Told(
        "Only the slide is needed. Whoever reads the answer must be able to judge whether "
        "the slide is of the kind that the model was made for, and what a C-index does not say."
    )


def next_steps(_: StudyConfig, __: Found) -> Told:
    """Item 27c."""
    return Told(
        "Evaluation in hospitals that had no part, then a trial of whether it helps patients."
    )
