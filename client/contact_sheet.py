"""All slides on a few pictures, with the patches outlined, to see at a glance what was cut."""

import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ghanet_model.files import write_atomic

from .feature_writer import THUMBNAIL, read_thumbnail
from .slides import Rgb

COLUMNS, ROWS = 8, 6
CAPTION = 30  # pixels below a thumbnail
_NUMBERED = re.compile(r"contact_sheet_\d+\.png")
_GAP, _WHITE, _INK = 8, 255, (60, 60, 60)
_LETTERS = 26  # of a name that fit below a thumbnail


def write_sheets(folder: Path, named: Sequence[tuple[str, Path, str]]) -> list[Path]:
    """Write contact_sheet_1.png, ... of slides: name, feature file, what stands below it.

    Sheets of an earlier run that had more slides are taken away.
    """
    pages = []
    for first in range(0, len(named), COLUMNS * ROWS):
        path = folder / f"contact_sheet_{first // (COLUMNS * ROWS) + 1}.png"
        done, content = cv2.imencode(
            ".png", _page(named[first : first + COLUMNS * ROWS])[..., ::-1]
        )
        if done:
            write_atomic(path, content.tobytes(), private=True)
            pages.append(path)
    for old in folder.glob("contact_sheet_*.png"):
        if old not in pages and _NUMBERED.fullmatch(old.name):
            old.unlink()
    return pages


def _page(named: Sequence[tuple[str, Path, str]]) -> Rgb:
    side, step = THUMBNAIL, (THUMBNAIL + CAPTION + _GAP, THUMBNAIL + _GAP)
    rows = -(-len(named) // COLUMNS)
    page = np.full((rows * step[0] + _GAP, COLUMNS * step[1] + _GAP, 3), _WHITE, np.uint8)
    for place, (name, path, said) in enumerate(named):
        row, column = divmod(place, COLUMNS)
        top, left = _GAP + row * step[0], _GAP + column * step[1]
        image = read_thumbnail(path)
        if image is not None:
            height, width = image.shape[:2]
            y, x = top + (side - height) // 2, left + (side - width) // 2
            page[y : y + height, x : x + width] = image
        for line, text in enumerate((name[-_LETTERS:], said)):
            at = (left, top + side + 12 + 14 * line)
            cv2.putText(page, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.36, _INK, 1, cv2.LINE_AA)
    return page
