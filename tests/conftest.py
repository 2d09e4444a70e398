"""How tests are run: all real deployments one after the other, other files as they come.

Two deployments at once on two cores end in timeouts.
"""

import signal
from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

DEPLOYMENTS = "deployments"


class OneDeployment(LoadScopeScheduling):
    """Files are given out whole; those with slow tests are given to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        name = nodeid.partition("::")[0]
        return DEPLOYMENTS if _is_slow(Path(self.config.rootpath, name)) else name


@cache
def _is_slow(path: Path) -> bool:
    return "pytest.mark.slow" in path.read_text()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneDeployment:
    """In place of xdist's own."""
    return OneDeployment(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deployments come first: they take longest."""
    items.sort(key=lambda item: not _is_slow(item.path))


def pytest_configure() -> None:
    """Ctrl-C reaches what tests start, also where a shell began the tests in the background.

    Such a shell has it ignored, and what is ignored is inherited.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
