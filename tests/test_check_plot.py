"""The picture of a check: drawn as far as there is data, for its owner only, by Agg alone."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from local import edit
from matplotlib.image import imread
from support import write_site

from client.check import GroupCoverage, check_site
from client.check_plot import CENSORED, EVENT, PLAIN, write_plot

PANELS = {"times": (0, 0), "bins": (0, 1), "slides": (1, 0), "genes": (1, 1)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital's folder of the demo."""
    return write_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def report(made):
    """What was found in it."""
    return check_site(made)


def drawn(path: Path) -> set[str]:
    """The panels that have bars in one of our colours."""
    image = (imread(path)[..., :3] * 255).round().astype(int)
    colours = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (EVENT, CENSORED, PLAIN)]
    inked = np.any([(image == colour).all(axis=-1) for colour in colours], axis=0)
    rows, columns = (side // 2 for side in inked.shape)
    return {
        panel
        for panel, (row, column) in PANELS.items()
        if inked[row * rows :, column * columns :][:rows, :columns].any()
    }


def test_a_whole_site_has_four_panels(report, tmp_path):
    """Follow-up, time bins, slides and genes are drawn."""
    assert drawn(write_plot(tmp_path, report)) == set(PANELS)


def test_only_its_owner_may_look(report, tmp_path):
    """Numbers of a hospital are private: mode 0600, and no part of a file beside it."""
    path = write_plot(tmp_path, report)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("settings", "panels"),
    [
        ({"genes": None}, {"times", "bins", "slides"}),
        ({"clinical": None, "genes": None}, {"slides"}),
        ({"features": "absent"}, set(PANELS)),
        ({"slides": "absent.csv", "genes": None}, set()),
    ],
)
def test_what_is_there_is_drawn(made, tmp_path, settings, panels):
    """Without genes, outcomes, features or cases the other panels are there."""
    home = Path(shutil.copytree(made, tmp_path / "home"))
    edit(home / "site.yaml", settings)
    assert drawn(write_plot(home, check_site(home))) == panels


def test_any_group_name_and_number_can_be_drawn(report, tmp_path):
    """Names alike, names that look like formulas, fifty groups, a follow-up of nothing."""
    genes = [GroupCoverage(f"{'A_LONG_NAME ' * 8}$x_{i % 2}", i, 50) for i in range(50)]
    nothing = [dataclasses.replace(one, time=0.0, time_bin=0) for one in report.outcomes]
    odd = dataclasses.replace(report, genes=tuple(genes), outcomes=tuple(nothing))
    assert drawn(write_plot(tmp_path, odd)) == set(PANELS)


def test_drawing_touches_no_global_state(made):
    """Matplotlib is loaded to draw only; pyplot, which picks a screen and keeps figures, never."""
    code = """\
import pathlib, sys
from client.check import check_site
from client.check_plot import write_plot
folder = pathlib.Path(sys.argv[1])
report = check_site(folder)
assert "matplotlib" not in sys.modules
write_plot(folder, report)
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, made], check=True)
