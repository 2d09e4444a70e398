"""Who may connect: one hospital is let in, out or back at a time, and never another."""

import datetime as dt
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support import LocalExchange, join, make_consortium, make_run, run

import client.cli
import server.cli
from ghanet_model.errors import LeftError, TrainingError
from ghanet_model.ledger import ENROLLED, LEFT, RECEIVED, RENEWED, REVOKED
from ghanet_model.record import Record
from server import control, membership
from server.control import Node
from server.finish import deliver, evaluate_final, participation, release
from server.ledger import verified
from server.members import WIDTH, certificate_lines, roster_lines
from server.panel import fix_panel
from server.report import report_of
from server.roster import read_roster, write_roster
from server.rounds import one_round, start_or_resume, train_rounds
from server.run import gather, quorum
from server.setup import read_server

THREE = ("hospital-a", "hospital-b", "hospital-c")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hospitals train with genes, a fourth only infers."""
    root = tmp_path_factory.mktemp("consortium")
    make_consortium(root)
    join(root, "hospital-c", role="trains", genes=True)
    return root


@pytest.fixture
def consortium(made: Path, tmp_path: Path) -> Path:
    """A copy."""
    return Path(shutil.copytree(made, tmp_path / "copy", symlinks=True))


def command(root: Path, *arguments: object) -> None:
    """A command of the coordinator that must succeed."""
    run(server.cli.main, *arguments, "--folder", root / "coordinator")


def refused(capsys: pytest.CaptureFixture[str], root: Path, *arguments: object) -> list[str]:
    """A command that must fail with exit code 1; its lines on standard error."""
    capsys.readouterr()
    options = [*map(str, arguments), "--folder", str(root / "coordinator")]
    assert server.cli.main(options) == 1
    return capsys.readouterr().err.splitlines()


def new_key(root: Path, name: str) -> Path:
    """The public half of a new key that a hospital made."""
    run(client.cli.main, "renew-key", "--folder", root / name)
    return root / name / "keys" / "site_key.pub"


def facts(root: Path) -> list[tuple[str, object]]:
    """What the ledger says of whom, proven whole."""
    return [(line.what, line.facts["site"]) for line in verified(read_server(root / "coordinator"))]


def test_every_change_is_a_signed_line(consortium: Path) -> None:
    """Four enrolments, a revocation and a renewal, in order."""
    command(consortium, "revoke", "hospital-c")
    command(consortium, "renew", "hospital-c", new_key(consortium, "hospital-c"))
    assert facts(consortium)[-3:] == [
        (ENROLLED, "hospital-c"),
        (REVOKED, "hospital-c"),
        (RENEWED, "hospital-c"),
    ]


def test_revoking_one_never_touches_the_others(consortium: Path) -> None:
    """Every other hospital stands in the roster as before, to the letter."""
    before = read_roster(consortium / "coordinator").members
    command(consortium, "revoke", "hospital-b", "--reason", "key stolen")
    after = read_roster(consortium / "coordinator").members
    assert [a for a, b in zip(after, before, strict=True) if a != b] == [after[1]]
    assert after[1].standing.startswith("revoked since 20")
    assert after[1].standing.endswith("(key stolen)")


def test_who_was_revoked_comes_back_with_a_new_key_only(
    consortium: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither without a key, nor with the old one, which no other hospital may use either."""
    old = Path(shutil.copy(consortium / "hospital-b" / "keys" / "site_key.pub", consortium / "old"))
    command(consortium, "revoke", "hospital-b")
    assert "with a new key only" in refused(capsys, consortium, "renew", "hospital-b")[0]
    assert "enrolled already" in refused(capsys, consortium, "renew", "hospital-b", old)[0]
    command(consortium, "renew", "hospital-b", new_key(consortium, "hospital-b"))
    assert read_roster(consortium / "coordinator").named("hospital-b").is_active
    options = ("--role", "infers", "--cases", 9)
    assert "former key" in refused(capsys, consortium, "enrol", "hospital-z", old, *options)[0]


def test_a_new_key_keeps_the_old_one_beside_it(consortium: Path) -> None:
    """Private halves are readable by their owner only."""
    keys = consortium / "hospital-a" / "keys"
    before = (keys / "site_key").read_bytes()
    new_key(consortium, "hospital-a")
    assert (keys / "site_key.old").read_bytes() == before != (keys / "site_key").read_bytes()
    modes = {oct((keys / name).stat().st_mode & 0o777) for name in ("site_key", "site_key.old")}
    assert modes == {"0o600"}


def test_cases_can_be_agreed_anew(consortium: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a new key; and an empty renewal is refused."""
    command(consortium, "renew", "hospital-a", "--cases", 99)
    assert read_roster(consortium / "coordinator").named("hospital-a").cases == 99
    assert "nothing to renew" in refused(capsys, consortium, "renew", "hospital-a")[0]


def test_a_hospital_is_revoked_once_and_by_its_name(
    consortium: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second time, or one that nobody knows, is one clear line."""
    command(consortium, "revoke", "hospital-c")
    assert "is revoked since" in refused(capsys, consortium, "revoke", "hospital-c")[0]
    lines = refused(capsys, consortium, "revoke", "hospital-x")
    assert lines[0] == "ghanet-server: error: 'hospital-x' is not enrolled"


def test_train_says_how_to_set_a_number_of_cases(
    consortium: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A roster of the version before has none; the hint is the command."""
    folder = consortium / "coordinator"
    found = read_roster(folder)
    write_roster(folder, found.replacing(replace(found.named("hospital-a"), cases=0)))
    lines = refused(capsys, consortium, "train")
    assert lines[1] == "ghanet-server: hint: ghanet-server renew hospital-a --cases N"


class Meanwhile(LocalExchange):
    """Something happens at the coordinator just before a hospital's round is answered."""

    def __init__(self, root: Path, name: str, act) -> None:
        super().__init__(root, [*THREE, "hospital-d"])
        self.name, self.act, self.done = name, act, False

    def tamper(self, kind: str, name: str, reply: Record) -> Record:
        """Act once."""
        if kind == "round" and name == self.name and not self.done:
            self.done = True
            self.act()
        return reply


def test_an_answer_after_the_revocation_is_not_taken_and_the_study_goes_on(
    consortium: Path,
) -> None:
    """Revoked while it trains: left out of this round, not asked again, no release; told since."""
    act = lambda: command(consortium, "revoke", "hospital-c", "--reason", "test")  # noqa: E731
    one = make_run(consortium, exchange := Meanwhile(consortium, "hospital-c", act))
    panel = fix_panel(one)
    checkpoint = train_rounds(one, panel)
    final = evaluate_final(one, checkpoint, panel)
    assert deliver(one, release(one, checkpoint, panel, final)) == {}
    first = {site.name: site for site in checkpoint.history[0].sites}
    assert first["hospital-c"].left_out == "revoked by the coordinator"
    assert [n for kind, n in exchange.asked if kind != "statistics"].count("hospital-c") == 1
    assert not (consortium / "hospital-c" / "inbox").exists()
    report = report_of(one.study, one.roster_now(), checkpoint, final)
    notes = {site["name"]: site["note"] for site in report["sites"]}
    assert notes["hospital-c"].startswith("revoked since 20")
    assert participation(one, checkpoint)[2]["standing"] == notes["hospital-c"]
    lines = facts(consortium)
    assert (RECEIVED, "hospital-c") not in lines[lines.index((REVOKED, "hospital-c")) :]


class Leaves(LocalExchange):
    """A hospital that has left answers every message with that."""

    def _answer(self, kind, name, ask, blob):
        return LeftError.code if name == "hospital-c" else super()._answer(kind, name, ask, blob)


def test_a_hospital_that_left_is_written_down_and_not_asked_again(consortium: Path) -> None:
    """The round goes on with the others; renew takes it back with the key that it has."""
    panel = fix_panel(make_run(consortium))
    one = make_run(consortium, exchange := Leaves(consortium, [*THREE, "hospital-d"]))
    checkpoint = start_or_resume(one, panel)
    for _ in range(2):
        checkpoint = one_round(one, checkpoint, panel)
    member = read_roster(consortium / "coordinator").named("hospital-c")
    assert member.standing.startswith("left since 20")
    assert [name for _, name in exchange.asked].count("hospital-c") == 1
    assert facts(consortium).count((LEFT, "hospital-c")) == 1
    command(consortium, "renew", "hospital-c")
    assert read_roster(consortium / "coordinator").named("hospital-c").is_active


def test_who_is_enrolled_in_the_middle_takes_part_from_the_next_round(consortium: Path) -> None:
    """The run that goes on reads the roster anew at each round."""
    one = make_run(consortium, exchange := LocalExchange(consortium, [*THREE, "hospital-d"]))
    panel = fix_panel(one)
    checkpoint = one_round(one, start_or_resume(one, panel), panel)
    join(consortium, "hospital-n", role="trains", genes=False)
    exchange.names.add("hospital-n")
    checkpoint = one_round(one, checkpoint, panel)
    trained = [{s.name for s in record.sites if s.trained} for record in checkpoint.history]
    assert trained == [set(THREE), {*THREE, "hospital-n"}]


def test_the_mean_of_one_hospital_is_never_made_of_two(consortium: Path) -> None:
    """With all but one revoked a run ends at once and says what to do; it never waits for them."""
    one = make_run(consortium)
    assert quorum(one) == 3
    command(consortium, "revoke", "hospital-a")
    assert quorum(one) == 2
    assert quorum(one, quarantined={"hospital-b"}) == 2
    command(consortium, "revoke", "hospital-b")
    with pytest.raises(TrainingError, match="1 training hospitals are in good standing, a round n"):
        gather(one)


class Flower:
    """Flower's list of keys: which node has which, and which were shut out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: dict[str, str] = {}  # by node
        monkeypatch.setattr(control, "_flwr_json", self.answer)
        monkeypatch.setattr(control, "is_serving", lambda _: True)

    def answer(self, _: object, *words: str) -> dict[str, object]:
        """What the command says."""
        if words[1] == "register":
            node = str(len(self.keys) + 1)
            self.keys[node] = Path(words[2]).read_text().strip()
            return {"node-id": node}
        assert words[1] == "unregister"
        self.keys[words[2]] = "shut out"
        return {}


def test_flowers_keys_follow_the_roster(consortium: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands given while nothing serves are done at the next start; others keep their node."""
    config, flower = read_server(consortium / "coordinator"), Flower(monkeypatch)
    membership.align_keys(config)
    before = control.read_nodes(config)
    monkeypatch.setattr(control, "is_serving", lambda _: False)
    command(consortium, "revoke", "hospital-b")
    command(consortium, "renew", "hospital-c", new_key(consortium, "hospital-c"))
    assert control.read_nodes(config) == before
    membership.align_keys(config)
    nodes = control.read_nodes(config)
    assert set(nodes) == {"hospital-a", "hospital-c", "hospital-d"}
    assert [n for n, key in flower.keys.items() if key == "shut out"] == [
        before["hospital-b"].node_id,
        before["hospital-c"].node_id,
    ]
    members = {m.name: m.public_key for m in read_roster(consortium / "coordinator").active()}
    assert {name: flower.keys[node.node_id] for name, node in nodes.items()} == members


def test_the_roster_is_a_table_of_a_hundred_columns(
    consortium: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Name, role, cases, key, state of each hospital; no row is wider, no fingerprint is cut."""
    command(consortium, "revoke", "hospital-b", "--reason", "a reason of some words")
    capsys.readouterr()
    command(consortium, "roster")
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= WIDTH
    for member in read_roster(consortium / "coordinator").members:
        assert f"\n{member.name}  {member.role}" in said
        assert f"key {member.fingerprint}\n" in said
    assert "(a reason of some words)\n" in said
    assert "certificate of your authority: valid until" in said


def test_last_seen_is_the_newer_of_answer_and_connection(consortium: Path) -> None:
    """What Flower says, or the ledger."""
    found = read_roster(consortium / "coordinator")
    nodes = {"hospital-a": Node("1", "", "online", "2026-01-02 03:04:05Z")}
    received = {"hospital-a": "2026-01-01T00:00:00", "hospital-b": "2026-01-01T00:00:00"}
    lines = roster_lines(found, nodes, received, serving=True)[2::2]
    assert [line.split("  ")[-1] for line in lines[:3]] == [
        "2026-01-02 03:04",
        "2026-01-01 00:00",
        "never",
    ]


def test_a_certificate_that_ends_soon_is_a_warning(consortium: Path) -> None:
    """From thirty days before its end."""
    config = read_server(consortium / "coordinator")
    for days, words in ((0, "certificate of the server: valid"), (370, "warning: certificate of")):
        later = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
        assert certificate_lines(config, later)[1].startswith(words)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=400)
    assert certificate_lines(config, later)[1].endswith("no longer valid")
