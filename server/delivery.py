"""Handing signed files to hospitals. No Flower here."""

from collections.abc import Collection, Mapping

from ghanet_model.errors import ReleaseError
from ghanet_model.files import sha256
from ghanet_model.protocol import DeliveryAsk, DeliveryReply
from ghanet_model.record import Record
from ghanet_model.wire import DELIVERY

from . import progress
from .gate import HEADER
from .intake import Question, ask_all
from .run import Run


def hand_over(
    run: Run, ask: DeliveryAsk, done: Collection[str]
) -> tuple[list[str], dict[str, str]]:
    """Give a file to every hospital in good standing that is connected and has not confirmed it.

    Args:
        run: the run.
        ask: the file.
        done: who has confirmed it before.

    Returns:
        Who confirmed it now, and why each of the others did not, by name.
    """
    digest = sha256(ask.content)
    waiting = [m.name for m in run.roster_now().active() if m.name not in done]
    connected = run.exchange.online()
    online = [name for name in waiting if name in connected]
    run.reporter.say(phase=progress.DELIVERY)

    def read(site: str, record: Record) -> str:
        if DeliveryReply.from_record(record).sha256 != digest:
            raise ReleaseError(f"{site} confirmed another file")
        return digest

    record = ask.to_record()
    answers = ask_all(run, Question(DELIVERY, dict.fromkeys(online, record), most=HEADER), read)
    away = {name: "not connected" for name in waiting if name not in online}
    return list(answers.good), answers.left_out | away


def undone_words(what: str, undone: Mapping[str, str]) -> str:
    """Which hospitals a file was not delivered to and why, in one line; '' where all have it."""
    why = "; ".join(f"{site}: {reason}" for site, reason in undone.items())
    return f"{what} not delivered to {why}" if why else ""
