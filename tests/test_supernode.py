"""The launcher of SuperNode: what it changes in Flower is there, and does what it says."""

import inspect
import re
import ssl
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import flwr.supernode.fleet_http_connection as fleet
import flwr.supernode.start_client_internal as loop
import numpy as np
import pytest
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Error,
    Message,
    Metadata,
    MetricRecord,
    RecordDict,
)
from flwr.supercore.fab import Fab
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.protobuf.client import ProtobufClient
from flwr.supernode.nodestate import NodeStateFactory
from support import approve_as_it_is, small_bundle, write_site

from client import seal, supernode
from client.ledger import ledger_path, site_ledger
from client.seal import FLOWER, codes, require_flower, require_let_out
from client.supernode import LEAST_SECONDS, REASON, Patience, Question, Sealed, answer_in, guarded
from ghanet_model.bundle import BUNDLE_FILE
from ghanet_model.certificates import make_authority
from ghanet_model.errors import DeploymentError, GateError
from ghanet_model.files import sha256
from ghanet_model.ledger import REFUSED, SENT, read_ledger
from ghanet_model.record import digest_of
from ghanet_model.wire import ARRAYS, BLOB, ERROR, VALUES

GUARDED = """\
import sys, time
from pathlib import Path
import flwr.supernode.fleet_http_connection as fleet
import flwr.supernode.start_client_internal as loop
from client.supernode import guard
flowers_own = fleet.FleetHttpClient
names = ("http_request_response", "_verify_fab", "_push_messages")
before = [getattr(loop, name) for name in names]
guard(Path(sys.argv[1]))
assert not [name for name, old in zip(names, before) if getattr(loop, name) is old]
began = time.monotonic()
loop.time.sleep(3)
assert 0.15 < time.monotonic() - began < 1
loop.time.sleep(0.5)
assert time.monotonic() - began < 1.5
assert time.sleep is not loop.time.sleep
assert loop.time.time() > 0
assert loop.pull_objects.keywords["initial_backoff"] < 0.1
assert fleet.FleetHttpClient is not flowers_own
assert issubclass(fleet.FleetHttpClient, flowers_own)
"""


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Sleeps that took no time; the clock goes on by what was slept."""
    found, began = [], time.monotonic()
    monkeypatch.setattr(supernode.time, "sleep", found.append)
    monkeypatch.setattr(supernode.time, "monotonic", lambda: began + sum(found))
    return found


def test_the_loop_of_this_flower_is_the_one_we_know() -> None:
    """The pinned version sleeps where we think, by the name that we replace."""
    assert version("flwr") == FLOWER
    assert loop.time is time
    sleeps = re.findall(r"\btime\.\w+\([^)]*\)", inspect.getsource(loop))
    assert sleeps == ["time.sleep(3)", "time.sleep(0.5)", "time.sleep(0.5)"]
    assert "time.sleep(3)" in inspect.getsource(loop.start_client_internal)


def test_what_is_wrapped_is_what_we_know() -> None:
    """Names, signatures and the order of use in the pinned Flower."""
    known = {
        "_push_messages": "(state, object_store, send, push_object)",
        "_verify_fab": "(fab, trusted_entities)",
        "_insert_message": "(msg, state, store)",
    }
    for name, wanted in known.items():
        assert f"({', '.join(inspect.signature(getattr(loop, name)).parameters)})" == wanted
    pull, push = (
        inspect.getsource(loop._pull_and_store_message),
        inspect.getsource(loop._push_messages),
    )
    assert pull.index("get_fab(run_info.fab_hash, run_id)") < pull.index("if trusted_entities:")
    assert pull.index("valid_license") < pull.index("_verify_fab(fab, trusted_entities)")
    assert pull.index("_verify_fab") < pull.index("state.store_fab(fab)")
    assert re.findall(r"state\.(\w+)", push) == [
        "get_messages_legacy",
        "get_message_processing_duration",
        "delete_messages",
    ]
    order = ["node_id", "receive", "send", "get_run", "get_fab", "pull_object", "push_object"]
    unpacked = inspect.getsource(loop.start_client_internal).split(") as conn:")[1].split(")")[0]
    assert re.findall(r"\w+", unpacked) == [*order, "confirm_message_received"]


def test_parts_of_a_message_are_looked_for_as_we_think() -> None:
    """By one call, that waits as long as Flower's constant says: a second."""
    assert inspect.signature(loop.pull_objects).parameters["initial_backoff"].default == 1
    assert len(re.findall(r"\bpull_objects\(", inspect.getsource(loop))) == 1
    assert "initial_backoff" not in inspect.getsource(loop)


def test_nothing_leaves_a_supernode_by_another_way() -> None:
    """Only two functions of the loop write to the server: one confirms, one is wrapped."""
    source = inspect.getsource(loop)
    assert len(re.findall(r"(?<!def )\bsend\(", source)) == 1
    assert "send(message, object_tree, clientapp_runtime)" in inspect.getsource(loop._push_messages)


def test_the_launcher_guards_its_own_process(tmp_path: Path) -> None:
    """There the loop wakes early and goes through our hands; other modules keep their clock."""
    make_authority(write_site(tmp_path) / "keys", name="consortium")
    command = [sys.executable, "-c", GUARDED, tmp_path]
    subprocess.run(command, check=True, timeout=60)


def test_flowers_calls_are_made_with_our_tls() -> None:
    """Flower's client takes what TLS it is given, under the name that its connection looks up."""
    context = ssl.create_default_context()
    own = supernode.calls_with(context).from_server_address(
        "localhost:1", insecure=False, root_certificates=None, interceptors=[]
    )
    assert own._client._transport._pool._ssl_context is context
    connecting = inspect.getsource(fleet.http_request_response)
    assert "with FleetHttpClient.from_server_address(" in connecting
    assert "trust_env" not in inspect.getsource(ProtobufClient.__init__)  # so HTTPS_PROXY counts


def test_another_flower_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that nobody looked at might run any bundle and send anything."""
    monkeypatch.setattr(seal, "version", lambda _: "1.42.0")
    with pytest.raises(DeploymentError, match=r"Flower 1\.42\.0 is installed"):
        require_flower()


def test_an_idle_hospital_asks_ever_less_often(slept: list[float]) -> None:
    """Soon after work it asks every 0.2 s, after a minute as rarely as Flower would."""
    patience = Patience()
    while sum(slept) < 120:
        patience.sleep(3)
    assert slept[0] == LEAST_SECONDS
    assert slept == sorted(slept)
    assert slept[-1] == 3
    assert len(slept) < 120


def test_work_makes_it_ask_often_again(slept: list[float]) -> None:
    """A wait for its own app is work; the look at the server after it comes soon."""
    patience = Patience()
    while sum(slept) < 120:
        patience.sleep(3)
    patience.sleep(0.5)
    patience.sleep(3)
    assert slept[-2:] == [supernode.WORK_SECONDS, LEAST_SECONDS]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hospital's folder, approved as it is; a log that nobody writes to yet."""
    monkeypatch.setattr(supernode.log, "handlers", [])
    monkeypatch.setattr(supernode.log, "propagate", True)  # else pytest adds a handler to it
    return write_site(tmp_path / "hospital-a")


class Wire:
    """SuperNode's own state and store, with one question that waits for an answer."""

    def __init__(self, home: Path) -> None:
        objects = ObjectStoreFactory()
        self.state, self.store = (
            NodeStateFactory(objectstore_factory=objects).state(),
            objects.store(),
        )
        self.home = home
        facts = Metadata(1, "", 1, 2, "", "", time.time(), 600.0, "train.round")
        self.asked = Message(content=RecordDict(), metadata=facts)
        loop._insert_message(self.asked, self.state, self.store)
        self.state.get_messages_legacy(is_reply=False)

    def leaves(self, reply: Message) -> Message:
        """What SuperNode would send for what the app handed over."""
        loop._insert_message(reply, self.state, self.store)
        sealed = Sealed(self.state, self.store, self.home, Question(self.asked))
        (ours,) = sealed.get_messages_legacy(is_reply=True)
        return ours

    def answer(self, ours: Message) -> tuple[dict[str, object], np.ndarray]:
        """The same, read from what the server will be given."""
        return answer_in(self.store, ours.metadata.message_id)


@pytest.fixture
def wire(home: Path) -> Wire:
    """A question that waits for an answer."""
    return Wire(home)


def reply_with(wire: Wire, **more: object) -> Message:
    """An answer as our app makes it, and more records if told so."""
    records = {
        VALUES: ConfigRecord({"number": 1, "loss": 0.5}),
        ARRAYS: ArrayRecord({BLOB: Array(np.arange(9, dtype=np.uint8))}),
    }
    return Message(RecordDict(records | more), reply_to=wire.asked)


def let_out(home: Path) -> None:
    """The gate's line for that answer."""
    digest = digest_of({"number": 1, "loss": 0.5}, np.arange(9, dtype=np.uint8))
    site_ledger(home).append(SENT, kind="round", digest=digest)


def test_an_answer_of_the_ledger_leaves(wire: Wire) -> None:
    """Scalars and arrays as the gate let them out, in a message that SuperNode made itself."""
    let_out(wire.home)
    reply = reply_with(wire)
    ours = wire.leaves(reply)
    values, blob = wire.answer(ours)
    assert values == {"number": 1, "loss": 0.5}
    assert blob.tolist() == list(range(9))
    assert ours is not reply
    assert ours.metadata.reply_to_message_id == wire.asked.metadata.message_id


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"more": MetricRecord({"age": 71})},
        {VALUES: ConfigRecord({"number": 1, "loss": 0.5, "case": "A0001"})},
        {VALUES: ConfigRecord({"number": 1, "loss": 0.5, "case": b"A0001"})},
        {VALUES: ConfigRecord({ERROR: "A0001"})},
        {VALUES: ConfigRecord({ERROR: "cohort"})},
        {ARRAYS: ArrayRecord({BLOB: Array(np.arange(9, dtype=np.float32))})},
        {ARRAYS: ArrayRecord({"other": Array(np.arange(9, dtype=np.uint8))})},
    ],
    ids=["no line", "record", "text", "bytes", "word", "code with arrays", "dtype", "name"],
)
def test_what_the_gate_did_not_let_out_stays(wire: Wire, more: dict[str, object]) -> None:
    """Whatever the app adds or changes, the coordinator gets our code and the ledger a line."""
    if more:
        let_out(wire.home)
    values, blob = wire.answer(wire.leaves(reply_with(wire, **more)))
    assert (values, blob.size) == ({ERROR: "gate"}, 0)
    line = read_ledger(ledger_path(wire.home))[-1]
    assert (line.what, line.facts["code"]) == (REFUSED, "gate")
    assert "train.round refused" in (wire.home / "logs" / "site.log").read_text()


def test_the_code_of_an_error_leaves(wire: Wire) -> None:
    """One word of the fixed list and no arrays: it needs no line."""
    empty = ArrayRecord({BLOB: Array(np.zeros(0, np.uint8))})
    words = {VALUES: ConfigRecord({ERROR: "cohort"}), ARRAYS: empty}
    values, _ = wire.answer(wire.leaves(reply_with(wire, **words)))
    assert values == {ERROR: "cohort"}
    assert {"failed", "gate", "unapproved", "left", "ledger"} <= codes()


def test_an_error_of_flower_leaves_without_its_text(wire: Wire) -> None:
    """Its code goes out; its text, which can hold a path, does not."""
    ours = wire.leaves(Message(Error(2, "/home/A0001.h5 is missing"), reply_to=wire.asked))
    assert (ours.error.code, ours.error.reason) == (2, REASON)
    assert "A0001" not in str(ours)


def test_an_unknown_error_code_is_no_way_out(wire: Wire) -> None:
    """A number that Flower does not know becomes 0."""
    assert wire.leaves(Message(Error(19_710_101, None), reply_to=wire.asked)).error.code == 0


def test_objects_beside_an_answer_stay(wire: Wire) -> None:
    """What the app stored for its answer is gone before anything is sent."""
    let_out(wire.home)
    reply = reply_with(wire)
    reply.metadata.__dict__["_group_id"] = "A0001"
    ours = wire.leaves(reply)
    assert ours.metadata.group_id == wire.asked.metadata.group_id
    assert reply.metadata.message_id not in wire.store


def test_a_line_long_ago_lets_nothing_out(home: Path) -> None:
    """Only the newest lines count; an old answer cannot be sent again at will."""
    let_out(home)
    values, blob = {"number": 1, "loss": 0.5}, np.arange(9, dtype=np.uint8)
    require_let_out(ledger_path(home), values, blob)
    size = ledger_path(home).stat().st_size
    seal_bytes, seal.NEWEST_BYTES = seal.NEWEST_BYTES, 200
    try:
        site_ledger(home).append(REFUSED)
        assert ledger_path(home).stat().st_size > size
        with pytest.raises(GateError):
            require_let_out(ledger_path(home), values, blob)
    finally:
        seal.NEWEST_BYTES = seal_bytes


class Flower:
    """Flower's connection, of which only the bundle matters here."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __enter__(self) -> tuple[object, ...]:
        def get_fab(fab_hash: str, _: int) -> Fab:
            return Fab(fab_hash, self.content, {"valid_license": "yes", "fpk_other": "{}"})

        return ("id", "receive", "send", "get_run", get_fab, "pull", "push", "confirm")

    def __exit__(self, *_: object) -> None:
        return


def judged(home: Path, content: bytes, *, claimed: str | None = None) -> Fab:
    """What Flower's loop is given when a server offers this bundle."""
    with guarded(lambda *_: Flower(content), home, Question())("address") as found:
        return found[4](claimed or sha256(content), 1)


def test_the_approved_bundle_passes(home: Path) -> None:
    """It is given on unchanged, with a judgement that Flower's loop understands."""
    content = (home / BUNDLE_FILE).read_bytes()
    fab = judged(home, content)
    assert fab.content == content
    assert fab.verifications["valid_license"]
    assert supernode.is_approved(fab, home)


def test_another_bundle_never_reaches_flower(home: Path) -> None:
    """Not a byte of it is given on; log and ledger name its digest and what to do."""
    other = small_bundle({"client/__init__.py": "raise SystemExit"})
    fab = judged(home, other)
    assert (fab.content, fab.verifications) == (b"", {})
    said = (home / "logs" / "site.log").read_text()
    assert sha256(other)[:16] in said
    assert "ghanet-client approve" in said
    assert read_ledger(ledger_path(home))[-1].facts["digest"] == sha256(other)


def test_a_bundle_under_anothers_name_is_refused(home: Path) -> None:
    """The digest is of what came, whatever the server calls it."""
    approved = sha256((home / BUNDLE_FILE).read_bytes())
    assert judged(home, small_bundle({"LICENSE": "other"}), claimed=approved).content == b""


def test_approval_is_read_at_every_pull(home: Path) -> None:
    """A bundle approved meanwhile passes without a restart."""
    other = small_bundle({"LICENSE": "another"})
    assert judged(home, other).content == b""
    (home / BUNDLE_FILE).write_bytes(other)
    approve_as_it_is(home)
    assert judged(home, other).content == other
