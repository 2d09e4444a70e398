"""Parts of answers to TRIPOD+AI that methods and results share. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ghanet_model.metrics import events_in_words
from ghanet_model.page_numbers import part
from ghanet_model.study import StudyConfig

Found = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """An answer, and what of the item it leaves open."""

    said: str
    lacks: str = ""


def with_interval(found: Any) -> str:
    """A value with its 95% interval, as far as there is one."""
    value, low, high = (part(found, key) for key in ("value", "low", "high"))
    if value is None:
        return "not estimable"
    if low is None or high is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def sites(manifest: Found) -> list[Found]:
    """Every hospital that was ever enrolled."""
    return list(manifest.get("participation") or [])


def trained(manifest: Found) -> list[Found]:
    """Those that trained."""
    return [site for site in sites(manifest) if site["rounds_trained"]]


def training_cases(study: StudyConfig, manifest: Found) -> str:
    """How many cases training had; of a private study nobody but each hospital knows."""
    cases = sum(site["cases"] for site in trained(manifest))
    return f"{cases:,} cases" + " (as enrolled)" * study.is_private


def names(of: list[Found]) -> str:
    """Of hospitals, one after the other."""
    return ", ".join(str(site["name"]) for site in of) or "none"


def after(manifest: Found) -> Found:
    """The evaluation of the released model by exact sums."""
    found: Found = part(manifest, "evaluation", "after") or {}
    return found


def edges(study: StudyConfig) -> str:
    """Months of the study's horizons."""
    return ", ".join(f"{edge:g}" for edge in study.time_bin_edges)


def deaths_in_words(found: Found) -> str:
    """Deaths of an evaluation, as far as they are told."""
    return events_in_words(found["events"], found["untold_events"])
