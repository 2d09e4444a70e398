"""Slides of tests: OpenSlide opens them with the driver meant, and says what was written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openslide
import pytest
from mirax_file import write_mirax
from openslide import ImageSlide, OpenSlide, OpenSlideError, OpenSlideUnsupportedFormatError
from PIL import UnidentifiedImageError
from slide_files import (
    BROKEN,
    GLASS,
    MARKER,
    Rgb,
    broken_slides,
    destroy_tiles,
    marker_image,
    pyramid,
    tissue_image,
    tissue_mask,
    write_aperio,
    write_scn,
    write_tiff,
)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "slides"
SIDE = 640
AT = (301, 214)  # of the marker
OFFSET, PLANE = (302, 410), (1500, 1400)
GAPS = ((2, 2), (3, 2), (2, 3), (3, 3), (7, 5))  # a whole tile of level 1 and a quarter of one

Write = Callable[[Path, Rgb], object]
WRITERS = [
    ("generic-tiff", "a.tiff", lambda path, image: write_tiff(path, image, mpp=0.5)),
    ("aperio", "a.svs", lambda path, image: write_aperio(path, image, mpp=0.5)),
    (
        "leica",
        "a.scn",
        lambda path, image: write_scn(path, image, mpp=0.5, offset=OFFSET, collection=PLANE),
    ),
    ("mirax", "a.mrxs", lambda path, image: write_mirax(path, image, mpp=0.5)),
]


@pytest.fixture(scope="module")
def image() -> Rgb:
    """Tissue with a marker."""
    return marker_image(np.random.default_rng(5), SIDE, at=AT)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, image: Rgb) -> Path:
    """A folder of broken slides."""
    folder = tmp_path_factory.mktemp("broken") / "slides"
    assert list(broken_slides(folder, image)) == list(BROKEN)
    return folder


def corner(slide: OpenSlide) -> tuple[int, int]:
    """Where what was scanned begins, in level-0 pixels."""
    x, y = (int(slide.properties.get(f"openslide.bounds-{axis}", 0)) for axis in "xy")
    return x, y


def read(slide: OpenSlide, *, level: int = 0, side: int = SIDE) -> np.ndarray:
    """Pixels (side, side, 4) of what was scanned."""
    return np.asarray(slide.read_region(corner(slide), level, (side, side)))


@pytest.mark.parametrize(("vendor", "name", "write"), WRITERS)
def test_pixels(tmp_path: Path, image: Rgb, vendor: str, name: str, write: Write) -> None:
    """Each driver gives back the written pixels at both levels, opaque, and the resolution."""
    write(tmp_path / name, image)
    with OpenSlide(tmp_path / name) as slide:
        assert (
            slide.properties["openslide.vendor"] == vendor == slide.detect_format(slide._filename)
        )
        assert slide.level_downsamples == (1.0, 2.0)
        assert float(slide.properties["openslide.mpp-x"]) == 0.5
        assert float(slide.properties["openslide.mpp-y"]) == 0.5
        for level, wanted in enumerate(pyramid(image, 2)):
            pixels = read(slide, level=level, side=len(wanted))
            assert np.array_equal(pixels[..., :3], wanted)
            assert (pixels[..., 3] == 255).all()


@pytest.mark.parametrize(("vendor", "name", "write"), WRITERS)
def test_marker(tmp_path: Path, image: Rgb, vendor: str, name: str, write: Write) -> None:
    """The marker lies where it was planted, counted from where what was scanned begins."""
    write(tmp_path / name, image)
    with OpenSlide(tmp_path / name) as slide:
        x, y = corner(slide)
        pixels = np.asarray(slide.read_region((x + AT[0], y + AT[1]), 0, (17, 17)))
    marked = (pixels[..., :3] == MARKER).all(axis=2)
    assert marked[:16, :16].all()
    assert marked.sum() == 256


@pytest.mark.parametrize(("name", "begins"), [("a.scn", OFFSET), ("a.mrxs", (384, 640))])
def test_bounds(tmp_path: Path, image: Rgb, name: str, begins: tuple[int, int]) -> None:
    """SCN and MIRAX lie at an offset in a plane that is transparent beside them."""
    next(write for _, written, write in WRITERS if written == name)(tmp_path / name, image)
    with OpenSlide(tmp_path / name) as slide:
        assert corner(slide) == begins
        bounds = [int(slide.properties[f"openslide.bounds-{side}"]) for side in ("width", "height")]
        assert bounds == [SIDE, SIDE]
        assert slide.dimensions > (SIDE, SIDE)
        alpha = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., 3]
        assert alpha[begins[1] :, begins[0] :][:SIDE, :SIDE].all()
        assert alpha.astype(bool).sum() == SIDE**2


def test_scn_odd_scale(tmp_path: Path, image: Rgb) -> None:
    """An SCN's offset holds where a pixel is no whole number of nanometres."""
    path = tmp_path / "a.scn"
    write_scn(path, image, mpp=0.2527, offset=OFFSET, collection=PLANE)
    with OpenSlide(path) as slide:
        assert corner(slide) == OFFSET
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.2527)
        assert np.array_equal(read(slide)[..., :3], image)


def test_mirax_gaps(tmp_path: Path, image: Rgb) -> None:
    """Tiles that were not scanned are transparent; at level 1 only where all four are missing."""
    write_mirax(tmp_path / "a.mrxs", image, mpp=0.5, gaps=GAPS)
    missing = np.zeros((SIDE, SIDE), bool)
    for column, row in GAPS:
        missing[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64] = True
    with OpenSlide(tmp_path / "a.mrxs") as slide:
        full, half = read(slide), read(slide, level=1, side=SIDE // 2)
    assert np.array_equal(full[..., 3] == 0, missing)
    assert np.array_equal(full[~missing][:, :3], image[~missing])
    assert (half[64:128, 64:128, 3] == 0).all()
    assert (half[..., 3] == 0).sum() == 64**2
    assert (half[160:192, 224:256] == 255).all()


def test_aperio_facts(tmp_path: Path, image: Rgb) -> None:
    """An SVS has its objective, a thumbnail, and the label and macro that must never be read."""
    write_aperio(tmp_path / "a.svs", image, mpp=0.25, objective=40)
    write_aperio(tmp_path / "b.svs", image, mpp=None)
    with OpenSlide(tmp_path / "a.svs") as slide, OpenSlide(tmp_path / "b.svs") as unscaled:
        assert slide.properties["openslide.objective-power"] == "40"
        assert slide.properties["openslide.mpp-x"] == "0.25"
        assert set(slide.associated_images) == {"thumbnail", "label", "macro"}
        assert slide.associated_images["label"].size == (SIDE // 8, SIDE // 8)
        assert unscaled.properties["openslide.objective-power"] == "20"
        assert "openslide.mpp-x" not in unscaled.properties


def test_odd_pyramid(tmp_path: Path) -> None:
    """A TIFF of odd sizes, three levels and small tiles reads back."""
    image = tissue_image(np.random.default_rng(1), 333)[:301]
    write_tiff(tmp_path / "a.tiff", image, mpp=0.4, levels=3, tile=64)
    with OpenSlide(tmp_path / "a.tiff") as slide:
        assert slide.level_dimensions == ((333, 301), (166, 150), (83, 75))
        pixels = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))
        assert np.array_equal(pixels[..., :3], image)


@pytest.mark.parametrize("name", ["picture.tiff", "empty.svs", "alone.mrxs", "cut.tiff"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of the cut file
def test_no_slide(broken: Path, name: str) -> None:
    """Four files are no slides; a picture becomes one if Pillow may look at it."""
    assert OpenSlide.detect_format(broken / name) is None
    with pytest.raises(OpenSlideUnsupportedFormatError):
        OpenSlide(broken / name)
    if name == "picture.tiff":
        assert isinstance(openslide.open_slide(broken / name), ImageSlide)
    else:
        with pytest.raises(UnidentifiedImageError):
            openslide.open_slide(broken / name)


@pytest.mark.parametrize(
    ("name", "mpp"),
    [
        ("unscaled.tiff", None),
        ("screen.tiff", 352.78),
        ("fine.tiff", 0.01),
        ("coarse.tiff", 4.0),
        ("blank.tiff", 0.5),
    ],
)
def test_doubtful(broken: Path, image: Rgb, name: str, mpp: float | None) -> None:
    """Five slides read well, and their resolution or their emptiness is what is wrong."""
    with OpenSlide(broken / name) as slide:
        said = slide.properties.get("openslide.mpp-x")
        pixels = read(slide)[..., :3]
    assert said is None if mpp is None else float(said) == pytest.approx(mpp, rel=1e-4)
    assert (pixels == 255).all() if name == "blank.tiff" else np.array_equal(pixels, image)


def test_destroyed(broken: Path) -> None:
    """A slide of destroyed tiles opens, fails when read, and its handle stays dead."""
    with OpenSlide(broken / "destroyed.tiff") as slide:
        assert slide.dimensions == (SIDE, SIDE)
        for level in (0, 1):
            with pytest.raises(OpenSlideError):
                slide.read_region((0, 0), level, (8, 8))
        with pytest.raises(OpenSlideError):
            _ = slide.dimensions
    with OpenSlide(broken / "destroyed.tiff") as slide:
        assert slide.dimensions == (SIDE, SIDE)


def test_destroyed_last(tmp_path: Path, image: Rgb) -> None:
    """Where only the last tile is destroyed, level 1 and the first patches are read."""
    write_tiff(tmp_path / "a.tiff", image, mpp=0.5)
    destroy_tiles(tmp_path / "a.tiff", only=-1)
    with OpenSlide(tmp_path / "a.tiff") as slide:
        assert np.array_equal(read(slide, level=1, side=SIDE // 2)[..., :3], pyramid(image, 2)[1])
        assert np.array_equal(read(slide, side=512)[..., :3], image[:512, :512])
        with pytest.raises(OpenSlideError):
            read(slide)


def test_tissue() -> None:
    """Tissue is darker than glass, coloured, and where the mask says; a seed repeats it."""
    image, again = (tissue_image(np.random.default_rng(3), 512) for _ in range(2))
    mask = tissue_mask(512)
    spread = image.max(axis=2).astype(int) - image.min(axis=2)
    assert np.array_equal(image, again)
    assert 0.30 < mask.mean() < 0.31
    assert np.array_equal(spread > 30, mask)
    assert np.abs(image[~mask].astype(int) - GLASS).max() <= 3
    assert image[mask].std(axis=0).min() > 10
    assert not (image == MARKER).all(axis=2).any()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the sample slides are not part of the repository")
def test_samples(tmp_path: Path) -> None:
    """What others wrote behaves alike: a dead handle; a DICOM slide in two files, in either."""
    with OpenSlide(SHARED / "openslide-py-unreadable.svs") as slide:
        with pytest.raises(OpenSlideError):
            slide.read_region((0, 0), 0, (8, 8))
        with pytest.raises(OpenSlideError):
            _ = slide.dimensions
    names = [f"openslide-py-boxes_{number}.dcm" for number in (0, 1)]
    first, second = (OpenSlide(SHARED / name) for name in names)
    with first, second:
        assert dict(first.properties) == dict(second.properties)
    (tmp_path / names[1]).write_bytes((SHARED / names[1]).read_bytes())
    with pytest.raises(OpenSlideError, match="No pyramid levels found"):
        OpenSlide(tmp_path / names[1])
