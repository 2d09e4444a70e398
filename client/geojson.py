"""Patches as GeoJSON that QuPath imports: squares with a class and their weight.

QuPath has pixels of level 0 with its origin at the corner of what was scanned, so the bounds of
MRXS and SCN slides are taken off. No slide is named in it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

HIGH, LOW = "high weight", "low weight"
COLOURS = {HIGH: (213, 94, 0), LOW: (0, 114, 178)}  # told apart by colour-blind eyes too


@dataclass(frozen=True, slots=True)
class Square:
    """A patch on the slide."""

    x: float  # its corner, in pixels of level 0 from the corner of what was scanned
    y: float
    side: float
    weight: float  # its share of all patches' weight
    kind: str  # HIGH or LOW


def geojson(squares: Sequence[Square]) -> bytes:
    """A FeatureCollection (RFC 7946) with the properties that QuPath 0.4 and newer reads."""
    return json.dumps({"type": "FeatureCollection", "features": list(_features(squares))}).encode()


def _features(squares: Sequence[Square]) -> Iterator[dict[str, Any]]:
    for square in squares:
        left, top, right, bottom = (
            round(one, 2)
            for one in (square.x, square.y, square.x + square.side, square.y + square.side)
        )
        ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        yield {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {
                "objectType": "annotation",
                "classification": {"name": square.kind, "color": list(COLOURS[square.kind])},
                "isLocked": True,
                "measurements": {"weight": square.weight},
            },
        }
