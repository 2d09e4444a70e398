"""The model that a hospital trains alone: as long as the common one, once, and never sent."""

from pathlib import Path

import numpy as np
import pytest
from support import LocalExchange, make_consortium, make_run

from client.alone import ALONE_FILE, alone_weights
from client.answers import open_site
from ghanet_model.weights import metadata_of
from server.panel import fix_panel
from server.rounds import one_round, start_or_resume, train_rounds


@pytest.fixture
def consortium(tmp_path: Path) -> Path:
    """Hospitals that train alone too."""
    make_consortium(tmp_path, train_alone=True, rounds=2)
    return tmp_path


def test_it_is_trained_in_every_round_and_stays_here(consortium: Path) -> None:
    """Readable by its owner only; a hospital that only infers has none."""
    train_rounds(one := make_run(consortium), fix_panel(one))
    path = consortium / "hospital-a" / "state" / ALONE_FILE
    assert metadata_of(path.read_bytes())["number"] == "2"
    assert path.stat().st_mode & 0o777 == 0o600
    assert not (consortium / "hospital-d" / "state" / ALONE_FILE).exists()
    sent = [record for name, record in one.exchange.answers if name == "hospital-a"]
    own = alone_weights(open_site(consortium / "hospital-a"))
    name = "head.weight" if "head.weight" in own else min(own)
    assert not any(np.array_equal(r.arrays.get(name), own[name]) for r in sent if r.arrays)


def test_a_round_that_is_asked_again_trains_it_once(consortium: Path) -> None:
    """The server may lose an answer; the comparison stays fair."""
    one = make_run(consortium)
    panel = fix_panel(one)
    start = start_or_resume(one, panel)
    one_round(one, start, panel)
    path = consortium / "hospital-a" / "state" / ALONE_FILE
    before = path.read_bytes()
    one_round(make_run(consortium), start, panel)
    assert path.read_bytes() == before


def test_the_federation_is_the_same_with_and_without_it(consortium: Path, tmp_path: Path) -> None:
    """No bit of the common model depends on it, but for the study's digest."""
    root = tmp_path / "without"
    make_consortium(root, rounds=2)
    weights = []
    for place in (consortium, root):
        one = make_run(place, LocalExchange(place, ["hospital-a", "hospital-b", "hospital-d"]))
        weights.append(train_rounds(one, fix_panel(one)).weights)
    assert all(np.array_equal(weights[0][name], array) for name, array in weights[1].items())
