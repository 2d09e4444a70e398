"""docs/privacy.md names every field of every answer, and every question."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from ghanet_model.protocol import DeliveryReply, RoundReply, StatisticsReply
from ghanet_model.study import StudyConfig
from ghanet_model.topics import KINDS

PAGE = (Path(__file__).parents[1] / "docs" / "privacy.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ")]
SENT = {field.name for kind in (RoundReply, DeliveryReply) for field in fields(kind)}
SENT |= {field.name for field in fields(StatisticsReply)} - {"sums"}  # those are the topics
SENT |= {kind.topic for kind in KINDS}
SETTINGS = [
    field.name
    for field in fields(StudyConfig)
    if field.name.startswith(("privacy", "private", "epsilon", "delta", "clipping", "sampling"))
]


@pytest.mark.parametrize("name", sorted(SENT))
def test_every_field_has_its_rule(name: str) -> None:
    """A row of the table says what becomes of it under privacy."""
    rows = [row for row in ROWS if f"`{name}`" in row.split("|")[1]]
    assert rows, f"{name} leaves a hospital and is in no row of docs/privacy.md"
    assert all(row.split("|")[3].strip() for row in rows)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_explained(name: str) -> None:
    """Those of privacy are in the table of settings."""
    assert any(f"`{name}`" in row for row in ROWS)


def test_named_tests_exist() -> None:
    """What the page says is tested is tested."""
    named = re.findall(r"`(tests/\w+\.py)`", PAGE)
    assert named
    assert all((Path(__file__).parents[1] / name).is_file() for name in named)
