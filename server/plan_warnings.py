"""What a coordinator should know before a study starts, a sentence each. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from ghanet_model.cohort_table import UNTOLD
from ghanet_model.question import Sums, add_sums
from ghanet_model.study import StudyConfig

FEW_DEATHS = 10
COVARIATES = ("age", "sex", "grade", "stage")
Plan = Mapping[str, Any]


def warnings_of(
    study: StudyConfig, plan: Plan, tables: Mapping[str, Sums], unlike: str
) -> list[str]:
    """All that is to be said of a plan.

    Args:
        study: that is planned.
        plan: its numbers.
        tables: of cohorts, by hospital.
        unlike: whose features differ from the others'.
    """
    found = [*_who(plan), *([unlike] if unlike else []), *_withheld(study, plan), *_deaths(plan)]
    return [*found, *_follow_up(study, plan), *_genes(plan), *_clinical(tables)]


def _who(plan: Plan) -> Iterator[str]:
    """Too few hospitals, or one that has changed since it described its cohort."""
    training = plan["training_hospitals"]
    if training["ready"] < training["needed"]:
        yield (
            f"training hospitals that are ready: {training['ready']}, a round needs "
            f"{training['needed']}: 'train' would wait for the others"
        )
    for one in plan["hospitals"]:
        before, now = one["described_cases"], one["cases"]
        if before and now and before != now:
            yield (
                f"{one['name']}: {now} cases; its deaths, age and stage are those of {before} "
                "that it described before (state/sums holds them)"
            )


def _withheld(study: StudyConfig, plan: Plan) -> Iterator[str]:
    """Who would tell little or nothing of the evaluation."""
    ready = [one for one in plan["hospitals"] if not one["why"]]
    few = [one["name"] for one in ready if not one["evaluated"]]
    if few:
        yield (
            f"{', '.join(few)}: too few cases to evaluate ({study.minimum_cases} at least are "
            "needed): nothing of the evaluation is told; a larger held_out would help"
        )
    hidden = [one["name"] for one in ready if one["evaluated"] and one["evaluated_events"] is None]
    if hidden:
        yield (
            f"{', '.join(hidden)}: few deaths or few survivors among the evaluated cases: pairs "
            "for the C-index are told, no curves of risk groups and no calibration"
        )
    if not plan["power"]["cases"]:
        yield "no hospital would tell how well the model predicts: there will be no C-index"


def _deaths(plan: Plan) -> Iterator[str]:
    """Too few to learn from, as far as is known."""
    deaths = [one["events"] for one in plan["hospitals"]]
    told, untold = sum(filter(None, deaths)), deaths.count(None)
    if told < FEW_DEATHS and untold:
        yield f"{told} deaths are told, {untold} hospitals do not tell theirs: perhaps too few"
    elif told < FEW_DEATHS:
        yield f"{told} deaths in all: too few to learn from"


def _follow_up(study: StudyConfig, plan: Plan) -> Iterator[str]:
    """Edges that the follow-up does not reach, and bins in which nobody died."""
    bins, edges = plan["time_bins"], study.time_bin_edges
    if not bins["last_month"]:
        yield "no hospital told times: whether the time bins fit cannot be said"
        return
    beyond = [f"{edge:g}" for edge in edges if edge >= bins["last_month"]]
    if beyond:
        yield f"no told follow-up reaches the edge at {' and '.join(beyond)} months"
    ends = (*(f"{edge:g}" for edge in edges), "the end")
    names = [f"{start:g} to {end}" for start, end in zip((0, *edges), ends, strict=True)]
    empty = [name for name, deaths in zip(names, bins["deaths"], strict=True) if deaths < 0.5]
    if empty:
        yield f"no known death from {' and from '.join(empty)} months: no risk is learnt there"


def _genes(plan: Plan) -> Iterator[str]:
    """Groups of which no gene is measured everywhere."""
    sequenced = [o for o in plan["hospitals"] if o["has_genes"] and not o["why"]]
    if not sequenced:
        yield "no hospital with genes is ready: 'train' needs one"
    for group, found in plan["genes"]["groups"].items():
        if found["everywhere"]:
            continue
        none = [name for name, own in plan["genes"]["hospitals"].items() if not own[group][0]]
        whose = f"{', '.join(none)} measured none" if none else "hospitals measured different ones"
        yield f"gene group '{group}' has no gene that all measured ({whose}): 'train' would end"


def _clinical(tables: Mapping[str, Sums]) -> Iterator[str]:
    """Covariates of the clinical model that nobody knows."""
    if not tables:
        return
    total = add_sums(tables.values())
    known = {"age": total["age_known"].any()}
    for name in COVARIATES[1:]:
        known[name] = total[name][:-1].any() or total[UNTOLD + name][:-1].any()
    missing = [name for name in COVARIATES if not known[name]]
    if missing:
        yield (
            f"no hospital tells {', '.join(missing)}: the clinical model goes without; name the "
            "columns in site.yaml where tables have them"
        )
