"""A private study, from its first question to its release: everything that leaves is noise.

In one process, with the real functions of both sides and both gates.
"""

import csv
import json
import shutil
import zipfile
from pathlib import Path

import engine
import numpy as np
import pytest
from support import LocalExchange, make_consortium, make_run

from client.budget import EVALUATION, TRAINING, budget_ledger, entries
from client.policy import Budget
from ghanet_model.ledger import CHARGED, SENT
from ghanet_model.release import read_release

PRIVATE = {
    "privacy": "local",
    "gene_scaling": "scaling.csv",
    "rounds": 2,
    "private_steps": 3,
    "sampling_rate": 0.5,
    "nominal_cases": 30,
    "accountant": "rdp",
    "epsilon": 3.0,
}


def write_scaling(folder: Path) -> None:
    """Public constants of every gene of the demo's groups."""
    folder.mkdir(parents=True, exist_ok=True)
    from demo.cohorts import GROUPS  # noqa: PLC0415

    with (folder / "scaling.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["column", "centre", "scale"])
        for symbols in GROUPS.values():
            writer.writerows([f"{symbol}_rnaseq", 0.0, 1.0] for symbol in symbols.split())


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> LocalExchange:
    """A private study of two training hospitals and one with slides only, run to its end."""
    root = tmp_path_factory.mktemp("private")
    write_scaling(root / "coordinator")
    make_consortium(root, **PRIVATE)
    exchange = LocalExchange(root, ["hospital-a", "hospital-b", "hospital-d"])
    engine.run_study(make_run(root, exchange))
    return exchange


def charges(home: Path):
    """What a hospital's ledger has of the budget."""
    return [e.release for e in entries(budget_ledger(home, Budget()).verified(), "cohort")]


def test_every_round_and_histogram_is_charged_before_it_is_sent(studied: LocalExchange) -> None:
    """In each ledger: the rounds of a training hospital, and both histograms of every one."""
    for name, rounds in {"hospital-a": 2, "hospital-b": 2, "hospital-d": 0}.items():
        found = charges(studied.root / name)
        assert [r.what for r in found if r.part == TRAINING] == [
            f"round {number}" for number in range(1, rounds + 1)
        ]
        histograms = [r.what for r in found if r.part == EVALUATION]
        assert histograms == ["noisy risks", "noisy outcomes"]
        lines = budget_ledger(studied.root / name, Budget()).verified()
        charged = {line.digest for line in lines if line.what == CHARGED}
        sent = [line for line in lines if line.what == SENT]
        assert {line.facts["charge"] for line in sent if "charge" in line.facts} == charged


def test_nothing_else_is_asked_or_said(studied: LocalExchange) -> None:
    """No exact number is in any answer: constants, noisy arrays, and the release's digest."""
    for _, reply in studied.answers:
        values = dict(reply.values)
        if "number" in values:
            assert values["cases"] == 1
            assert values["gene_cases"] in (0, 1)
            assert (values["loss"], values["seconds"], values["withheld"]) == (0.0, 0.0, "")
            assert set(values) == {
                "number",
                "base",
                "cases",
                "gene_cases",
                "loss",
                "seconds",
                "withheld",
            }
        elif "topic" in values:
            assert values["topic"] in ("noisy risks", "noisy outcomes")
            (counts,) = reply.arrays.values()
            assert (counts % 1 != 0).all()
        else:
            assert set(values) == {"sha256"}


def test_the_release_says_what_was_promised(studied: LocalExchange) -> None:
    """Epsilon, delta, unit, adjacency, accountant; C with its interval or none; no exact number."""
    folder = studied.root / "coordinator"
    key = (folder / "keys" / "release.key.pub").read_bytes()
    release = read_release(folder / "releases" / "small.ghanet", public_pem=key)
    said = release.manifest["privacy"]
    assert said["epsilon"] == 3.0
    assert said["accountant"] == "rdp"
    assert "case" in said["unit"]
    assert release.manifest["noisy"]["hospitals"] == ["hospital-a", "hospital-b", "hospital-d"]
    cases = {site["name"]: site["cases"] for site in release.manifest["participation"]}
    assert cases == {"hospital-a": 30, "hospital-b": 45, "hospital-d": 0}  # as enrolled
    with zipfile.ZipFile(folder / "releases" / "small.ghanet") as archive:
        assert b"epsilon 3 at delta 1e-05" in archive.read("model_card.md")


def test_the_report_is_written(studied: LocalExchange) -> None:
    """Also of a study without any exact number."""
    folder = studied.root / "coordinator" / "report"
    assert json.loads((folder / "report.json").read_text())["study"] == "small"
    assert "<html" in (folder / "report.html").read_text()


def test_the_same_question_is_answered_once(studied: LocalExchange, tmp_path: Path) -> None:
    """Asked again for the same round, a hospital sends the same bits and charges nothing."""
    root = Path(shutil.copytree(studied.root, tmp_path / "again"))
    exchange = LocalExchange(root, ["hospital-a"])
    (name, ask) = [s for s in studied.sent if s[0] == "hospital-a" and "number" in s[1].values][-1]
    (_, first) = [a for a in studied.answers if a[0] == "hospital-a" and "number" in a[1].values][
        -1
    ]
    before = charges(root / name)
    exchange.most = 10**9
    found = exchange._answer("round", name, ask, ask.packed())
    assert not isinstance(found, str)
    assert charges(root / name) == before
    for array, old in first.arrays.items():
        assert np.array_equal(found.arrays[array], old)
