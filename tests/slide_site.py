"""A hospital with slides, for tests of 'slides check', 'slides extract' and 'predict'."""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from local import edit
from onnx_files import write_encoder
from slide_files import tissue_image, write_tiff
from support import write_study

from client.config import site_template
from ghanet_model.genes import GenePanel, candidate_columns, candidate_groups
from ghanet_model.invitation import RELEASE_KEY_FILE
from ghanet_model.keys import make_release_key
from ghanet_model.network import new_model
from ghanet_model.release import make_release, model_config
from ghanet_model.study import read_study
from ghanet_model.weights import weights_of

WIDTH = 8
ENCODER = "mean-v1"
EXTRACTION = {"pixels": 64, "mpp": 0.5}


def write_slide_site(home: Path, **extraction: object) -> Path:
    """A hospital's folder with an encoder, without slides and tables yet."""
    cut = EXTRACTION | extraction
    write_study(home, encoder=ENCODER, feature_width=WIDTH, extraction=cut)
    write_encoder(home / "mean.onnx")
    (home / "site.yaml").write_text(site_template(name="hospital-a", server="localhost:1"))
    settings = {"encoder": ENCODER, "slide_files": "archive", "encoder_file": "mean.onnx"}
    edit(home / "site.yaml", settings | {"clinical": None})
    (home / "archive").mkdir(exist_ok=True)
    return home


def write_release(home: Path, **said: object) -> None:
    """A release of a model that nobody trained in the inbox, and its public key.

    Args:
        home: the hospital's folder.
        said: more of the manifest, or other values.
    """
    study = read_study(home)
    columns = candidate_columns(study)
    panel = GenePanel(
        groups=tuple(candidate_groups(study)),
        columns=columns,
        centre=(0.0,) * len(columns),
        scale=(1.0,) * len(columns),
        clip=3.0,
    )
    model = new_model(model_config(study, panel), seed=1)
    manifest = {
        "name": "small",
        "study": study.as_json(),
        "panel": panel.to_json(),
        "risk_cutoffs": [-2.5, -1.5],
        "rounds": 1,
        **said,
    }
    for folder in ("keys", "inbox"):
        (home / folder).mkdir(exist_ok=True)
    key = home.parent / "release.key"
    if not key.exists():
        make_release_key(key)
    (home / "keys" / RELEASE_KEY_FILE).write_bytes(key.with_suffix(".key.pub").read_bytes())
    content = make_release(manifest, weights_of(model), "# card\n", key_file=key)
    (home / "inbox" / "small.ghanet").write_bytes(content)


def write_slides(home: Path, names: Iterable[str], *, side: int = 1024) -> None:
    """Good slides, each another tissue."""
    for number, name in enumerate(names):
        image = tissue_image(np.random.default_rng(number), side)
        write_tiff(home / "archive" / name, image, mpp=0.5)


def write_table(home: Path, names: Iterable[str], **mpp: float | str) -> None:
    """slides.csv, a case for each slide; ``mpp`` by stem."""
    with (home / "slides.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case_id", "slide_id", "mpp"])
        for number, name in enumerate(names):
            writer.writerow([f"case-{number}", name, mpp.get(name.partition(".")[0], "")])
