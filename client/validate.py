"""``ghanet-client validate``: a release on this hospital's own cases. All of it stays here.

Three files in validation/, readable by their owner only: NAME-SHA8.json, its page NAME-SHA8.html,
and NAME-SHA8.recalibration.json where there are deaths enough. With training cases among them the
first two end in -all, so that what flatters never takes the place of what does not.
"""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from ghanet_model.extraction import encoder_terms
from ghanet_model.files import write_atomic
from ghanet_model.release import NOTICE, Release

from .config import SiteConfig
from .recalibration import Recalibration
from .validation_cases import MIXED, predicted_cases
from .validation_numbers import recalibration_of, validation_numbers
from .validation_page import validation_page

FORMAT = 1
VALIDATIONS = "validation"  # below the hospital's folder
SEED = 0  # of the bootstrap: the same cases give the same interval


def validate_release(
    config: SiteConfig, release: Release, *, everybody: bool, progress: Progress
) -> dict[str, Any]:
    """Compare what a release predicts with what happened, and keep it.

    Args:
        config: of the hospital.
        release: verified.
        everybody: also cases that training saw, which flatters.
        progress: shown while it predicts.

    Returns:
        What the JSON file holds.

    Raises:
        CohortError: no case with an outcome, or a table with a problem.
        FeaturesError: features of another encoder than the release's, or no good.
    """
    cases = predicted_cases(config, release, everybody=everybody, progress=progress)
    generator = np.random.default_rng(SEED)
    values = _about(config, release) | validation_numbers(cases, release, generator=generator)
    kept = _recalibration(values, release)
    write_validation(config.folder / VALIDATIONS, values, kept)
    return values


def write_validation(folder: Path, values: dict[str, Any], kept: Recalibration | None) -> None:
    """Write page, recalibration and numbers, in this order, and name them in ``values``.

    Without a recalibration an older one of this release goes, unless training cases are why.
    """
    name = f"{values['release']['name']}-{values['release']['sha256'][:8]}"
    own = f"{name}-all" if values["which"] == MIXED else name
    path = folder / f"{name}.recalibration.json"
    values["page"] = f"{folder.name}/{own}.html"
    about = {"file": f"{folder.name}/{path.name}"}
    values["recalibration"] = kept and about | {"a": kept.a, "b": kept.b, "deaths": kept.deaths}
    folder.mkdir(mode=0o700, exist_ok=True)
    write_atomic(folder / f"{own}.html", validation_page(values).encode(), private=True)
    if kept:
        write_atomic(path, kept.content, private=True)
    elif values["which"] != MIXED:
        path.unlink(missing_ok=True)
    content = json.dumps(values, indent=1, allow_nan=False) + "\n"
    write_atomic(folder / f"{own}.json", content.encode(), private=True)


def _about(config: SiteConfig, release: Release) -> dict[str, Any]:
    """What was validated, where and when."""
    study = release.study
    return {
        "format": FORMAT,
        "notice": NOTICE,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "hospital": config.name,
        "release": release.named(),
        "encoder": {
            "name": study.encoder,
            "terms": encoder_terms(study.encoder, study.extraction),
        },
    }


def _recalibration(values: dict[str, Any], release: Release) -> Recalibration | None:
    fitted = recalibration_of(values)
    if fitted is None:
        return None
    deaths = values["deaths_before_last_edge"]
    return Recalibration(release.sha256, *fitted, values["cases"], deaths, values["date"])
