"""Layouts of features: what each tool writes is found, named and read as it was written."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from test_check import CASES, name
from test_check import site as site  # noqa: PLC0414 - a fixture
from test_features import SLIDE, WHERE, refused, values_of, write

from client.check import check_site
from client.check_table import render
from client.features import find_features, read_features
from ghanet_model.errors import FeaturesError

JOB = "20x_256px_0px_overlap"


def write_stamp(
    path: Path, values: np.ndarray | None = None, *, key: str = "feats", **said: object
) -> Path:
    """A file as STAMP 2.1 and newer write it, some attributes changed; None: not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = values_of(kind=np.float16) if values is None else values
    attributes = {
        "stamp_version": "2.4.0",
        "extractor": "uni",
        "unit": "um",
        "tile_size_um": 128.0,
        "tile_size_px": 224,
        "code_hash": "0123abcd",
        "feat_type": "tile",
    } | said
    with h5py.File(path, "w") as file:
        file[key] = values
        file["coords"] = 128.0 * np.stack([np.arange(len(values))] * 2, 1).astype(np.float32)
        file.attrs.update({k: v for k, v in attributes.items() if v is not None})
    return path


def write_pt(path: Path, values: np.ndarray | None = None) -> Path:
    """A tensor as CLAM and slideflow save it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(torch.from_numpy(values_of() if values is None else values), path)
    return path


def write_slideflow(path: Path, values: np.ndarray | None = None) -> Path:
    """A tensor with its index."""
    write_pt(path, values)
    count = 5 if values is None else len(values)
    np.savez(path.with_suffix(".index.npz"), np.zeros((count, 2), np.int64))
    return path


def write_array(path: Path, values: np.ndarray | None = None) -> Path:
    """A numpy array as TRIDENT saves it when asked for .pt."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(values_of() if values is None else values, path)
    return path


LAYOUTS: dict[str, tuple[str, str, Callable[..., Path]]] = {  # kind, folder and suffix, writer
    "clam": ("clam", "h5_files/{}.h5", write),
    "clam pt": ("clam pt", "pt_files/{}.pt", write_pt),
    "trident": ("trident", f"{JOB}/features_uni/{{}}.h5", write),
    "trident pt": ("trident", f"{JOB}/features_uni/{{}}.pt", write_array),
    "stamp": ("stamp", "uni-0123abcd/centre/2024/{}.h5", write_stamp),
    "slideflow": ("slideflow", "{}.pt", write_slideflow),
    "slideflow below": ("slideflow", "pt_files/uni/{}.pt", write_slideflow),
}


@pytest.fixture(params=LAYOUTS)
def layout(request):
    """Kind, path of a slide's file, and how such a file is written."""
    return LAYOUTS[request.param]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_every_layout_is_read_as_it_was_written(tmp_path, layout, kind):
    """Found below the folder that a hospital names, recognised, and equal bit by bit."""
    named, file, writer = layout
    values = values_of(kind=kind) / 3
    path = writer(tmp_path / file.format(SLIDE), values)
    found = find_features(tmp_path)
    assert (found.kind, found.stems) == (named, {SLIDE})
    assert found.file_of(SLIDE, where=WHERE) == found.path_of(SLIDE) == path
    tensor = read_features(path, width=4, encoder="uni", where=WHERE)
    assert tensor.numpy().tobytes() == values.tobytes()
    assert tensor.numpy().dtype == values.dtype


def test_every_layout_is_named_by_check(site, layout):
    """A hospital reads which tool's features were found, and no slide is named."""
    (site / "features").rename(site / "old")
    named, file, writer = layout
    text = (site / "study.yaml").read_text()
    (site / "study.yaml").write_text(text.replace("encoder: enc-v1", "encoder: uni"))
    text = (site / "site.yaml").read_text()
    (site / "site.yaml").write_text(text.replace("encoder: enc-v1", "encoder: uni"))
    for i in range(CASES):
        writer(site / "features" / file.format(name(i)), values_of(4, 3))
    report = check_site(site)
    assert (report.features, report.patches, report.width) == (named, 4 * CASES, 3)
    assert report.problems == ()
    assert f"features                {named}\n" in render(report)
    assert "CANARY" not in render(report)


@pytest.mark.parametrize("mark", ["{}.lock", "{}.part", "{stem}.lock", "{stem}.part"])
def test_every_layout_may_be_half_written(tmp_path, layout, mark):
    """A lock or part beside a file says that it is not finished, when listed and when read."""
    _, file, writer = layout
    path = writer(tmp_path / file.format(SLIDE))
    writer(tmp_path / file.format("other"))
    (path.parent / mark.format(path.name, stem=SLIDE)).touch()
    found = find_features(tmp_path)
    with pytest.raises(FeaturesError, match=f"^{WHERE}: the feature file is not finished$"):
        found.file_of(SLIDE, where=WHERE)
    assert found.file_of("other", where=WHERE)
    assert "not finished" in refused(path)


def test_every_layout_lacks_some_slides(tmp_path, layout):
    """A slide without a file is told by its row."""
    _, file, writer = layout
    writer(tmp_path / file.format("other"))
    with pytest.raises(FeaturesError, match=f"^{WHERE}: no feature file$"):
        find_features(tmp_path).file_of(SLIDE, where=WHERE)
    assert "no feature file" in refused((tmp_path / file.format("other")).with_stem(SLIDE))
