"""Encoders: ONNX runs as data, programs only where trusted, and only the study's own is used."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_files import write_encoder, write_tokens
from support import write_study

from client.encoders import BATCH, EncoderFile, digest_of, load_encoder, prepared
from ghanet_model.errors import SlideError
from ghanet_model.extraction import DEMONSTRATION, HANDCRAFTED, Extraction, encoder_terms
from ghanet_model.study import read_study

WIDTH = 8
PATCHES = np.random.default_rng(2).integers(0, 256, (BATCH + 5, 32, 32, 3)).astype(np.uint8)


def study_of(folder: Path, **extraction: object):
    """A study whose encoder gives WIDTH numbers."""
    cut = {"pixels": 32, "mpp": 1.0, **extraction}
    write_study(folder, encoder="mean-v1", feature_width=WIDTH, extraction=cut)
    return read_study(folder)


def load(study, path, trusted=""):
    """The study's encoder from a file."""
    return load_encoder(study, EncoderFile(path, trusted), threads=1, device="cpu")


def refusal(study, path, trusted="") -> str:
    """Why a file is refused; there is always something to do about it."""
    with pytest.raises(SlideError) as caught:
        load(study, path, trusted)
    assert caught.value.hint
    return f"{caught.value} | {caught.value.hint}"


class Pooled(torch.nn.Module):
    """What write_encoder's file does, in torch."""

    def __init__(self) -> None:
        super().__init__()
        matrix = np.random.default_rng(3).standard_normal((3, WIDTH)).astype(np.float32)
        self.matrix = torch.nn.Parameter(torch.from_numpy(matrix))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """(B, 3, P, P) to (B, WIDTH)."""
        return patches.mean(dim=(2, 3)) @ self.matrix


def test_onnx_is_what_torch_gives(tmp_path):
    """The same network in both, normalised as the study says."""
    cut = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
    study = study_of(tmp_path, **cut)
    encoder = load(study, write_encoder(tmp_path / "a.onnx"))
    assert (encoder.name, encoder.width) == ("mean-v1", WIDTH)
    assert encoder.sha256 == digest_of(tmp_path / "a.onnx")
    values = (PATCHES.transpose(0, 3, 1, 2) / 255 - np.reshape(cut["mean"], (3, 1, 1))) / (
        np.reshape(cut["std"], (3, 1, 1))
    )
    wanted = Pooled()(torch.from_numpy(values.astype(np.float32))).detach().numpy()
    np.testing.assert_allclose(encoder.encode(PATCHES), wanted, atol=1e-5)


def test_without_a_mean_pixels_are_from_0_to_1():
    """Nothing but a division by 255, channels first."""
    np.testing.assert_allclose(
        prepared(PATCHES, Extraction()), PATCHES.transpose(0, 3, 1, 2) / 255, atol=1e-7
    )


def test_the_studys_digest_must_be_met(tmp_path):
    """Another file of the same name and width is refused."""
    path = write_encoder(tmp_path / "a.onnx")
    assert load(study_of(tmp_path, sha256=digest_of(path)), path).width == WIDTH
    said = refusal(study_of(tmp_path, sha256="0" * 64), path)
    assert "has digest" in said
    assert digest_of(path) in said  # what a coordinator needs to write it down


def test_weights_beside_the_file_count(tmp_path):
    """Large models keep weights in MODEL.onnx.data; changing them changes the digest."""
    study, path = (
        study_of(tmp_path),
        write_encoder(tmp_path / "a.onnx", outside="a.onnx.data"),
    )
    first = load(study, path)
    beside = tmp_path / "a.onnx.data"
    beside.write_bytes(bytes(reversed(beside.read_bytes())))
    other = digest_of(path, beside)
    assert first.sha256 not in (digest_of(path), other)


@pytest.mark.parametrize("outside", ["../secret.bin", "below/weights.bin"])
def test_weights_elsewhere_are_refused(tmp_path, outside):
    """A model may not read a file that is not its own: its digest would not cover it."""
    home = tmp_path / "home"
    (home / "below").mkdir(parents=True)
    write_encoder(home / "a.onnx", outside=outside)
    assert "weights" in refusal(study_of(tmp_path), home / "a.onnx")


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda p: write_encoder(p, width=5), "gives 5 numbers per patch, the study has 8"),
        (lambda p: write_encoder(p, inputs=2), "takes 2 inputs"),
        (write_tokens, "pool tokens before exporting"),
        (lambda p: p.write_bytes(b"no model"), "onnxruntime cannot load it"),
        (lambda p: p.write_bytes(b""), "onnxruntime cannot load it"),
        (lambda _: None, "not found"),
    ],
)
def test_files_that_are_no_encoder(tmp_path, make, what):
    """Each is refused with what to do."""
    make(tmp_path / "a.onnx")
    assert what in refusal(study_of(tmp_path), tmp_path / "a.onnx")


def test_no_file_is_named(tmp_path):
    """site.yaml says where the encoder is."""
    assert "encoder_file" in refusal(study_of(tmp_path), None)


def test_another_kind_of_file(tmp_path):
    """A checkpoint is no encoder."""
    (tmp_path / "a.safetensors").touch()
    assert "no ONNX file" in refusal(study_of(tmp_path), tmp_path / "a.safetensors")


def save_exported(path: Path) -> None:
    """A .pt2 file with a free batch size."""
    batch = torch.export.Dim("batch", min=1, max=4096)
    example = (torch.rand(2, 3, 32, 32),)
    torch.export.save(torch.export.export(Pooled(), example, dynamic_shapes=({0: batch},)), path)


def save_script(path: Path) -> None:
    """A TorchScript file."""
    torch.jit.script(Pooled()).save(str(path))


@pytest.mark.filterwarnings("ignore")  # that TorchScript is deprecated
@pytest.mark.parametrize(("name", "save"), [("a.pt2", save_exported), ("a.ts", save_script)])
def test_programs_run_only_where_trusted(tmp_path, name, save):
    """The hint says what to write; with it the program gives what the ONNX file gives."""
    study, path = study_of(tmp_path), tmp_path / name
    save(path)
    said = refusal(study, path)
    assert "a program" in said
    assert said.endswith(f"encoder_trust: {digest_of(path)}")
    assert "a program" in refusal(study, path, trusted="0" * 64)
    encoder = load(study, path, trusted=digest_of(path))
    onnx = load(study, write_encoder(tmp_path / "a.onnx"))
    np.testing.assert_allclose(encoder.encode(PATCHES), onnx.encode(PATCHES), atol=1e-5)


class Mine:
    """Says so when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["a.pt2", "a.ts", "a.pt"])
def test_nothing_of_an_untrusted_program_runs(tmp_path, name):
    """A pickle with a command in it is not opened."""
    torch.save(Mine(tmp_path / "ran"), tmp_path / name)
    assert "a program" in refusal(study_of(tmp_path), tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_the_handcrafted_encoder_needs_no_file(tmp_path):
    """It is part of the software, and says what it is."""
    write_study(tmp_path, encoder=HANDCRAFTED, feature_width=1)
    study = read_study(tmp_path)
    with pytest.raises(SlideError, match="numbers per patch, the study has 1"):
        load(study, None)
    encoder = load(dataclasses.replace(study, feature_width=_handcrafted_width()), None)
    assert encoder.name == HANDCRAFTED
    assert "needs no file" in refusal(study, tmp_path / "a.onnx")
    assert encoder_terms(HANDCRAFTED, Extraction(licence="MIT")) == DEMONSTRATION


def _handcrafted_width() -> int:
    from client.handcrafted import HandcraftedEncoder  # noqa: PLC0415 - one test needs it

    return HandcraftedEncoder().width


def test_terms_are_handed_on():
    """What the study says of the licence; where it says nothing, that."""
    assert encoder_terms("uni", Extraction(licence="CC-BY-NC-ND-4.0")) == "CC-BY-NC-ND-4.0"
    assert "not stated" in encoder_terms("uni", Extraction())
