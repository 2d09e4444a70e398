"""Terms of the encoder: whoever gets numbers made with it reads them, word for word."""

import dataclasses

import example_run
import pytest

from ghanet_model.extraction import DEMONSTRATION, HANDCRAFTED, Extraction, encoder_terms
from server.card import model_card
from server.report import twin_of
from server.report_page import report_page

LICENCE = "CC-BY-NC-ND 4.0, for the consortium's members only"


EMPTY = {"c_index": None, "cases": 0, "events": 0, "untold_events": 0, "comparable_pairs": 0}
MANIFEST = {
    "risk_cutoffs": [-2.0, -1.0],
    "rounds": 3,
    "participation": [],
    "evaluation": dict.fromkeys(("before", "after"), EMPTY | {"sites": {}}),
    "noisy": None,
    "arms": None,
    "differences": [],
    "brier": [],
    "privacy": "off",
    "study_digest": "0" * 64,
}


def study(encoder: str, licence: str = ""):
    """The example study with another encoder."""
    cut = Extraction(pixels=128, licence=licence)
    return dataclasses.replace(example_run.STUDY, encoder=encoder, extraction=cut)


@pytest.mark.parametrize(
    ("encoder", "licence", "said"),
    [
        ("uni", LICENCE, LICENCE),
        ("uni", "", "not stated: ask the coordinator"),
        (HANDCRAFTED, LICENCE, DEMONSTRATION),
    ],
)
def test_report_and_card_say_them(encoder, licence, said):
    """The same words in the report's page and twin and in the model card."""
    run = dataclasses.replace(example_run.example(), study=study(encoder, licence))
    twin = twin_of(run)
    assert said in encoder_terms(encoder, run.study.extraction)
    assert said in twin["settings"]["encoder_terms"]
    assert said.replace("'", "&#x27;") in report_page(twin)
    assert said in model_card(run.study, MANIFEST)
