"""A hospital of exchange.py: ``ghanet-client``, except that its trainer does not train.

``exchange_site.py start`` is ``ghanet-client start`` with this file as the trainer's program. The
trainer is ours, from the socket to the update that leaves; only the two functions that compute on
cases are replaced: training moves every parameter a little, evaluation counts.
"""

import sys
from pathlib import Path
from typing import Any

import torch

import client.answers
import client.cli
import client.keeper
import client.trainer
from ghanet_model.bag import Bags
from ghanet_model.metrics import EvaluationSums
from ghanet_model.network import GHANet
from ghanet_model.processes import Child, start_child
from ghanet_model.times import Times
from ghanet_model.training import TrainingReport

TRAINER = "trainer"


def move(model: GHANet, bags: Bags, *_: object, seed: int, **__: object) -> TrainingReport:
    """In place of training: every parameter moves, at every hospital and round otherwise."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=generator), alpha=1e-4)
    return TrainingReport(len(bags), steps=1, loss=1.0, seconds=0.0, times=Times())


def count(_: GHANet, bags: Bags, **__: object) -> EvaluationSums:
    """In place of an evaluation: how many cases there are."""
    return EvaluationSums(cases=len(bags))


def start_this(name: str, _: list[str], **options: Any) -> Child:
    """Start this file as the trainer."""
    return start_child(name, [sys.executable, str(Path(__file__).resolve()), TRAINER], **options)


if __name__ == "__main__":
    if sys.argv[1] == TRAINER:
        client.answers.train, client.answers.evaluate = move, count
        sys.exit(client.trainer.main())
    client.keeper.start_child = start_this
    sys.exit(client.cli.main(sys.argv[1:]))
