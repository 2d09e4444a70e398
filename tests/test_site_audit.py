"""A hospital audits a release on its own cases; nothing of it leaves."""

import json
import re
import shutil
from pathlib import Path

import pytest
from local import edit
from test_private_study import studied  # noqa: F401 - a fixture

import client.cli


@pytest.fixture
def home(studied, tmp_path):  # noqa: F811
    """A copy of a hospital that has a release."""
    return Path(shutil.copytree(studied.root / "hospital-a", tmp_path / "home"))


def test_it_says_how_well_cases_are_told_apart(home, capsys):
    """Both variants, in words and in a private file; the ledger has no line of it."""
    before = (home / "ledger" / "ledger.jsonl").read_bytes()
    assert client.cli.main(["audit", "--folder", str(home), "--epochs", "1"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert (found := re.search(r"compared: (\d+) cases trained on and (\d+) held out", told))
    assert 0 < int(found[1]) <= 20
    assert 0 < int(found[2]) <= 10
    assert "do not hand it out" in told
    path = home / "audits" / "small.json"
    assert path.stat().st_mode & 0o777 == 0o600
    kept = json.loads(path.read_text())
    for kind in ("loss", "calibrated"):
        assert kept[kind]["low"] <= kept[kind]["auc"] <= kept[kind]["high"]
    assert (home / "ledger" / "ledger.jsonl").read_bytes() == before


def test_too_few_cases_are_refused(home, capsys):
    """In one line, with how many are needed."""
    edit(home / "site.yaml", {"policy": {"minimum_cases": 15}})
    assert client.cli.main(["audit", "--folder", str(home)]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "20 cases trained on and 10 held out" in said
    assert "15 of each" in said
