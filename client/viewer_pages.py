"""What the slide viewer answers at each address. Reads files that are there and writes none."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response

from ghanet_model.errors import GHANetError, WeightsError
from ghanet_model.page_html import STYLE

from . import slide_words as words
from .patch_weights import PatchWeights, read_patch_weights
from .slides import Box
from .viewer_guard import REPORT_POLICY
from .viewer_images import OVERLAP, TILE, OpenedSlide, Shelf, heat_map, legend, map_grid
from .viewer_slides import Catalogue, ViewedSlide

HERE = Path(__file__).parent
STATIC: Mapping[str, tuple[Path, str]] = {  # all files that can be asked for
    "page.css": (STYLE, "text/css"),
    "viewer.css": (HERE / "viewer_static" / "viewer.css", "text/css"),
    "viewer.js": (HERE / "viewer_static" / "viewer.js", "text/javascript"),
    "slides.js": (HERE / "viewer_static" / "slides.js", "text/javascript"),
    "openseadragon.min.js": (HERE / "viewer_static" / "openseadragon.min.js", "text/javascript"),
}
TEMPLATES = Environment(
    loader=FileSystemLoader(HERE / "viewer_templates"), autoescape=True, undefined=StrictUndefined
)
_LEVEL = re.compile(r"[0-9]{1,3}")
_PLACE = re.compile(r"([0-9]{1,9})_([0-9]{1,9})\.jpeg")


def page(name: str, *, status: int = 200, **values: object) -> HTMLResponse:
    """A page of a template; every text in it is escaped."""
    content = TEMPLATES.get_template(name).render(**values)
    return HTMLResponse(content, status_code=status)


@dataclass(frozen=True, slots=True)
class Zoom:
    """What a page says to the script that shows a slide; lengths in pixels of level 0."""

    width: int
    height: int
    mpp: float | None
    map_width: float | None  # None: there is no heat map
    patches: int
    why: str  # there is none
    tile: int = TILE
    overlap: int = OVERLAP


@dataclass(frozen=True, slots=True)
class Viewer:
    """What is looked at; each method answers one address."""

    catalogue: Catalogue
    notes: tuple[str, ...]
    shelf: Shelf

    def slides(self) -> Response:
        """The list."""
        found = self.catalogue.slides()
        return page("slides.html", title="Slides", slides=found, notes=self.notes)

    def slide(self, key: str) -> Response:
        """A slide with its report beside it."""
        slide = self._found(key)
        zoom, unread = None, ""
        try:
            with self.shelf.taken(slide.file(), mpp=slide.mpp) as opened:
                zoom = _zoom(slide, opened)
        except GHANetError as error:
            unread = str(error)
        return page(
            "slide.html",
            title=f"Slide {slide.name}",
            slide=slide,
            zoom=zoom,
            unread=unread,
            report=bool(slide.answer and slide.answer.report.is_file()),
            words=words,
        )

    def tile(self, key: str, level: str, place: str) -> Response:
        """A tile of deep zoom, as JPEG."""
        slide, address = self.catalogue.unanswered(key), _PLACE.fullmatch(place)
        if slide is None or address is None or not _LEVEL.fullmatch(level):
            raise HTTPException(404)
        with self.shelf.taken(slide.file(), mpp=slide.mpp) as opened:
            content = opened.tile((int(level), int(address[1]), int(address[2])))
        if content is None:
            raise HTTPException(404)
        return Response(content, media_type="image/jpeg")

    def map(self, key: str) -> Response:
        """The heat map, as PNG."""
        kept, area = self._weights(key)
        return Response(heat_map(kept, area), media_type="image/png")

    def patch(self, key: str, x: float, y: float) -> Response:
        """The patch at a place in level-0 pixels from the scanned corner; null: there is none."""
        kept, area = self._weights(key)
        return _said(kept, kept.at(x + area.x, y + area.y), area)

    def ranked(self, key: str, rank: int) -> Response:
        """The patch of a rank; 1 has the highest weight; null: there is none."""
        kept, area = self._weights(key)
        is_one = 1 <= rank <= len(kept.weights)
        return _said(kept, int((kept.ranks() == rank).argmax()) if is_one else None, area)

    def report(self, key: str) -> Response:
        """The report, as 'predict' wrote it."""
        answer = self._found(key).answer
        if answer is None or not answer.report.is_file():
            raise HTTPException(404)
        headers = {"Content-Security-Policy": REPORT_POLICY}
        return HTMLResponse(answer.report.read_bytes(), headers=headers)

    def static(self, name: str) -> Response:
        """A file of the viewer's own."""
        if name not in STATIC:
            raise HTTPException(404)
        path, kind = STATIC[name]
        return Response(path.read_bytes(), media_type=kind)

    def legend(self) -> Response:
        """The colours of a heat map."""
        return Response(legend(), media_type="image/png")

    def _found(self, key: str) -> ViewedSlide:
        slide = self.catalogue.find(key)
        if slide is None:
            raise HTTPException(404)
        return slide

    def _weights(self, key: str) -> tuple[PatchWeights, Box]:
        """Of an answered slide, with what was scanned of it."""
        slide = self._found(key)
        with self.shelf.taken(slide.file(), mpp=slide.mpp) as opened:
            return _weights_of(slide), opened.area


def _weights_of(slide: ViewedSlide) -> PatchWeights:
    if slide.answer is None:
        raise WeightsError("no answer yet", hint="run 'ghanet-client predict' on this slide")
    return read_patch_weights(slide.answer.weights, made_of=slide.answer.made_of)


def _zoom(slide: ViewedSlide, opened: OpenedSlide) -> Zoom:
    width, height = opened.size
    try:
        kept = _weights_of(slide)
        across = map_grid(kept, opened.area).width
    except WeightsError as error:
        why = f"{error}: {error.hint}"
        return Zoom(width, height, opened.mpp, map_width=None, patches=0, why=why)
    patches = len(kept.weights)
    return Zoom(width, height, opened.mpp, map_width=across, patches=patches, why="")


def _said(kept: PatchWeights, place: int | None, area: Box) -> Response:
    """What the page shows of a patch; ``x`` and ``y`` start at the scanned corner."""
    if place is None:
        return JSONResponse(None)
    x, y = (kept.coords[place] - (area.x, area.y)).tolist()
    count = len(kept.weights)
    weight, rank = float(kept.weights[place]), int(kept.ranks()[place])
    return JSONResponse(
        {"x": x, "y": y, "side": kept.side, "weight": weight, "rank": rank, "of": count}
    )
