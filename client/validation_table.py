"""A validation in words and lines for the screen, 90 columns wide. No case id."""

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ghanet_model.page_numbers import p_value, plural
from ghanet_model.release import NOTICE

from . import validation_words as words
from .validation_cases import MIXED
from .validation_numbers import ALL, FEW_DEATHS, USUAL_DEATHS

Found = Mapping[str, Any]
_WIDTH = 90
_NOTHING = "-"


def which_cases(found: Found) -> str:
    """How many, and of which kind."""
    return f"{found['cases']} {words.WHICH[found['which']]}"


def warnings_of(found: Found) -> Iterator[str]:
    """What has to be known before any number is read."""
    seen = {
        "training": found["training_cases"],
        "cases": found["cases"],
        "deaths": found["deaths_before_last_edge"],
        "last": f"{found['horizons'][-1]:g}",
        "few": FEW_DEATHS,
        "usual": USUAL_DEATHS,
    }
    if found["which"] == MIXED:
        yield words.FLATTERS.format(**seen)
    if seen["deaths"] < FEW_DEATHS:
        yield words.FEW_DEATHS.format(**seen)
    elif seen["deaths"] < USUAL_DEATHS:
        yield words.SOME_DEATHS.format(**seen)


def why_none(found: Found) -> str:
    """Why there is no recalibration."""
    return words.WHY_TRAINED if found["training_cases"] else words.WHY_FEW.format(few=FEW_DEATHS)


def validation_lines(found: Found) -> Iterator[str]:
    """Warnings, then the table."""
    yield NOTICE
    for said in warnings_of(found):
        yield from textwrap.wrap(f"MIND: {said}", _WIDTH, subsequent_indent="      ")
    release = found["release"]
    yield f"release {release['name']} {release['sha256'][:8]} at {found['hospital']}"
    yield from textwrap.wrap(f"{which_cases(found)}; {found['deaths']} died", _WIDTH)
    yield ""
    yield _row("", "here", "the release's own")
    yield _row("C-index", _told(found["c_index"]), _told(found["release_c_index"]))
    yield ""
    yield from _calibration(found)
    yield ""
    yield _row("intercept, slope held at 1", _told(found["intercept"], 2))
    yield _row("slope between cases", _told(found["slope_between"], 2))
    yield _row("log-rank of groups", _log_rank(found["groups"]["log_rank"]))
    yield ""
    yield from _brier(found)


def kept_lines(found: Found, folder: Path) -> Iterator[str]:
    """What was written below the hospital's folder, and how to use it."""
    yield ""
    yield f"page: {folder / found['page']}, to be opened in a browser; numbers beside it in .json"
    kept = found["recalibration"]
    if kept:
        kind = "a shift" if kept["b"] == 1 else "a shift and a slope"
        yield f"recalibration, {kind}: predict --recalibration {folder / kept['file']}"
    else:
        yield f"no recalibration: {why_none(found)}"
    yield "all of it is about your patients and stays here"


def _row(title: str, *cells: str) -> str:
    return (f"{title:<28}" + "".join(f"{cell:<24}" for cell in cells)).rstrip()


def _told(found: Any, digits: int = 3) -> str:
    """A value with its interval, in letters that every terminal has."""
    value = (found or {}).get("value")
    if value is None:
        return _NOTHING
    if found["low"] is None or found["high"] is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({found['low']:.{digits}f} to {found['high']:.{digits}f})"


def _calibration(found: Found) -> Iterator[str]:
    """Predicted and observed survival, and observed over expected deaths."""
    yield _row("survival", "predicted", "observed", "observed / expected")
    for row in found["calibration"]:
        where = f"{row['months']:g} months" if row["group"] == ALL else f"  {row['group']} risk"
        seen = {"value": row["observed"], "low": row["low"], "high": row["high"]}
        ratio = {"value": row["ratio"], "low": row["ratio_low"], "high": row["ratio_high"]}
        yield _row(where, f"{row['predicted']:.2f}", _told(seen, 2), _told(ratio, 2))


def _log_rank(test: Any) -> str:
    if test is None:
        return _NOTHING
    return (
        f"chi-squared {test['chi2']:.1f}, {plural(test['dof'], 'degree')}, p {p_value(test['p'])}"
    )


def _brier(found: Found) -> Iterator[str]:
    """Errors beside those of Kaplan-Meier alone."""
    rows = [(f"{row['months']:g} months", row) for row in found["brier"]]
    if whole := found["integrated_brier"]:
        rows.append((f"integrated to {whole['months']:g}", whole))
    if rows:
        yield _row("Brier score", "release", "Kaplan-Meier alone")
    for title, row in rows:
        yield _row(title, f"{row['model']:.3f}", f"{row['kaplan_meier']:.3f}")
