"""The blocks of deploy/README.md that a script can run."""

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[1] / "deploy" / "README.md"
MODES = ("", "account", "host", "containers", "pip packages", "pip")
_BLOCK = re.compile(
    r"^```sh\n# (coordinator|hospital) (\w+)(?:, ([a-z ]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Block:
    """Commands that somebody types."""

    side: str
    step: str  # its number, or what it is for
    mode: str  # '': containers and pip alike
    text: str


def blocks() -> list[Block]:
    """All of them, in the order of the page."""
    found = _BLOCK.findall(PAGE.read_text())
    return [Block(side, step, mode, text) for side, step, mode, text in found]
