"""SECURITY.md: every test that it names as a proof is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "SECURITY.md"
THREATS = (
    "curious coordinator",
    "malicious hospital",
    "stolen key",
    "man in the middle",
    "malicious bundle",
    "replay",
    "gradient inversion",
    "membership inference",
    "poisoned files",
    "zip bomb",
    "pickle",
)


def defined() -> set[str]:
    """Every test of ours, as 'file::name'."""
    return {
        f"{path.name}::{name}"
        for path in (ROOT / "tests").glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }


def test_every_named_test_exists():
    """A proof that was renamed or removed is no proof."""
    named = re.findall(r"`(test_\w+\.py::test_\w+)`", PAGE.read_text())
    assert len(named) > 20
    assert sorted(set(named) - defined()) == []


def test_every_threat_has_a_row_that_says_what_is_not_protected():
    """Four cells: threat, protection, proof, and what is left."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| **")]
    cells = {row.split("**")[1]: row.strip("|").split("|") for row in rows}
    assert set(THREATS) <= set(cells)
    for threat in THREATS:
        assert len(cells[threat]) == 4
        assert all(cell.strip() for cell in cells[threat]), threat
