"""What study and manifest say to items 1 to 16 of TRIPOD+AI. Pure.

Each function answers one item: with what is said and what of the item that lacks, or None where
the release says nothing of it. Only what a release holds is said.
"""

from ghanet_model.page_numbers import part, plural
from ghanet_model.release import NOTICE
from ghanet_model.study import ALL, FDR, VALIDATION, StudyConfig

from .tripod_told import Found, Told, after, edges, names, sites, trained, training_cases

SELECTIONS = {
    ALL: "all that every hospital with genes measured and that vary",
    FDR: (
        "of those measured everywhere, by Welch's t-test at a false discovery rate of {level:g}, "
        "one list for all"
    ),
}
PUBLIC = "those of a public list of the study"
TOP = (
    "of those measured everywhere, the {top} of each group with the smallest p of Welch's t-test, "
    "one list for all"
)


def title(study: StudyConfig, _: Found) -> Told:
    """Item 1."""
    said = "Making and evaluating a model that predicts survival from whole slide images"
    return Told(f"{said}: study {study.name}.", "the tumour, and which patients")


def use(_: StudyConfig, __: Found) -> Told:
    """Item 3b."""
    return Told(
        f"{NOTICE[0].upper()}{NOTICE[1:]}.", "for which patients, where in care, and by whom"
    )


def aims(_: StudyConfig, manifest: Found) -> Told:
    """Item 4."""
    beside = ""
    if manifest.get("arms"):
        beside = " and compare it with age, sex, grade and stage"
        beside += " and with models of single hospitals" * bool(part(manifest, "arms", "alone"))
    return Told(
        f"To make a model over {plural(len(trained(manifest)), 'hospital')} without exchanging "
        f"cases, evaluate it on cases that training never saw{beside}."
    )


def sources(_: StudyConfig, manifest: Found) -> Told:
    """Item 5a."""
    return Told(
        f"Made of cases of {names(trained(manifest))}. Evaluated on held-out cases of these, and "
        "on all cases with a known outcome of hospitals that only infer.",
        "kind of source, why these, and whom they stand for",
    )


def places(_: StudyConfig, manifest: Found) -> Told:
    """Item 6a."""
    found = sites(manifest)
    return Told(
        f"{plural(len(found), 'hospital')}: {names(found)}.", "kind of care, and where they are"
    )


def eligibility(study: StudyConfig, _: Found) -> Told:
    """Item 6b."""
    return Told(
        f"By the software: a case has features of a slide by the encoder {study.encoder}, and, to "
        "train or be evaluated, a time of follow-up and whether it died. Whose consent was "
        "withdrawn is left out.",
        "clinical criteria",
    )


def treatments(_: StudyConfig, __: Found) -> Told:
    """Item 6c."""
    return Told("Not an input; no hospital was asked for it.", "what patients received")


def preparation(study: StudyConfig, _: Found) -> Told:
    """Item 7."""
    cut = study.extraction
    compared = "" if study.is_private else ", its features are compared with other hospitals'"
    return Told(
        f"Slides are cut into patches of {cut.pixels} pixels at {cut.mpp:g} microns per pixel, "
        f"{100 * cut.least_tissue:g}% tissue or more, and encoded by {study.encoder}; one way for "
        "every case and group of patients. Each hospital's tables are checked by rules before use"
        f"{compared}."
    )


def outcome(study: StudyConfig, _: Found) -> Told:
    """Item 8a."""
    return Told(
        f"Death, or the last time seen alive, in months; survival at {edges(study)} months.",
        "of which cause, from which day, how and when it was found",
    )


def choice(study: StudyConfig, _: Found) -> Told:
    """Item 9a."""
    words = PUBLIC if study.is_private else SELECTIONS.get(study.gene_selection, TOP)
    chosen = words.format(level=study.gene_selection_level, top=study.gene_selection_top)
    return Told(
        f"All patches with tissue. Genes, in training only: {len(study.groups)} groups that the "
        f"study lists, {', '.join(study.gene_types)}; {chosen}."
    )


def inputs(study: StudyConfig, _: Found) -> Told:
    """Item 9b."""
    return Told(
        f"Patch features of width {study.feature_width} from the encoder {study.encoder}, made by "
        "software that does not read outcomes. For the clinical comparison age, sex, grade and "
        "stage as hospitals' tables have them.",
        "when and how slides were stained and scanned and genes measured",
    )


def judged(_: StudyConfig, __: Found) -> Told:
    """Item 9c."""
    return Told(
        "No person judges an input of the model.",
        "who judged grade and stage, which it is compared with",
    )


def size(study: StudyConfig, manifest: Found) -> Told:
    """Item 10."""
    evaluated = after(manifest).get("cases") or 0
    found = f", evaluation {evaluated:,}" if evaluated else ""
    return Told(
        f"All that hospitals' tables hold: training {training_cases(study, manifest)}{found}.",
        "whether these are enough",
    )


def missing(study: StudyConfig, _: Found) -> Told:
    """Item 11."""
    genes = "" if study.is_private else "Genes that one of the others lacks are left out. "
    return Told(
        "A case without slide or outcome is left out. A hospital without genes trains the survival "
        f"branch only. {genes}Unknown age, sex, grade or stage count as the mean in the clinical "
        f"comparison. Sums over fewer than {study.minimum_cases} cases stay in the hospital.",
        "how much was missing, and why",
    )


def partition(study: StudyConfig, _: Found) -> Told:
    """Item 12a."""
    chosen = ""
    if study.validation:
        kept = f" A share of {study.validation:g} of training cases fits the stack"
        chosen = kept + (" and chooses the round." if study.selected_round == VALIDATION else ".")
    return Told(
        f"A share of {study.held_out:g} of each training hospital's cases is held out, or those "
        f"that its table names; training never sees them.{chosen}"
    )


def handling(study: StudyConfig, _: Found) -> Told:
    """Item 12b."""
    scaled = (
        "by public constants of the study"
        if study.is_private
        else "by median and interquartile range over all hospitals"
    )
    return Told(
        f"Features as the encoder makes them. Genes are scaled {scaled} and clipped at "
        f"{study.gene_clip:g} deviations. Age, sex, grade and stage enter the clinical comparison "
        "in straight lines, standardised over all hospitals."
    )


def building(study: StudyConfig, manifest: Found) -> Told:
    """Item 12c."""
    each = (
        f"{study.private_steps} noisy steps"
        if study.is_private
        else plural(study.local_epochs, "epoch")
    )
    best = "best on validation cases" if study.selected_round == VALIDATION else "the last"
    return Told(
        f"G-HANet (arXiv 2403.10040), preset {study.preset}"
        + (f", width {study.width}" if study.width else "")
        + f": hazards by time bin, trained with slides and genes together. {manifest['rounds']} "
        f"rounds of {each}, updates averaged by cases. {_settings(study)} Fixed before training; "
        f"the software tunes none. Released: that of round "
        f"{manifest.get('selected_round') or manifest['rounds']}, {best}."
    )


def _settings(study: StudyConfig) -> str:
    steps = "" if study.is_private else f"{study.batch_cases} cases a step, "
    return (
        f"Adam, learning rate {study.learning_rate:g}, weight decay {study.weight_decay:g}, "
        f"{steps}dropout {study.dropout:g}, weight of the gene loss {study.gene_loss_weight:g}, "
        f"seed {study.seed}."
    )


def clusters(_: StudyConfig, __: Found) -> Told:
    """Item 12d."""
    return Told(
        "Pairs of cases are compared inside hospitals and added; each hospital's value stands "
        "beside the whole. Cox models have a baseline for each hospital. The weights are one mean "
        "for all; how hospitals' models differ is not modelled."
    )


def measures(study: StudyConfig, manifest: Found) -> Told:
    """Item 12e."""
    if manifest.get("noisy"):
        return Told("Harrell's C-index from noisy counts, with an interval. No clinical utility.")
    more = []
    if manifest.get("arms"):
        more.append(f"95% intervals by {study.replicates} bootstrap samples of cases")
    if manifest.get("brier"):
        more.append("Brier score beside that of Kaplan-Meier")
    if manifest.get("calibration"):
        more.append("predicted beside observed survival by group of risk")
    said = "; ".join(["Harrell's C-index inside hospitals", *more])
    return Told(f"{said}. Clinical utility was not evaluated.")


def updating(_: StudyConfig, __: Found) -> Told:
    """Item 12f."""
    return Told("None: the evaluation changes neither weights nor predictions.")


def computing(_: StudyConfig, manifest: Found) -> Told:
    """Item 12g."""
    version = part(manifest, "software", "federated-ghanet")
    return Told(
        f"By this software{f', version {version}' if version else ''}, in each hospital, with the "
        "released weights: survival is the product of 1 minus each bin's hazard, risk is minus the "
        "sum of survival."
    )


def balance(study: StudyConfig, _: Found) -> Told:
    """Item 13."""
    if study.is_private:
        how = "by public weights of time bin and event" * bool(study.class_weights)
        return Told(f"{'Cases are weighed ' + how if how else 'Not corrected'}; not recalibrated.")
    return Told(
        "Cases are drawn so that in a hospital each time bin, died or censored, comes alike often; "
        "predictions are not recalibrated for it."
    )


def fairness(_: StudyConfig, __: Found) -> Told:
    """Item 14."""
    return Told("The software treats no group of patients apart, and compares none.")


def output(study: StudyConfig, manifest: Found) -> Told:
    """Item 15."""
    low, high = manifest["risk_cutoffs"]
    of = "evaluated cases, from noisy counts" if manifest.get("noisy") else "training cases"
    percentile = part(manifest, "reference", "risk_boxes")
    band = part(manifest, "ensemble", "rounds") or []
    return Told(
        f"Hazards by time bin, survival at {edges(study)} months, a risk, and a group: low below "
        f"{low:.4f}, high from {high:.4f}, the tertiles of {of}; chosen to split cases alike, not "
        "by a clinical need."
        + " A percentile among training cases, between two bounds." * bool(percentile)
        + f" Beside survival, what models of {len(band)} other rounds say." * bool(band)
    )


def difference(_: StudyConfig, manifest: Found) -> Told:
    """Item 16."""
    only = [site for site in sites(manifest) if site["role"] == "infers"]
    own = "Held-out cases are of the training hospitals' own tables"
    others = f"; hospitals that were evaluated only: {names(only)}" if only else ""
    return Told(f"{own}{others}.", "how patients, outcomes and slides of both differ")
