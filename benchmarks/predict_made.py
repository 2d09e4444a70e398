"""What predict.py measures: a hospital with a release of random weights, and drawn features."""

import sys
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deploy"))  # they are no packages
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from local import edit
from support import write_study

from client.config import site_template
from ghanet_model.genes import GenePanel, candidate_columns, candidate_groups
from ghanet_model.invitation import RELEASE_KEY_FILE
from ghanet_model.keys import make_release_key
from ghanet_model.network import new_model
from ghanet_model.release import make_release, model_config
from ghanet_model.slide_reference import PLACES, Moments, Shape, SlideReference
from ghanet_model.study import read_study
from ghanet_model.weights import weights_of

ENCODER = "drawn-v1"
BLOCK = 4096  # patches drawn at once, so that drawing takes no memory
SIDE = 256  # of a patch, pixels of level 0


@dataclass(frozen=True, slots=True)
class Preset:
    """A kind of model, and the features that it reads."""

    name: str
    width: int  # D


def make_home(home: Path, preset: Preset, *, threads: int) -> None:
    """A hospital's folder with a release in its inbox; training had no part in its weights."""
    write_study(home, encoder=ENCODER, feature_width=preset.width, preset=preset.name)
    (home / "site.yaml").write_text(site_template(name="hospital-a", server="localhost:1"))
    edit(home / "site.yaml", {"encoder": ENCODER, "threads": threads, "clinical": None})
    study = read_study(home)
    columns = candidate_columns(study)
    scaling = {"centre": (0.0,) * len(columns), "scale": (1.0,) * len(columns), "clip": 3.0}
    panel = GenePanel(groups=tuple(candidate_groups(study)), columns=columns, **scaling)
    manifest = {
        "name": "drawn",
        "study": study.as_json(),
        "panel": panel.to_json(),
        "risk_cutoffs": [-2.5, -1.5],
        "reference": {"features": reference_of(preset.width).to_json()},
    }
    for folder in ("keys", "inbox"):
        (home / folder).mkdir()
    key = home / "release.key"
    make_release_key(key)
    (home / "keys" / RELEASE_KEY_FILE).write_bytes(key.with_suffix(".key.pub").read_bytes())
    weights = weights_of(new_model(model_config(study, panel), seed=0))
    content = make_release(manifest, weights, "# random weights\n", key_file=key)
    (home / "inbox" / "drawn.ghanet").write_bytes(content)


def reference_of(width: int) -> SlideReference:
    """Of drawn features (N, D), about standard normal; so wide that every slide is like them."""
    mean = np.concatenate([np.zeros(width), np.ones(width)])
    shape = Shape(Moments(mean, np.ones(2 * width)), np.zeros(PLACES), np.eye(PLACES))
    return SlideReference(shape, np.zeros(3), np.full(3, 100.0), cases=100)


def write_drawn(path: Path, patches: int, width: int) -> Path:
    """A feature file as TRIDENT lays it out, float32 as our own extraction writes it."""
    rng = np.random.default_rng(patches)
    across = int(np.ceil(np.sqrt(patches)))
    corners = np.stack(np.divmod(np.arange(patches), across), axis=1) * SIDE
    with h5py.File(path, "w") as file:
        features = file.create_dataset(
            "features", (patches, width), np.float32, chunks=(min(patches, 256), width)
        )
        features.attrs["encoder"] = ENCODER
        for first in range(0, patches, BLOCK):
            size = (min(BLOCK, patches - first), width)
            features[first : first + BLOCK] = rng.standard_normal(size, np.float32)
        placed = file.create_dataset("coords", data=corners.astype(np.int64))
        placed.attrs.update({"patch_size_level0": SIDE, "level0_mpp": 0.5})
    return path
