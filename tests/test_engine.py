"""A study in one process. tests/test_deployment.py shows that a deployment has its weights."""

import shutil
from pathlib import Path

import engine
import pytest
from demo.cohorts import ENCODER
from local import COORDINATOR
from support import write_cohort, write_study

import client.cli
from ghanet_model.errors import DeploymentError
from ghanet_model.release import Release, read_release
from server.card import model_card
from server.progress import FINISHED, read_progress
from server.recall import recall_release
from server.setup import read_server

SITES = {"hospital-a": True, "hospital-d": False}  # with genes, or slides only
STUDY: dict[str, object] = {"rounds": 2, "replicates": 5}


def settings_of(name: str) -> dict[str, object]:
    """What a hospital's site.yaml says."""
    genes = "genes.csv" if SITES[name] else None
    return {"encoder": ENCODER, "threads": 1, "genes": genes}


def release_of(root: Path) -> Release:
    """What a study came to."""
    folder = root / COORDINATOR
    key = (folder / "keys" / "release.key.pub").read_bytes()
    return read_release(folder / "releases" / "small.ghanet", public_pem=key)


def make_root(root: Path) -> Path:
    """A coordinator and two hospitals that train, one of them with slides only."""
    write_study(root / COORDINATOR, **STUDY)
    engine.init_coordinator(root)
    for name, genes in SITES.items():
        write_cohort(root / name, name, genes=genes)
        engine.join(root, name, role="trains", genes=genes, settings=settings_of(name))
    return root


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> engine.LocalExchange:
    """The messages of a study that the engine ran to its end."""
    root = make_root(tmp_path_factory.mktemp("engine"))
    found = engine.LocalExchange(root, SITES)
    engine.run_study(engine.make_run(root, found))
    return found


@pytest.fixture
def done(exchange: engine.LocalExchange) -> Path:
    """Where that study lies."""
    return exchange.root


def test_a_study_ends_with_its_release_at_every_hospital(done: Path) -> None:
    """Trained as long as the study says, and delivered."""
    assert release_of(done).manifest["rounds"] == STUDY["rounds"]
    content = (done / COORDINATOR / "releases" / "small.ghanet").read_bytes()
    assert [(done / name / "inbox" / "small.ghanet").read_bytes() for name in SITES] == [
        content,
        content,
    ]


def test_the_model_card_tells_usual_risks(done: Path) -> None:
    """By the boxes that a real study's manifest holds."""
    release = release_of(done)
    assert release.manifest["reference"]["risk_boxes"]
    card = model_card(release.study, release.manifest)
    assert "Percentiles of the training cases' risk, by boxes of cases: 5% " in card


def test_a_study_that_is_done_changes_nothing(done: Path) -> None:
    """Run again, it finds its results."""
    before = (done / COORDINATOR / "releases" / "small.ghanet").read_bytes()
    engine.run_here(done)
    assert (done / COORDINATOR / "releases" / "small.ghanet").read_bytes() == before


def test_a_recalled_release_is_not_delivered_again(done: Path, tmp_path: Path) -> None:
    """A run hands over the notice in place of the release, and says so at its end."""
    root = Path(shutil.copytree(done, tmp_path / "copy", symlinks=True))
    config = read_server(root / COORDINATOR)
    notice, _ = recall_release(config, "small.ghanet", reason="a test")
    inboxes = [root / name / "inbox" for name in SITES]
    for inbox in inboxes:
        (inbox / "small.ghanet").unlink()
    (config.state / "deliveries.json").unlink()
    engine.run_here(root)
    assert [[path.name for path in inbox.iterdir()] for inbox in inboxes] == [["recalls"]] * 2
    now = read_progress(config.state)
    assert (now.phase, now.error) == (FINISHED, f"release {notice}; it is not delivered")


def test_a_hospital_keeps_features_between_messages(exchange: engine.LocalExchange) -> None:
    """As a trainer does: an epoch reads no file that the one before has read."""
    assert all(exchange.memories[name]._cache.used for name in SITES)


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    """One line of what the command said; nothing of it is printed."""
    with pytest.raises(DeploymentError, match=r"error: .*invitation"):
        engine.command(
            client.cli.main,
            *("init", "--folder", tmp_path, "--name", "a"),
            *("--invitation", tmp_path / "invitation.json"),
        )
