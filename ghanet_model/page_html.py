"""HTML of a page, element by element. Plain text is escaped, always; only ``Html`` is not."""

import html
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

STYLE = Path(__file__).with_name("page.css")


class Html(str):
    """What is HTML already. Every other str is text, and is escaped on its way into an element."""

    __slots__ = ()


def escaped(content: str) -> Html:
    """Text as HTML; HTML as it is.

    >>> escaped("5 < 6"), escaped(Html("<b>5</b>"))
    ('5 &lt; 6', '<b>5</b>')
    """
    return content if isinstance(content, Html) else Html(html.escape(content))


def join(pieces: Iterable[str]) -> Html:
    """Pieces one after the other."""
    return Html("".join(escaped(piece) for piece in pieces))


def tag(name: str, *content: str, **attributes: str) -> Html:
    """An element; attribute ``class_`` is written 'class', ``aria_label`` 'aria-label'."""
    given = (
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items()
        if value
    )
    return Html(f"<{name}{''.join(given)}>{join(content)}</{name}>")


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str = "",
    left: Collection[int] = (0,),
    kind: str = "",
) -> Html:
    """A table that scrolls by itself where it is wider than the page.

    Args:
        head: a title per column.
        rows: cells; the first of each names its row.
        caption: above it; what the table is called where it is read out.
        left: columns of words; others are numbers, to the right.
        kind: CSS class.
    """
    sides = ["words" if place in left else "" for place in range(len(head))]
    titles = (_title(t, s) for t, s in zip(head, sides, strict=True))
    body = (_row(row, sides) for row in rows)
    parts = (tag("caption", caption)) if caption else Html("")
    whole = tag("table", parts, tag("thead", tag("tr", *titles)), tag("tbody", *body), class_=kind)
    label = caption or ", ".join(filter(None, head))
    return tag("div", whole, class_="wide", tabindex="0", role="group", aria_label=label)


def _title(title: str, side: str) -> Html:
    """Of a column; one without words is a cell, which nobody reads out as a title."""
    return tag("th", title, scope="col", class_=side) if title else tag("td", class_=side)


def _row(row: Sequence[str], sides: Sequence[str]) -> Html:
    """A row; one of a single cell is a heading over those below it."""
    if len(row) == 1:
        return tag(
            "tr", tag("th", row[0], scope="rowgroup", colspan=str(len(sides))), class_="over"
        )
    first = tag("th", row[0], scope="row", class_=sides[0])
    rest = (tag("td", c, class_=s) for c, s in zip(row[1:], sides[1:], strict=True))
    return tag("tr", first, *rest)


def figure(drawing: Html, caption: str, *, kind: str = "") -> Html:
    """A drawing with what it shows below it."""
    return tag("figure", drawing, tag("figcaption", caption), class_=kind)


def later(said: str) -> Html:
    """In place of what is not there yet."""
    return tag("p", said, class_="later")


def note(*said: str) -> Html:
    """What explains a table or drawing."""
    return tag("p", *said, class_="note")


def bullets(items: Iterable[str]) -> Html:
    """A list."""
    return tag("ul", *(tag("li", item) for item in items))


def document(title: str, content: Html, *, images: bool = False) -> str:
    """A whole page in one file: style inside, no script, nothing loaded, ever.

    Args:
        title: of the window.
        content: of the body.
        images: whether pictures stand in it, as data.
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'" + "; img-src data:" * images
    meta = (
        '<meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    )
    style = tag("style", Html(STYLE.read_text(encoding="utf-8") + _on_each_sheet(title)))
    head = tag("head", Html(meta), tag("title", title), style)
    return f"<!doctype html>\n{tag('html', head, tag('body', content), lang='en')}\n"


def _on_each_sheet(title: str) -> str:
    r"""The title on every printed sheet but the first, which has it, as CSS.

    >>> print(_on_each_sheet("a</b"), end="")
    @page { @top-left { content: "a\3c \2f b"; } }
    """
    safe = "".join(c if c.isascii() and c.isalnum() else f"\\{ord(c):x} " for c in title)
    return f'@page {{ @top-left {{ content: "{safe}"; }} }}\n'


def tile(name: str, value: str, *limits: str, kind: str = "") -> Html:
    """A number that stands out, with what it is called above and what it depends on below."""
    spans = [("name", name), ("value", value), *(("limits", said) for said in limits)]
    inside = (tag("span", said, class_=part) for part, said in spans)
    return tag("div", *inside, class_=f"tile {kind}".rstrip())


def section(number: int, title: str, *content: str) -> Html:
    """A numbered part of the page, to be linked to."""
    heading = tag("h2", tag("span", str(number), class_="number"), " ", title)
    return tag("section", heading, *content, id=f"part-{number}")
