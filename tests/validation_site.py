"""A hospital with a release to validate, and drawn cases whose calibration is known."""

import math
from pathlib import Path

import numpy as np
from support import write_site

from client.validation_cases import HELD_OUT, Cases
from ghanet_model.genes import GenePanel, candidate_columns, candidate_groups
from ghanet_model.invitation import RELEASE_KEY_FILE
from ghanet_model.keys import make_release_key
from ghanet_model.network import new_model
from ghanet_model.release import Release, make_release, model_config, read_release
from ghanet_model.study import read_study
from ghanet_model.weights import weights_of

EDGES = (12.0, 36.0, 60.0)


def drawn(n: int, *, a: float = 0.0, b: float = 1.0, seed: int = 1) -> Cases:
    """Cases that die by H' = e^a H^b of what is predicted, hazards constant inside a bin."""
    rng = np.random.default_rng(seed)
    steps = np.exp(0.7 * rng.standard_normal((n, 1))) * np.array([0.15, 0.3, 0.2, 0.3])  # of H
    hazard = steps[:, :3].cumsum(axis=1)
    true = np.hstack([np.zeros((n, 1)), math.exp(a) * hazard**b])
    bounds, wanted = np.array([0.0, *EDGES]), rng.exponential(size=n)
    death = np.array(
        [np.interp(w, t, bounds, right=61.0) for w, t in zip(wanted, true, strict=True)]
    )
    censored = rng.uniform(6, 90, n)
    risk = -np.exp(-steps.cumsum(axis=1)).sum(axis=1)
    group = np.searchsorted(np.quantile(risk, [1 / 3, 2 / 3]), risk, side="right")
    time = np.minimum(death, censored)
    return Cases(time, death <= censored, 1 - np.exp(-steps), risk, group, HELD_OUT)


def make_site(home: Path, *, trained: int = 3) -> Path:
    """A hospital with thirty cases, a third held out, and a release that it trained or not."""
    write_site(home)
    study = read_study(home)
    columns = candidate_columns(study)
    count = len(columns)
    panel = GenePanel(tuple(candidate_groups(study)), columns, (0.0,) * count, (1.0,) * count, 3.0)
    model = new_model(model_config(study, panel), seed=1)
    manifest = {
        "name": "small",
        "study": study.as_json(),
        "panel": panel.to_json(),
        "risk_cutoffs": [-2.46, -2.42],
        "participation": [{"name": "hospital-a", "rounds_trained": trained}],
        "arms": {"federated": {"c_within": {"value": 0.71, "low": 0.66, "high": 0.75}}},
    }
    key = home / "release.key"
    make_release_key(key)
    for folder in ("keys", "inbox"):
        (home / folder).mkdir(exist_ok=True)
    (home / "keys" / RELEASE_KEY_FILE).write_bytes(key.with_suffix(".key.pub").read_bytes())
    content = make_release(manifest, weights_of(model), "# card\n", key_file=key)
    (home / "inbox" / "small.ghanet").write_bytes(content)
    return home


def release_of(home: Path) -> Release:
    """The release in the inbox."""
    public = (home / "keys" / RELEASE_KEY_FILE).read_bytes()
    return read_release(home / "inbox" / "small.ghanet", public_pem=public)
