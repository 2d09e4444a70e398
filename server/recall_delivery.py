"""Handing notices of recalled releases to every hospital, until each has confirmed each."""

from ghanet_model.files import write_json
from ghanet_model.protocol import DeliveryAsk
from ghanet_model.recall import Recall
from ghanet_model.wire import RECALL

from .config import ServerConfig
from .delivery import hand_over, undone_words
from .intake import REASONS
from .progress import FINISHED
from .recall import RECALLS_FILE, read_recalls, read_told
from .roster import now
from .run import Run
from .task import end_task

REFUSED = {REASONS["release"]: "it refused the notice; its software may be older than recalls"}


def deliver_recalls(run: Run) -> dict[str, str]:
    """Hand every notice to every hospital that has not confirmed it; why not to others, by name.

    Raises:
        ReleaseError: a notice of this folder is damaged.
    """
    undone: dict[str, str] = {}
    for notice in read_recalls(run.config):
        done = read_told(run.config).get(notice.digest, {})
        if all(member.name in done for member in run.roster_now().active()):
            continue
        ask = DeliveryAsk(run.study.digest, notice.release, notice.content, RECALL)
        good, left_out = hand_over(run, ask, done)
        _note(run.config, notice, good)
        undone |= {name: REFUSED.get(why, why) for name, why in left_out.items()}
    return undone


def run_recalls(run: Run) -> None:
    """Deliver notices and nothing else: what a run that ``recall`` started does."""
    error = undone_words("recall", deliver_recalls(run))
    end_task(run.config)
    hint = "the next 'train', 'release' or 'recall' delivers it; or mail it" if error else ""
    run.reporter.say(phase=FINISHED, error=error, hint=hint)


def _note(config: ServerConfig, notice: Recall, names: list[str]) -> None:
    told = read_told(config)
    told[notice.digest] = told.get(notice.digest, {}) | dict.fromkeys(names, now())
    write_json(config.state / RECALLS_FILE, told)
