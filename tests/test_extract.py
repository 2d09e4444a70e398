"""Features of slides: the same arrays whatever stopped the work and however many worked."""

import fcntl
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from local import CLIENT, HERE
from onnx_files import write_encoder
from slide_files import destroy_tiles, tissue_image, write_tiff
from slide_site import EXTRACTION, WIDTH, write_slide_site, write_slides, write_table

from client.config import read_site
from client.draft import HEAD_BYTES, draft_of, progress_of
from client.encoders import EncoderFile, at_work, load_encoder
from client.extract import Job, extract, is_done
from client.extraction_run import LOCK_FILE, run
from client.feature_writer import Maker, read_thumbnail
from client.features import inspect_features, require_fit
from client.slide_list import list_slides
from ghanet_model.errors import DeploymentError, FeaturesError, SlideError
from ghanet_model.extraction import Extraction
from ghanet_model.study import read_study

NAMES = [f"slide-{number}.tiff" for number in range(5)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital with five slides; tests copy it."""
    home = write_slide_site(tmp_path_factory.mktemp("sites") / "hospital")
    write_slides(home, NAMES)
    write_table(home, NAMES)
    return home


@pytest.fixture
def home(site: Path, tmp_path: Path) -> Path:
    """A hospital of the test's own."""
    return Path(shutil.copytree(site, tmp_path / "hospital"))


def extract_all(home: Path, *, workers: int = 1):
    """What 'slides extract' does."""
    config, study = read_site(home), read_study(home)
    slides = list_slides(config, study).slides
    return run(config, study, slides, workers=workers, show=lambda _: None)


def arrays_of(home: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Features and coordinates of all slides."""
    found = {}
    for path in sorted((home / "features" / "features_mean-v1").glob("*.h5")):
        with h5py.File(path) as file:
            found[path.stem] = file["features"][:], file["coords"][:]
    return found


def require_same(one: dict, other: dict) -> None:
    """Bit for bit."""
    assert list(one) == list(other)
    for name, arrays in one.items():
        for mine, yours in zip(arrays, other[name], strict=True):
            np.testing.assert_array_equal(mine, yours)


@pytest.fixture(scope="module")
def arrays(site: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Those of a run that nothing stopped."""
    result = extract_all(site)
    assert (result.made, result.already, result.refused) == (5, 0, ())
    found = arrays_of(site)
    shutil.rmtree(site / "features")
    assert {features.shape[1] for features, _ in found.values()} == {WIDTH}
    return found


def maker_of(home: Path) -> Maker:
    """The study's encoder."""
    study = read_study(home)
    file = EncoderFile(home / "mean.onnx")
    encoder = load_encoder(study, file, threads=1, device="cpu")
    return Maker(study.extraction, encoder)


@pytest.mark.parametrize("workers", [2, 4])
def test_more_workers_give_the_same(home, arrays, workers):
    """One, two or four at a time."""
    extract_all(home, workers=workers)
    require_same(arrays_of(home), arrays)


def test_the_file_says_how_it_was_made(home):
    """Encoder with digest, resolution in microns, patch size; readers of features take it."""
    job = Job(home / "archive" / NAMES[0], home / "a.h5")
    maker = maker_of(home)
    found = extract(job, maker)
    facts = inspect_features(job.output, where="row 2")
    assert (facts.patches, facts.width, facts.encoder) == (found.patches, WIDTH, "mean-v1")
    assert facts.encoder_sha256 == maker.encoder.sha256
    assert facts.patch_microns == 32
    require_fit(
        facts, width=WIDTH, encoder="mean-v1", where="row 2", extraction=Extraction(**EXTRACTION)
    )
    with h5py.File(job.output) as file:
        placed = dict(file["coords"].attrs)
        assert (placed["level0_mpp"], placed["target_mpp"], placed["patch_size"]) == (0.5, 0.5, 64)
        assert placed["patch_size_level0"] == 64.0
    assert read_thumbnail(job.output).shape == (192, 192, 3)
    assert not draft_of(job.output).exists()
    assert oct(job.output.stat().st_mode)[-3:] == "600"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99, 1.0])
def test_a_part_is_gone_on_with(home, arrays, share):
    """Whatever length a kill left, the end is the same; a draft is told as unfinished."""
    job = Job(home / "archive" / NAMES[0], home / "a.h5")
    extract(job, maker_of(home))
    with h5py.File(job.output) as file:
        rows = file["features"][:].astype("<f4").tobytes()
    maker = _Stopping(maker_of(home))
    job.output.unlink()
    with pytest.raises(KeyboardInterrupt):
        extract(job, Maker(maker.extraction, maker))
    draft = draft_of(job.output)
    assert not is_done(job, maker_of(home).settings)
    draft.write_bytes(draft.read_bytes()[:HEAD_BYTES] + rows[: int(share * len(rows))])
    extract(job, maker_of(home))
    with h5py.File(job.output) as file:
        np.testing.assert_array_equal(file["features"][:], arrays["slide-0"][0])


class _Stopping:
    """An encoder that is stopped by Ctrl-C in its second batch."""

    def __init__(self, maker: Maker) -> None:
        self.extraction, self.inner, self.batches = maker.extraction, maker.encoder, 0
        self.name, self.sha256, self.width = self.inner.name, self.inner.sha256, WIDTH

    def encode(self, patches):
        """One batch."""
        self.batches += 1
        if self.batches == 2:
            raise KeyboardInterrupt
        return self.inner.encode(patches)


def test_killed_at_any_moment(home, arrays):
    """Kill -9 of the command again and again: no process stays, the end is the same."""
    clock = random.Random(4)
    for _ in range(5):
        _run_for(home, clock.uniform(0.8, 3.0))
    done = subprocess.run(
        [HERE / CLIENT, "slides", "extract", "--workers", "2"],
        cwd=home,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    require_same(arrays_of(home), arrays)
    assert not list((home / "features").rglob("*.part"))
    assert [p.name for p in (home / "features" / "features_mean-v1").glob(".*")] == [LOCK_FILE]


def _run_for(home: Path, seconds: float) -> None:
    running = subprocess.Popen(
        [HERE / CLIENT, "slides", "extract", "--workers", "2"],
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(seconds)
    running.kill()
    running.wait()
    require_end(running.pid)


def require_end(group: int, seconds: float = 20) -> None:
    """No process of a group is left after some seconds."""
    end = time.monotonic() + seconds
    while _group_lives(group):
        assert time.monotonic() < end
        time.sleep(0.05)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_is_done_is_not_done_again(home):
    """A second run finds everything; a changed slide, table or encoder is made again."""
    extract_all(home)
    assert (extract_all(home).made, extract_all(home).already) == (0, 5)
    write_tiff(home / "archive" / NAMES[1], tissue_image(np.random.default_rng(9), 1024), mpp=0.5)
    assert extract_all(home).made == 1
    write_table(home, NAMES, **{"slide-2": 0.45})
    assert extract_all(home).made == 1
    (home / "mean.onnx").unlink()
    write_encoder(home / "mean.onnx", outside="mean.onnx.data")
    assert extract_all(home).made == 5


def test_a_bad_slide_does_not_stop_the_others(home):
    """It is named with the reason; nothing of it stays."""
    destroy_tiles(home / "archive" / NAMES[3], only=5)  # of 16, in the tissue
    write_tiff(home / "archive" / NAMES[4], np.full((1024, 1024, 3), 250, np.uint8), mpp=0.5)
    result = extract_all(home, workers=2)
    assert result.made == 3
    refused = {one.slide.name: one.why for one in result.refused}
    assert set(refused) == {"slide-3", "slide-4"}
    assert "damaged" in refused["slide-3"]
    assert "no tissue" in refused["slide-4"]
    assert not list((home / "features").rglob("slide-3*"))


def test_a_slide_that_became_bad_leaves_no_old_features(home):
    """What was made of an earlier file is not trained on."""
    extract_all(home)
    write_tiff(home / "archive" / NAMES[0], np.full((1024, 1024, 3), 250, np.uint8), mpp=0.5)
    assert [one.slide.name for one in extract_all(home).refused] == ["slide-0"]
    assert not list((home / "features").rglob("slide-0*"))


def test_features_of_others_are_never_replaced(home):
    """A file that another program made stays, and the slide is refused."""
    path = home / "features" / "features_mean-v1" / "slide-0.h5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file["features"] = np.zeros((3, WIDTH), np.float32)
    before = path.read_bytes()
    refused = extract_all(home).refused
    assert [one.why for one in refused] == ["a feature file that was not made here is in its place"]
    assert path.read_bytes() == before


def test_a_damaged_feature_file_is_made_again(home, arrays):
    """Whatever is wrong with it."""
    extract_all(home)
    path = home / "features" / "features_mean-v1" / "slide-0.h5"
    content = bytearray(path.read_bytes())
    for place in range(8, len(content), 97):
        content[place] ^= 0xFF
    path.write_bytes(content)
    assert extract_all(home).made == 1
    require_same(arrays_of(home), arrays)


def test_features_of_other_settings_are_refused_by_check(home):
    """Another normalisation gives other numbers of the same width and size."""
    job = Job(home / "archive" / NAMES[0], home / "a.h5")
    extract(job, maker_of(home))
    facts = inspect_features(job.output, where="row 2")
    cut = Extraction(**EXTRACTION, mean=(0.5,) * 3, std=(0.2,) * 3)
    with pytest.raises(FeaturesError, match="row 2: cut or normalised otherwise"):
        require_fit(facts, width=WIDTH, encoder="mean-v1", where="row 2", extraction=cut)


class _Failing:
    """An encoder that runs out of memory in its second batch."""

    def __init__(self, maker: Maker) -> None:
        self.inner, self.batches = maker.encoder, 0
        self.name, self.sha256, self.width = self.inner.name, self.inner.sha256, WIDTH

    def encode(self, patches):
        """One batch."""
        self.batches += 1
        with at_work(self.name):
            if self.batches == 2:
                raise SlideError("out of memory")
            return self.inner.encode(patches)


def test_an_encoder_that_fails_ends_the_run_and_keeps_what_was_made(home, arrays):
    """It is not the slide's fault: the draft stays and is gone on with."""
    job, maker = Job(home / "archive" / NAMES[0], home / "a.h5"), maker_of(home)
    with pytest.raises(DeploymentError, match="failed while it worked"):
        extract(job, Maker(maker.extraction, _Failing(maker)))
    assert progress_of(draft_of(job.output))[0] == 32
    assert oct(draft_of(job.output).stat().st_mode)[-3:] == "600"
    extract(job, maker)
    with h5py.File(job.output) as file:
        np.testing.assert_array_equal(file["features"][:], arrays["slide-0"][0])


def test_ctrl_c_ends_at_once_without_a_traceback(home):
    """To the whole group, as a terminal sends it."""
    running = subprocess.Popen(
        [HERE / CLIENT, "slides", "extract", "--workers", "2"],
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + 60
    while not list((home / "features").rglob("*.part")) and time.monotonic() < end:
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=10)
    assert running.returncode == 1
    assert said == "ghanet-client: error: stopped\n"
    require_end(running.pid)


def test_only_one_run_at_a_time(home):
    """A second one in the same folder is refused."""
    folder = home / "features" / "features_mean-v1"
    folder.mkdir(parents=True)
    with (folder / LOCK_FILE).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DeploymentError, match="another 'slides extract'"):
            extract_all(home)


def test_a_full_disk_is_one_line(home, monkeypatch):
    """What was made is kept; nothing looks finished that is not."""
    job = Job(home / "archive" / NAMES[0], home / "a.h5")
    maker = maker_of(home)
    extract(job, maker)
    monkeypatch.setattr(h5py.File, "create_dataset", _full)
    job.output.unlink()
    with pytest.raises(OSError, match="No space"):
        extract(job, maker)
    assert not job.output.exists()
    assert draft_of(job.output).exists()
    monkeypatch.undo()
    extract(job, maker)
    assert is_done(job, maker.settings)


def _full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_other_features_in_the_folder_are_not_mixed(home):
    """A folder that holds CLAM's features is named."""
    other = home / "features" / "h5_files"
    other.mkdir(parents=True)
    with h5py.File(other / "a.h5", "w") as file:
        file["features"] = np.zeros((3, 4), np.float32)
    with pytest.raises(Exception, match="holds clam features already"):
        extract_all(home)


def test_an_unusable_encoder_is_said_once(home):
    """Before any slide is opened."""
    (home / "mean.onnx").write_bytes(b"no model")
    with pytest.raises(SlideError, match="onnxruntime cannot load it"):
        extract_all(home, workers=2)


def test_a_worker_that_is_killed_is_said(home):
    """Out of memory, say: one line, and a later run goes on."""
    running = subprocess.Popen(
        [HERE / CLIENT, "slides", "extract", "--workers", "1"],
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _kill_a_worker(running.pid)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "a worker was killed (out of memory?)" in said
    assert extract_all(home).made + extract_all(home).already >= 5


def _kill_a_worker(parent: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for line in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            command = Path(f"/proc/{line}/cmdline").read_bytes()
            if b"spawn_main" in command:
                os.kill(int(line), signal.SIGKILL)
                return
        time.sleep(0.01)
    raise TimeoutError
