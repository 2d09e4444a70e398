"""A coordinator recalls a release and delivers the notice; the release goes to nobody more."""

import json
import shutil
from pathlib import Path

import pytest
from local import edit
from support import LocalExchange, join, make_consortium, make_run
from test_recall import DIGEST, REASON

import server.cli
from ghanet_model.errors import DeploymentError, ReleaseError
from ghanet_model.files import sha256
from ghanet_model.keys import make_release_key
from ghanet_model.ledger import RECALLED
from ghanet_model.network import new_model
from ghanet_model.rehearsal import stand_in_panel
from ghanet_model.release import make_release, model_config
from ghanet_model.study import read_study
from ghanet_model.weights import weights_of
from server.finish import deliver
from server.ledger import in_words, verified
from server.membership import revoke
from server.progress import read_progress
from server.recall import recall_release, recalled_words
from server.recall_delivery import deliver_recalls, run_recalls
from server.setup import read_server
from server.task import end_task, is_recall, leave_recall, planned_study, require_no_plan

HOSPITALS = ["hospital-a", "hospital-b", "hospital-d"]


def write_release(folder: Path, key_file: Path, *, study: Path, rounds: int = 1) -> bytes:
    """An untrained model as folder/small.ghanet."""
    found = read_study(study)
    panel = stand_in_panel(found)
    manifest = {
        "name": "small",
        "study": found.as_json(),
        "panel": panel.to_json(),
        "risk_cutoffs": [-2.5, -1.5],
        "rounds": rounds,
    }
    weights = weights_of(new_model(model_config(found, panel), seed=1))
    content = make_release(manifest, weights, "# card\n", key_file=key_file)
    folder.mkdir(exist_ok=True)
    (folder / "small.ghanet").write_bytes(content)
    return content


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coordinator with a release that every one of its three hospitals has."""
    root = tmp_path_factory.mktemp("consortium")
    make_consortium(root)
    home = root / "coordinator"
    content = write_release(home / "releases", home / "keys" / "release.key", study=home)
    assert deliver(make_run(root), content) == {}
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy."""
    return Path(shutil.copytree(made, tmp_path / "copy", symlinks=True))


def release_of(root: Path) -> bytes:
    """The coordinator's."""
    return (root / "coordinator" / "releases" / "small.ghanet").read_bytes()


def recall(root: Path, named: str = "small.ghanet", reason: str = REASON):
    """The coordinator recalls its release."""
    return recall_release(read_server(root / "coordinator"), named, reason=reason)


def has_notice(root: Path, name: str) -> bool:
    """Whether the notice is in place at a hospital."""
    digest = sha256(release_of(root))
    return (root / name / "inbox" / "recalls" / f"{digest}.recall").exists()


def test_a_release_is_recalled_once(root: Path) -> None:
    """By name, digest or path; one small file, one line of the ledger; the first reason stays."""
    digest = sha256(release_of(root))
    notice, new = recall(root)
    assert new
    path = root / "coordinator" / "releases" / f"small-{digest[:8]}.recall"
    assert path.read_bytes() == notice.content
    assert len(notice.content) < 500
    for named in (digest, digest.upper(), str(path.with_name("small.ghanet"))):
        assert recall(root, named, reason="") == (notice, False)
    lines = [line for line in verified(read_server(root / "coordinator")) if line.what == RECALLED]
    assert [in_words(line).split("  ")[-1] for line in lines] == [
        f"recalled small, sha256 {digest[:16]}: {REASON}"
    ]


def test_what_is_no_release_is_not_recalled(root: Path) -> None:
    """A damaged file has another digest than hospitals have; nothing is written."""
    with pytest.raises(ReleaseError, match="no such release"):
        recall(root, "other.ghanet")
    path = root / "coordinator" / "releases" / "small.ghanet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ReleaseError, match="not a whole release"):
        recall(root)
    with pytest.raises(ReleaseError, match="reason"):
        recall(root, DIGEST, reason="")
    assert not list(path.parent.glob("*.recall"))


def test_every_hospital_gets_the_notice_once(root: Path) -> None:
    """Confirmed by hospital and notice; a second run asks nobody."""
    notice, _ = recall(root)
    one = make_run(root)
    assert deliver_recalls(one) == {}
    assert one.exchange.asked == [("delivery", name) for name in HOSPITALS]
    assert all(has_notice(root, name) for name in HOSPITALS)
    told = json.loads((root / "coordinator" / "state" / "recalls.json").read_text())
    assert list(told) == [notice.digest]
    assert list(told[notice.digest]) == HOSPITALS
    assert deliver_recalls(again := make_run(root)) == {}
    assert again.exchange.asked == []


def test_two_notices_are_tracked_apart(root: Path) -> None:
    """A hospital that has one still gets the other."""
    recall(root)
    deliver_recalls(make_run(root))
    recall(root, DIGEST)
    deliver_recalls(one := make_run(root))
    assert one.exchange.asked == [("delivery", name) for name in HOSPITALS]


def test_who_was_away_gets_it_later_and_who_is_out_does_not(root: Path) -> None:
    """At the next run; also who joined since."""
    recall(root)
    config = read_server(root / "coordinator")
    revoke(config, "hospital-b", reason="test")
    away = make_run(root, LocalExchange(root, ["hospital-a"]))
    leave_recall(config)
    run_recalls(away)
    now = read_progress(config.state)
    assert now.error == "recall not delivered to hospital-d: not connected"
    assert planned_study(config) is None
    assert not is_recall(config)
    join(root, "hospital-z", role="infers", genes=False)
    later = make_run(root)
    run_recalls(later)
    assert read_progress(config.state).error == ""
    assert [name for _, name in later.exchange.asked] == ["hospital-d", "hospital-z"]


def test_a_recalled_release_is_delivered_to_nobody(root: Path) -> None:
    """Not even to a hospital that never had it."""
    recall(root)
    join(root, "hospital-z", role="infers", genes=False)
    one, content = make_run(root), release_of(root)
    assert deliver(one, content) == {}
    assert one.exchange.asked == []
    said = recalled_words(one.config, content)
    assert said.startswith("release small.ghanet (sha256 ")
    assert said.endswith(f" UTC: {REASON}; it is not delivered")
    assert recalled_words(one.config, content + b"x") == ""


def test_a_release_that_comes_again_is_refused(root: Path) -> None:
    """Where a coordinator lost its notice, the hospitals did not."""
    notice, _ = recall(root)
    deliver_recalls(make_run(root))
    (root / "coordinator" / "releases" / f"small-{notice.sha256[:8]}.recall").unlink()
    (root / "coordinator" / "state" / "deliveries.json").unlink()
    left = deliver(make_run(root), release_of(root))
    assert left == dict.fromkeys(HOSPITALS, "it refused the release")


def test_a_hospital_that_cannot_verify_a_notice_says_so(root: Path) -> None:
    """Its key is of another invitation: nothing is written, and the coordinator reads why."""
    recall(root)
    make_release_key(root / "other.key")
    shutil.copy(root / "other.key.pub", root / "hospital-a" / "keys" / "release.pub")
    left = deliver_recalls(make_run(root))
    assert left == {"hospital-a": "it refused the notice; its software may be older than recalls"}
    assert not has_notice(root, "hospital-a")


def test_a_damaged_notice_of_our_own_is_said(root: Path) -> None:
    """Never taken for no notice."""
    recall(root)
    path = next((root / "coordinator" / "releases").glob("*.recall"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ReleaseError, match=rf"{path.name}: not a recall notice"):
        deliver(make_run(root), release_of(root))


def test_the_command_without_a_server(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It signs, says when the notice will go, and status shows it from then on."""
    home = root / "coordinator"
    edit(home / "server.yaml", {"port": 9})
    capsys.readouterr()
    arguments = ["recall", "small.ghanet", "--folder", str(home)]
    assert server.cli.main(arguments) == 1
    assert "error: a recall needs a reason" in capsys.readouterr().err
    assert server.cli.main([*arguments, "--reason", REASON]) == 0
    first = capsys.readouterr().out.splitlines()
    notice, _ = recall(root)
    path = home / "releases" / f"small-{notice.sha256[:8]}.recall"
    assert first == [
        str(notice),
        f"for hospitals that you reach by mail only: {path}",
        "no server answers: it goes with the next 'train', 'release' or 'recall'",
        "  not yet known to hospital-a, hospital-b, hospital-d",
    ]
    assert server.cli.main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == [f"there already: {notice}", *first[1:]]
    deliver_recalls(make_run(root, LocalExchange(root, ["hospital-b"])))
    assert server.cli.main(["status", "--folder", str(home)]) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        f"release: {notice}",
        "  known to hospital-b",
        "  not yet known to hospital-a, hospital-d",
    ]


def test_a_recall_is_no_run_that_trains(root: Path) -> None:
    """'train' does not follow it; what a dead one left behind holds nobody off."""
    config = read_server(root / "coordinator")
    leave_recall(config)
    assert is_recall(config)
    assert planned_study(config) is None
    with pytest.raises(DeploymentError, match="recall notices are being delivered"):
        require_no_plan(config, "7")
    require_no_plan(config, None)
    assert not is_recall(config)
    end_task(config)
