"""The model card of a release: what it is, who made it, how good it is, what it must not be."""

from typing import Any

from ghanet_model.extraction import encoder_terms
from ghanet_model.metrics import events_in_words
from ghanet_model.release import NOTICE
from ghanet_model.study import StudyConfig

from .card_reference import calibration, reference
from .tripod import cell, tripod_items, tripod_table
from .tripod_told import with_interval


def model_card(study: StudyConfig, manifest: dict[str, Any]) -> str:
    """Markdown for people; every number in it is in the manifest too.

    Sections first, then every item of TRIPOD+AI. What is not known is said to be not reported.
    """
    low, high = manifest["risk_cutoffs"]
    edges = ", ".join(f"{edge:g}" for edge in study.time_bin_edges)
    return f"""# Model card: {study.name}

**{NOTICE[0].upper()}{NOTICE[1:]}.**

## What it is

G-HANet (arXiv 2403.10040), preset `{study.preset}`, trained by {_training(manifest)} hospitals in
{manifest["rounds"]} rounds without exchanging cases. Input: patch features of width
{study.feature_width} from the encoder `{study.encoder}`; other encoders are refused. Genes are
needed in training only. Output: hazards in the bins with edges {edges} months, survival at each
edge, a risk, a risk group. Beyond the last edge nothing is estimated. Updates travelled as
{study.exchange_precision}.

Patches: {study.extraction.pixels} pixels at {study.extraction.mpp:g} microns per pixel
({study.extraction.microns:g} microns wide). Terms of the encoder:
{encoder_terms(study.encoder, study.extraction)}.
This release was made with that encoder's output and comes under its terms.

Study digest: `{manifest["study_digest"]}`

## Who took part

| hospital | role | genes | training cases | rounds trained |
|---|---|---|---|---|
{_participation(manifest["participation"])}

## How good it is

{_noisy(manifest["noisy"]) if manifest["noisy"] else _quality(study, manifest)}

External validation: not reported.

{_brier(manifest)}

{calibration(manifest.get("calibration") or [])}

## Risk groups

low: risk below {low:.4f}; high: {high:.4f} and above; intermediate between. {_cutoffs(manifest)}

## Privacy

{_privacy(manifest["privacy"])}

Secure aggregation: no, the coordinator sees each hospital's update.

{reference(manifest.get("reference") or {})}

## TRIPOD+AI

{tripod_table(tripod_items(study, manifest))}

Contact: {cell(str((manifest.get("stated") or {}).get("contact") or "not reported"))}
"""


def _privacy(said: Any) -> str:
    """What was promised to every case, and what was not."""
    if said == "off":
        return "Differential privacy: off. A release can leak facts about training cases."
    return f"""Differential privacy: epsilon {said["epsilon"]:g} at delta {said["delta"]:g}, by the
accountant {said["accountant"].upper()}, for each case with all its slides (one case added or
removed), against everybody outside its hospital, the coordinator too.

* Training cases: {said["steps"]} steps, gradients clipped to {said["clipping_norm"]:g}, sampling
  rate {said["sampling_rate"]:g}, noise {said["noise"]:g}. Evaluated cases: two histograms, noise
  {said["evaluation_noise"]:g}.
* It adds up with every other study of the same cases and, for a patient of several hospitals, over
  these.
* Not covered: which hospitals took part, how many cases each was enrolled with, how long an answer
  took. What the model says of a patient's slide tells of that patient.
"""


def _quality(study: StudyConfig, manifest: dict[str, Any]) -> str:
    """C-indices from exact sums."""
    after, before = manifest["evaluation"]["after"], manifest["evaluation"]["before"]
    return f"""Harrell's C-index over pairs of cases inside one hospital, held-out cases of training
hospitals and all cases with a known outcome of the others. Sums over fewer than
{study.minimum_cases} cases never leave a hospital and are missing here. Untold: a hospital where
only a few died, or only a few did not, does not say how many.

| | C-index | cases | events | comparable pairs |
|---|---|---|---|---|
{_evaluation("all, first model (untrained)", before)}
{_evaluation("all, this release", after)}
{_sites(after)}

{_arms(manifest)}"""


def _cutoffs(manifest: dict[str, Any]) -> str:
    """Where the cut-offs of risk groups come from."""
    if manifest["noisy"]:
        return "The cut-offs\nare the tertiles of the evaluated cases' risk, from noisy counts."
    return """The cut-offs are the
tertiles of the training cases' risk, from histograms that hospitals added; where none could tell
its histogram, the tertiles of a normal distribution of the same mean and standard deviation."""


def _noisy(found: dict[str, Any]) -> str:
    """The C-index of a private study."""
    value = with_interval(found["c_within"] or {"value": None})
    return f"""C-index from noisy counts of {len(found["hospitals"])} hospitals: {value}. Its 95%
interval covers both the sample of cases and the noise. Pairs that are close in time are left out,
which makes it larger than one of exact times: by .01 to .02 on drawn cases, see docs/privacy.md."""


def _arms(manifest: dict[str, Any]) -> str:
    """Arms with intervals, and their differences on the same cases."""
    if not manifest["arms"]:
        return "Confidence intervals and comparison with clinical variables: not reported."
    rows = [
        f"| {arm} | {with_interval(found['c_within'])} | {found['cases']} "
        f"| {found['c_within']['pairs']} |"
        for arm, found in manifest["arms"].items()
        if found
    ]
    differences = [
        f"* {row['of']} minus {row['minus']}: {with_interval(row)}, "
        f"over {len(row['hospitals'])} hospitals"
        for row in manifest["differences"]
        if row["value"] is not None
    ]
    head = [
        "On these cases, with 95% bootstrap intervals: the model (federated), the models that",
        "hospitals trained alone, a Cox model of age, sex, grade and stage (clinical), and it",
        "with the model's risk too (stacked).",
        "",
        "| | C-index | cases | comparable pairs |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *rows, "", *differences])


def _brier(manifest: dict[str, Any]) -> str:
    """Squared errors of predicted survival."""
    if not manifest["brier"]:
        return "Brier score: not reported."
    rows = [
        f"| {row['months']:g} | {row['model']:.3f} | {row['kaplan_meier']:.3f} |"
        for row in manifest["brier"]
    ]
    head = [
        "Brier score, the mean squared error of predicted survival; beside it that of one",
        "Kaplan-Meier curve as everybody's prediction.",
        "",
        "| months | model | Kaplan-Meier |",
        "|---|---|---|",
    ]
    return "\n".join([*head, *rows])


def _training(manifest: dict[str, Any]) -> int:
    return sum(site["rounds_trained"] > 0 for site in manifest["participation"])


def _participation(sites: list[dict[str, Any]]) -> str:
    return "\n".join(
        f"| {site['name']} | {site['role']} | {'yes' if site['has_genes'] else 'no'} "
        f"| {site['cases'] or '-'} | {_rounds(site)} |"
        for site in sites
    )


def _rounds(site: dict[str, Any]) -> str:
    standing = f" ({site['standing']})" if site["standing"] else ""
    return f"{site['rounds_trained'] or '-'}{standing}"


def _evaluation(title: str, values: dict[str, Any]) -> str:
    c_index = "not estimable" if values["c_index"] is None else f"{values['c_index']:.3f}"
    events = events_in_words(values["events"], values["untold_events"])
    counts = f"{values['cases']} | {events} | {values['comparable_pairs']}"
    return f"| {title} | {c_index} | {counts} |"


def _sites(after: dict[str, Any]) -> str:
    return "\n".join(_evaluation(name, values) for name, values in after["sites"].items())
