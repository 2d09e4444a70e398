"""Prediction from slides alone: one row per case. Genes are neither needed nor read."""

import csv
import io
from pathlib import Path

import torch
from rich.progress import Progress

from ghanet_model.batches import read_ahead
from ghanet_model.errors import FeaturesError, ReleaseError
from ghanet_model.extraction import encoder_terms
from ghanet_model.release import NOTICE, Release, read_release
from ghanet_model.study import RELEASE_SUFFIX

from .answers import INBOX
from .bags import prediction_bags
from .band import Ensemble, survival_of, what_it_is
from .cohort import require_cohort
from .config import SiteConfig
from .features import find_features
from .recalibration import Recalibration
from .recalls import release_key, require_not_recalled


def find_release(config: SiteConfig, path: Path | None) -> Release:
    """Verify the named release, or the only one in the inbox.

    Raises:
        ReleaseError: none, several, or one that cannot be trusted or was recalled.
    """
    if path is None:
        found = sorted((config.folder / INBOX).glob(f"*{RELEASE_SUFFIX}"))
        if len(found) != 1:
            what = "no release" if not found else f"{len(found)} releases"
            raise ReleaseError(f"{what} in {INBOX}/", hint="name one with --release FILE")
        path = found[0]
    release = read_release(path, public_pem=release_key(config.folder))
    require_not_recalled(config.folder, release)
    return release


def require_encoder(config: SiteConfig, release: Release) -> None:
    """Refuse features of another encoder than the release's.

    Raises:
        FeaturesError: site.yaml names another one.
    """
    if config.encoder != release.study.encoder:
        raise FeaturesError(
            f"features are from encoder '{config.encoder}', "
            f"the release needs '{release.study.encoder}'"
        )


def provenance(release: Release) -> str:
    """The lines above every table of predictions: notice, release, terms of the encoder."""
    study = release.study
    terms = encoder_terms(study.encoder, study.extraction)
    return (
        f"# {NOTICE}\n"
        f"# release {release.name} sha256 {release.sha256} {release.signed_by}\n"
        f"# encoder {study.encoder}; its terms: {terms}\n"
    )


def survival_columns(release: Release, *, recalibrates: bool) -> list[str]:
    """Of a table: survival at each edge, then its band, then recalibrated."""
    edges = [f"survival_{edge:g}_months" for edge in release.study.time_bin_edges]
    ends = [f"{edge}_{end}" for edge in edges for end in ("low", "high")]
    bent = [f"{edge}_recalibrated" for edge in edges]
    return [*edges, *(ends if release.ensemble else []), *(bent if recalibrates else [])]


def predict_table(
    config: SiteConfig,
    release: Release,
    progress: Progress,
    recalibration: Recalibration | None = None,
) -> str:
    """Predictions for all cases of the slides table, as CSV with a notice on top.

    Columns: case_id, risk, risk_group, survival_M_months for each edge M of the study; then, where
    the release has an ensemble, survival_M_months_low and survival_M_months_high for each; then,
    with a recalibration, survival_M_months_recalibrated.

    Raises:
        CohortError, FeaturesError: the slides table or a feature file cannot be used.
    """
    require_encoder(config, release)
    cohort = require_cohort(config.slides_only(), release.study)
    features = find_features(config.features)
    bags = prediction_bags(cohort, features, study=release.study)
    device = torch.device(config.device)
    model, ensemble = release.model().to(device), Ensemble.of(release, device)
    torch.set_num_threads(config.threads)
    buffer = io.StringIO()
    buffer.write(provenance(release))
    buffer.write(f"# low, high: {what_it_is(release)}\n" if ensemble else "")
    buffer.write(f"# recalibrated: {recalibration.said}\n" if recalibration else "")
    writer = csv.writer(buffer, lineterminator="\n")
    columns = survival_columns(release, recalibrates=recalibration is not None)
    writer.writerow(["case_id", "risk", "risk_group", *columns])
    bar = progress.add_task("predicting", total=len(bags))
    with read_ahead(bags) as coming:
        for case, bag in zip(cohort.cases, coming, strict=True):
            patches = bag.features.to(device)  # (N, D)
            prediction = model.predict([patches])
            risk, shares = float(prediction.risk[0]), list(survival_of(prediction))
            if ensemble:
                shares += ensemble.band(patches, prediction).by_edge()
            if recalibration:
                shares += recalibration.survival(survival_of(prediction)).tolist()
            row = [f"{risk:.6f}", release.risk_group(risk), *(f"{share:.6f}" for share in shares)]
            writer.writerow([case.case_id, *row])
            progress.advance(bar)
    return buffer.getvalue()
