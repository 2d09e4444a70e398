"""The coordinator's Flower ServerApp: turns our records into messages and back, nothing else."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from ghanet_model.errors import DeploymentError, GHANetError, ProtocolError, RefusedError
from ghanet_model.keys import site_key_pem
from ghanet_model.protocol import ARRAYS, BLOB, MESSAGE_TYPES, VALUES, Record
from ghanet_model.study import read_study

from .config import FOLDER_VARIABLE, read_server
from .finish import deliver, evaluate_final, release
from .progress import FAILED, FINISHED, Progress, Reporter, run_lock
from .report import write_report
from .roster import read_roster
from .rounds import Run, fix_panel, train_rounds

POLL_SECONDS = 0.2
log = logging.getLogger("ghanet")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the study of the folder that the environment names; leave the outcome in its files."""
    folder = Path(os.environ[FOLDER_VARIABLE])
    config = read_server(folder)
    _log_to(config.logs / "run.log")
    with run_lock(config.state):
        reporter = Reporter(config.state, Progress(run=str(context.run_id)))
        reporter.say()
        try:
            study, roster = read_study(folder), read_roster(folder)
            names = {site_key_pem(member.public_key): member.name for member in roster.members}
            run = Run(config, study, roster, FlowerExchange(grid, names), reporter)
            _run(run)
        except GHANetError as error:
            log.error("%s", error)  # noqa: TRY400 - the line is the whole story
            reporter.say(phase=FAILED, error=str(error), hint=error.hint)
        except Exception as error:
            log.exception("unexpected error")
            hint = "see logs/run.log; please report it"
            reporter.say(phase=FAILED, error=f"unexpected {type(error).__name__}", hint=hint)
            raise


def _run(run: Run) -> None:
    """Every stage in turn."""
    panel = fix_panel(run)
    checkpoint = train_rounds(run, panel)
    final = evaluate_final(run, checkpoint, panel)
    content = release(run, checkpoint, panel, final)
    write_report(run.config, run.study, run.roster, checkpoint, final)
    undelivered = deliver(run, content)
    why = "; ".join(f"{site}: {reason}" for site, reason in undelivered.items())
    run.reporter.say(
        phase=FINISHED,
        error=f"release not delivered to {why}" if why else "",
        hint="run 'ghanet-server release' when they are connected" if why else "",
    )


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(path, maxBytes=5_000_000, backupCount=3)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


class FlowerExchange:
    """Our exchange on Flower's push and pull; hospitals are known by the key they registered."""

    def __init__(self, grid: Grid, names: Mapping[bytes, str]) -> None:
        self.grid = grid
        self.names = names  # hospital by public key, PEM

    def _nodes(self) -> dict[str, int]:
        """Node id by hospital, of those that are connected."""
        return {
            self.names[node.public_key]: node.node_id
            for node in self.grid.get_nodes()
            if node.status == "online" and node.public_key in self.names
        }

    def online(self) -> set[str]:
        """Names of hospitals that can be asked now."""
        return set(self._nodes())

    def ask(
        self,
        kind: str,
        asks: Mapping[str, Record],
        *,
        seconds: float,
        on_answer: Callable[[str], None],
    ) -> dict[str, Record | str]:
        """Push one message to each hospital, pull answers as they come."""
        nodes = self._nodes()
        answers: dict[str, Record | str] = {n: "offline" for n in asks if n not in nodes}
        names = [name for name in asks if name in nodes]
        messages = [_message(kind, asks[name], nodes[name], seconds) for name in names]
        waiting = dict(zip(self.grid.push_messages(messages), names, strict=True))
        if len(waiting) != len(names):
            raise DeploymentError("the SuperLink refused a message; see logs/superlink.log")
        end = time.monotonic() + seconds
        while waiting and time.monotonic() < end:
            for reply in self._pull(waiting):
                name = waiting.pop(reply.metadata.reply_to_message_id)
                answers[name] = _record_of(reply)
                log.info("%s: %s answered", kind, name)
                on_answer(name)
            time.sleep(POLL_SECONDS)
        return answers | dict.fromkeys(waiting.values(), "missing")

    def _pull(self, waiting: Mapping[str, str]) -> Iterable[Message]:
        return list(self.grid.pull_messages(list(waiting)))


def _message(kind: str, record: Record, node: int, seconds: float) -> Message:
    content = RecordDict(
        {
            VALUES: ConfigRecord(dict(record.values)),
            ARRAYS: ArrayRecord({BLOB: Array(record.packed())}),
        }
    )
    return Message(content, dst_node_id=node, message_type=MESSAGE_TYPES[kind], ttl=seconds + 60)


def _record_of(reply: Message) -> Record | str:
    """A reply as a record, or the code of its error. Texts of errors are not read."""
    if reply.has_error():
        return "flower"
    try:
        blob = reply.content.array_records[ARRAYS][BLOB].numpy()
        return Record.unpack(dict(reply.content.config_records[VALUES]), blob)
    except RefusedError as refused:
        return str(refused)
    except (ProtocolError, KeyError, ValueError, TypeError):
        return "protocol"
