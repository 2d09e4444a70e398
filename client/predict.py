"""Prediction from slides alone: one row per case. Genes are neither needed nor read."""

import csv
import io
from pathlib import Path

import torch
from rich.progress import Progress

from ghanet_model.batches import read_ahead
from ghanet_model.errors import FeaturesError, ReleaseError, SettingsError
from ghanet_model.extraction import encoder_terms
from ghanet_model.invitation import RELEASE_KEY_FILE
from ghanet_model.release import NOTICE, Release, read_release
from ghanet_model.study import RELEASE_SUFFIX
from ghanet_model.survival import survival_at_edges

from .answers import INBOX
from .bags import prediction_bags
from .cohort import require_cohort
from .config import SiteConfig
from .features import find_features


def find_release(config: SiteConfig, path: Path | None) -> Release:
    """Verify the named release, or the only one in the inbox.

    Raises:
        ReleaseError: none, several, or one that cannot be trusted.
    """
    if path is None:
        found = sorted((config.folder / INBOX).glob(f"*{RELEASE_SUFFIX}"))
        if len(found) != 1:
            what = "no release" if not found else f"{len(found)} releases"
            raise ReleaseError(f"{what} in {INBOX}/", hint="name one with --release FILE")
        path = found[0]
    key = config.folder / "keys" / RELEASE_KEY_FILE
    if not key.is_file():
        raise SettingsError(
            f"keys/{RELEASE_KEY_FILE} is missing",
            hint="run 'ghanet-client init' with your invitation",
        )
    return read_release(path, public_pem=key.read_bytes())


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


def predict_table(config: SiteConfig, release: Release, progress: Progress) -> str:
    """Predictions for all cases of the slides table, as CSV with a notice on top.

    Columns: case_id, risk, risk_group, survival_M_months for each edge M of the study.

    Raises:
        CohortError, FeaturesError: the slides table or a feature file cannot be used.
    """
    require_encoder(config, release)
    cohort = require_cohort(config.slides_only(), release.study)
    features = find_features(config.features)
    bags = prediction_bags(cohort, features, study=release.study)
    device = torch.device(config.device)
    model = release.model().to(device)
    torch.set_num_threads(config.threads)
    buffer = io.StringIO()
    buffer.write(provenance(release))
    writer = csv.writer(buffer, lineterminator="\n")
    edges = [f"survival_{edge:g}_months" for edge in release.study.time_bin_edges]
    writer.writerow(["case_id", "risk", "risk_group", *edges])
    bar = progress.add_task("predicting", total=len(bags))
    with read_ahead(bags) as coming:
        for case, bag in zip(cohort.cases, coming, strict=True):
            prediction = model.predict([bag.features.to(device)])
            risk = float(prediction.risk[0])
            survival = survival_at_edges(prediction.survival)[0].tolist()  # (K-1,)
            row = [f"{risk:.6f}", release.risk_group(risk), *(f"{s:.6f}" for s in survival)]
            writer.writerow([case.case_id, *row])
            progress.advance(bar)
    return buffer.getvalue()
