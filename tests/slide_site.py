"""A hospital with slides, for tests of 'slides check' and 'slides extract'."""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from local import edit
from onnx_files import write_encoder
from slide_files import tissue_image, write_tiff
from support import write_study

from client.config import site_template

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
