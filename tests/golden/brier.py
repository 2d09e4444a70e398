"""Makes brier.json: Brier scores by scikit-survival, which the project does not depend on.

    python -m venv /tmp/golden && /tmp/golden/bin/pip install scikit-survival==0.28.0
    /tmp/golden/bin/python tests/golden/brier.py

scikit-survival counts who died in the month before a horizon h as dead at h - 1, and takes G after
the censorings of a time. So it is asked at h - 1/4, with censored times moved by half a month:
then deaths of a month come before its censorings, as on our grid.
"""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
from sksurv.metrics import brier_score
from sksurv.nonparametric import CensoringDistributionEstimator
from sksurv.util import Surv

EDGES = (12.0, 36.0, 60.0)
CASES = 90


def survival_of(hazards, months):
    """Survival (n, H) by walking from edge to edge: no code shared with the project."""
    bounds = (0.0, *EDGES)
    walked = np.ones((len(hazards), len(months)))
    for k, (begin, end) in enumerate(pairwise(bounds)):
        share = np.clip((np.asarray(months, float) - begin) / (end - begin), 0, 1)
        walked *= np.exp(np.log1p(-hazards[:, k, None]) * share)
    return walked


def main():
    """Write the cases, and what scikit-survival says of them."""
    rng = np.random.default_rng(11)
    time = rng.integers(0, 90, CASES).astype(float)
    time[:5] = (12, 36, 60, 89, 0)
    event, hazards = rng.random(CASES) < 0.6, rng.uniform(0.02, 0.7, (CASES, 4)).round(3)
    event[:4] = (True, False, True, False)
    outcome = Surv.from_arrays(event, np.where(event, time, time + 0.5))
    months = np.arange(1, int(EDGES[-1]) + 1)
    _, scores = brier_score(outcome, outcome, survival_of(hazards, months), months - 0.25)
    uncensored = CensoringDistributionEstimator().fit(outcome).predict_proba(months - 0.25)
    curve = np.concatenate([[0.0], scores])  # at month 0 everybody is alive, and predicted to be
    found = {
        "time": time.tolist(),
        "event": event.tolist(),
        "hazards": hazards.tolist(),
        "edges": EDGES,
        "uncensored": uncensored.tolist(),
        "brier": [float(curve[int(edge)]) for edge in EDGES],
        "integrated_brier": float(np.trapezoid(curve) / EDGES[-1]),
    }
    path = Path(__file__).with_name("brier.json")
    path.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
