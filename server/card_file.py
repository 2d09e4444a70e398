"""model_card.yaml: what only people know of a study, for its model card. Nothing of a case."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from ghanet_model.errors import SettingsError
from ghanet_model.settings import FORMAT, parse, read_yaml

CARD_FILE = "model_card.yaml"
MOST_LETTERS = 2_000  # of one answer; longer texts belong into a document that it names
CARD_TEMPLATE = """\
format: 1
# What only people know of this study, for the model card of its release. All of it is optional,
# and is sent with the release; what is not here is printed as "not reported". 2000 letters each.
# Not a part of the study's digest: it may be written at any time before the release is made.
#
# title:                which patients, which outcome, in one line
# summary:              the study in a few sentences
# context:              why such a model is wanted, and which others there are
# intended_use:         for which patients, where in their care, and who would use it
# inequalities:         groups of patients known to fare worse, or to be missed
# data_sources:         trial, registry or routine care; why these hospitals; whom they stand for
# dates:                from when to when patients were taken, and followed
# setting:              kind of care, and where the hospitals are
# eligibility:          which patients were taken, and which were not
# treatments:           what patients received
# outcome_definition:   death of which cause, from which day, how it was found
# outcome_assessors:    who judged the outcome, if it takes judging
# blinding:             whether those who judged outcomes knew slides or genes
# predictors:           when and how slides were stained and scanned, genes measured
# sample_size:          why so many cases, and whether they are enough
# missing_data:         how much was missing, and why
# fairness:             what was done so that no group of patients is served worse
# evaluation_data:      how evaluated patients differ from those trained on
# ethics:               committee, number, and consent or waiver
# funding:              who paid, and what they decided
# conflicts:            interests of those who made it
# protocol:             where it can be read, or that there is none
# registration:         register and number, or that there is none
# data_sharing:         whom to ask for data
# code_sharing:         where the code can be had
# patient_involvement:  what patients had a part in, or that they had none
# participant_flow:     how many were seen, left out and why; length of follow-up
# characteristics:      age, sex, stage and treatment by hospital
# comparison:           the same of patients trained on and of patients evaluated
# interpretation:       what the results mean beside earlier studies
# limitations:          beyond those that the software states
# next_steps:           what should be studied next
# contact:              whom to write to
"""


@dataclass(frozen=True, slots=True)
class CardFile:
    """The answers; empty ones are not there. Which item each belongs to: ``tripod.py``."""

    format: int
    title: str = ""
    summary: str = ""
    context: str = ""
    intended_use: str = ""
    inequalities: str = ""
    data_sources: str = ""
    dates: str = ""
    setting: str = ""
    eligibility: str = ""
    treatments: str = ""
    outcome_definition: str = ""
    outcome_assessors: str = ""
    blinding: str = ""
    predictors: str = ""
    sample_size: str = ""
    missing_data: str = ""
    fairness: str = ""
    evaluation_data: str = ""
    ethics: str = ""
    funding: str = ""
    conflicts: str = ""
    protocol: str = ""
    registration: str = ""
    data_sharing: str = ""
    code_sharing: str = ""
    patient_involvement: str = ""
    participant_flow: str = ""
    characteristics: str = ""
    comparison: str = ""
    interpretation: str = ""
    limitations: str = ""
    next_steps: str = ""
    contact: str = ""

    def __post_init__(self) -> None:
        """Refuse another format and long texts."""
        if self.format != FORMAT:
            raise SettingsError(
                f"{CARD_FILE}: format is {self.format}, this version reads format {FORMAT}"
            )
        for key, text in self.stated.items():
            if len(text) > MOST_LETTERS:
                raise SettingsError(
                    f"{CARD_FILE}: '{key}' has {len(text)} letters",
                    hint=f"{MOST_LETTERS} at most; name a document that says the rest",
                )

    @property
    def stated(self) -> dict[str, str]:
        """What is there, by key."""
        values = dataclasses.asdict(self)
        return {key: text for key, text in values.items() if key != "format" and text}


def read_card_file(folder: Path) -> dict[str, str]:
    """What people state of the study, by key; nothing where there is no file.

    Raises:
        SettingsError: not YAML, an unknown key, no text, or too long a text.
    """
    path = folder / CARD_FILE
    if not path.exists():
        return {}
    values = {key: _on_one_line(value) for key, value in read_yaml(path).items()}
    return parse(values, CardFile, where=path.name).stated


def _on_one_line(value: object) -> object:
    return " ".join(value.split()) if isinstance(value, str) else value
