"""What a release reports of TRIPOD+AI, item by item; what it does not is said, never left out.

TRIPOD+AI: Collins et al., BMJ 2024;385:e078378. Numbers are the checklist's, titles are ours. An
item is told by study and manifest (``tripod_methods.py``, ``tripod_results.py``), by people
(``card_file.py``), or both.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ghanet_model.study import StudyConfig

from . import tripod_methods as methods
from . import tripod_results as results
from .tripod_told import Found, Told

CHECKLIST = "TRIPOD+AI 2024"
NOT_REPORTED = "not reported"
REPORTED, IN_PART = "reported", "in_part"


@dataclass(frozen=True, slots=True)
class Rule:
    """Where an item's answer comes from."""

    number: str
    title: str  # in our words
    tell: Callable[[StudyConfig, Found], Told | None] | None = None
    key: str = ""  # of model_card.yaml


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the checklist, as a release answers it."""

    number: str
    title: str
    said: str | None
    lacks: str = ""  # what of it is not said

    @property
    def state(self) -> str:
        """How much of it is said."""
        if self.said is None:
            return "not_reported"
        return IN_PART if self.lacks else REPORTED


RULES = (
    Rule("1", "Title", methods.title, "title"),
    Rule("2", "Summary", None, "summary"),
    Rule("3a", "Why such a model", None, "context"),
    Rule("3b", "For whom, where in care, used by whom", methods.use, "intended_use"),
    Rule("3c", "Known inequalities in health", None, "inequalities"),
    Rule("4", "Aims", methods.aims),
    Rule("5a", "Where data come from", methods.sources, "data_sources"),
    Rule("5b", "Dates of data", None, "dates"),
    Rule("6a", "Places of care", methods.places, "setting"),
    Rule("6b", "Who could take part", methods.eligibility, "eligibility"),
    Rule("6c", "Treatments", methods.treatments, "treatments"),
    Rule("7", "Preparing data", methods.preparation),
    Rule("8a", "The outcome", methods.outcome, "outcome_definition"),
    Rule("8b", "Who judged outcomes", None, "outcome_assessors"),
    Rule("8c", "Outcomes judged blind", None, "blinding"),
    Rule("9a", "How inputs were chosen", methods.choice),
    Rule("9b", "What the inputs are", methods.inputs, "predictors"),
    Rule("9c", "Who judged inputs", methods.judged),
    Rule("10", "Number of cases, and why", methods.size, "sample_size"),
    Rule("11", "Missing data", methods.missing, "missing_data"),
    Rule("12a", "Which data for what", methods.partition),
    Rule("12b", "How inputs enter", methods.handling),
    Rule("12c", "Kind of model, how it was built", methods.building),
    Rule("12d", "Differences between hospitals, in method", methods.clusters),
    Rule("12e", "Measures of performance", methods.measures),
    Rule("12f", "Model changed after evaluation", methods.updating),
    Rule("12g", "How predictions were computed", methods.computing),
    Rule("13", "Unequal classes", methods.balance),
    Rule("14", "Fairness", methods.fairness, "fairness"),
    Rule("15", "What the model says, and cut-offs", methods.output),
    Rule("16", "Training data beside evaluation data", methods.difference, "evaluation_data"),
    Rule("17", "Ethics and consent", None, "ethics"),
    Rule("18a", "Funding", None, "funding"),
    Rule("18b", "Conflicts of interest", None, "conflicts"),
    Rule("18c", "Protocol", None, "protocol"),
    Rule("18d", "Registration", None, "registration"),
    Rule("18e", "Access to data", results.data, "data_sharing"),
    Rule("18f", "Access to code", results.code, "code_sharing"),
    Rule("19", "Part that patients and public had", None, "patient_involvement"),
    Rule("20a", "Flow of patients", results.flow, "participant_flow"),
    Rule("20b", "Who the patients are", results.patients, "characteristics"),
    Rule("20c", "Evaluated patients beside those trained on", None, "comparison"),
    Rule("21", "Cases and deaths in each analysis", results.analyses),
    Rule("22", "The whole model", results.model),
    Rule("23a", "Performance, with intervals", results.performance),
    Rule("23b", "Performance by hospital", results.by_hospital),
    Rule("24", "Performance after a change", results.updated),
    Rule("25", "What results mean", results.meaning, "interpretation"),
    Rule("26", "Limitations", results.limitations, "limitations"),
    Rule("27a", "Poor or missing input in use", results.poor_input),
    Rule("27b", "What users must do and know", results.users),
    Rule("27c", "Next steps", results.next_steps, "next_steps"),
)


def tripod_items(study: StudyConfig, manifest: Mapping[str, Any]) -> list[Item]:
    """Every item of the checklist, in its order; ``said`` is None where nothing is."""
    stated = manifest.get("stated") or {}
    return [_item(rule, study, manifest, str(stated.get(rule.key) or "")) for rule in RULES]


def _item(rule: Rule, study: StudyConfig, manifest: Found, stated: str) -> Item:
    """What people state stands first, and fills what the release lacks."""
    found = rule.tell(study, manifest) if rule.tell else None
    if found is None:
        return Item(rule.number, rule.title, stated or None)
    said = f"{_sentence(stated)} {found.said}" if stated else found.said
    return Item(rule.number, rule.title, said, "" if stated else found.lacks)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def tripod_json(items: Sequence[Item]) -> dict[str, Any]:
    """As a manifest holds it: counts, then every item."""
    counts = Counter(item.state for item in items)
    return {
        "checklist": CHECKLIST,
        "of": len(items),
        **{state: counts[state] for state in (REPORTED, IN_PART, "not_reported")},
        "items": [asdict(item) for item in items],
    }


def tripod_table(items: Sequence[Item]) -> str:
    """The section of a model card, Markdown."""
    found = tripod_json(items)
    counts = "{reported} of {of} items are reported, {in_part} in part, {not_reported} are not."
    return "\n".join(
        [
            counts.format(**found),
            "Numbers are those of the checklist (Collins et al., BMJ 2024;385:e078378), titles are",
            "ours. Reported does not mean good: it means that it is said.",
            "",
            "| item | | this release |",
            "|---|---|---|",
            *_rows(items),
        ]
    )


def _rows(items: Iterable[Item]) -> Iterable[str]:
    for item in items:
        lacks = f" Not reported: {item.lacks}." if item.lacks else ""
        said = cell(item.said) + lacks if item.said else NOT_REPORTED
        yield f"| {item.number} | {item.title} | {said} |"


def cell(text: str) -> str:
    """Text that ends neither its cell nor its row, and begins no element."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
