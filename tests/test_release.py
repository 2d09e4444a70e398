"""Releases: a signed file is accepted byte for byte as it was made, or not at all."""

import io
import json
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.errors import KeysError, ReleaseError
from ghanet_model.files import canonical_json, sha256
from ghanet_model.genes import GenePanel
from ghanet_model.keys import make_release_key, release_fingerprint, sign
from ghanet_model.network import new_model
from ghanet_model.release import (
    CARD,
    MANIFEST,
    SIGNATURE,
    WEIGHTS,
    make_release,
    model_config,
    read_release,
    study_from_json,
    verify_release,
)
from ghanet_model.study import StudyConfig
from ghanet_model.weights import to_safetensors, weights_of

STUDY = StudyConfig(
    name="demo",
    encoder="enc-v1",
    feature_width=8,
    time_bin_edges=(12.0, 36.0),
    gene_groups="groups.csv",
    groups=(("first", ("A", "B")), ("second", ("B",))),
    gene_types=("rnaseq",),
    preset="compact",
)
PANEL = GenePanel(
    groups=(("first", ("A_rnaseq", "B_rnaseq")), ("second", ("B_rnaseq",))),
    columns=("A_rnaseq", "B_rnaseq"),
    centre=(0.5, -0.25),
    scale=(1.0, 2.0),
    clip=3.0,
)
MODEL = new_model(model_config(STUDY, PANEL), seed=0)
STATED = {
    "name": "demo",
    "study": STUDY.as_json(),
    "panel": PANEL.to_json(),
    "risk_cutoffs": [-2.5, -1.5],
    "rounds": 3,
}


class Maker:
    """A coordinator with a release key: makes releases, good ones and others."""

    def __init__(self, folder: Path) -> None:
        self.key = folder / "release.key"
        make_release_key(self.key)
        self.public = (folder / "release.key.pub").read_bytes()
        self.content = self.make()

    def make(self, **changes: object) -> bytes:
        """A release, some of its manifest changed before signing."""
        return make_release(STATED | changes, weights_of(MODEL), "# card\n", key_file=self.key)

    def pack(self, parts: dict[str, bytes], *, signed: bool = True, **options: object) -> bytes:
        """A zip of these parts in the order given, its manifest signed anew."""
        if signed:
            parts = {**parts, SIGNATURE: sign(self.key, parts[MANIFEST])}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", **options) as archive:
            for name, content in parts.items():
                entry = zipfile.ZipInfo(name)
                entry.create_system, entry.external_attr = 3, 0o644 << 16
                entry.compress_type = archive.compression
                archive.writestr(entry, content)
        return buffer.getvalue()

    def verify(self, content: bytes):
        """The release of these bytes."""
        return verify_release(content, public_pem=self.public, where="demo.ghanet")

    def refuses(self, content: bytes) -> bool:
        """Whether the bytes are refused; any error but ReleaseError fails the test."""
        try:
            self.verify(content)
        except ReleaseError:
            return True
        return False


@pytest.fixture(scope="module")
def maker(tmp_path_factory):
    """One coordinator for all tests."""
    return Maker(tmp_path_factory.mktemp("keys"))


def parts_of(content: bytes) -> dict[str, bytes]:
    """The parts of a release, in their order."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_release_reads_back(maker, tmp_path):
    """Name, study, panel, cut-offs and signer are those that were released."""
    (tmp_path / "demo.ghanet").write_bytes(maker.content)
    release = read_release(tmp_path / "demo.ghanet", public_pem=maker.public)
    assert (release.name, release.study, release.panel) == ("demo", STUDY, PANEL)
    assert release.study.digest == STUDY.digest
    assert release.risk_cutoffs == (-2.5, -1.5)
    assert release.sha256 == sha256(maker.content)
    assert release.signed_by == release_fingerprint(maker.public, where="k")
    assert release.manifest["rounds"] == 3


def test_the_released_model_predicts_as_the_trained_one(maker):
    """Every number of a prediction is the same to the bit."""
    features = torch.randn(7, 8, generator=torch.Generator().manual_seed(1))
    before, after = (
        MODEL.predict([features]),
        maker.verify(maker.content).model().predict([features]),
    )
    assert torch.equal(before.survival, after.survival)
    assert torch.equal(before.risk, after.risk)
    assert all(torch.equal(a, b) for a, b in zip(before.genes, after.genes, strict=True))


def test_the_released_model_does_not_drop_out(maker):
    """It comes in evaluation mode: two predictions agree."""
    model, features = maker.verify(maker.content).model(), torch.ones(7, 8)
    assert not model.training
    assert torch.equal(model(features, [7]).hazards, model(features, [7]).hazards)


def test_a_release_is_made_the_same_way_twice(maker):
    """The same model and manifest are the same bytes: hospitals can compare digests."""
    assert maker.make() == maker.content


def test_every_changed_byte_is_refused(maker):
    """Ends, headers and a sample of all bytes: none can change, in any bit."""
    size, chance = len(maker.content), random.Random(0)
    headers = [maker.content.index(name.encode()) + i for name in parts_of(maker.content)
               for i in range(-30, 20)]  # fmt: skip
    places = {*range(200), *range(size - 200, size), *headers, *chance.sample(range(size), 200)}
    for place in places:
        changed = bytearray(maker.content)
        changed[place] ^= 1 << chance.randrange(8)
        assert maker.refuses(bytes(changed)), place


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_edits_are_refused(maker, data):
    """Bytes changed, cut out or put in anywhere: refused with our error and no other."""
    content = bytearray(maker.content)
    place = data.draw(st.integers(0, len(content)))
    gone, added = data.draw(st.integers(0, 50)), data.draw(st.binary(max_size=50))
    content[place : place + gone] = added
    assert maker.refuses(bytes(content)) == (bytes(content) != maker.content)


@given(content=st.binary(max_size=300), start=st.sampled_from([b"", b"PK\3\4", b"PK\5\6"]))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_refused(maker, content, start):
    """What is no release raises our error and no other."""
    assert maker.refuses(start + content)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_a_truncated_release_is_refused(maker, share):
    """A download that stopped is never used."""
    assert maker.refuses(maker.content[: int(share * (len(maker.content) - 1))])


def test_another_key_is_refused(maker, tmp_path):
    """A release of another consortium, or of a forger, is not ours."""
    other = Maker(tmp_path)
    with pytest.raises(ReleaseError, match="not signed by this consortium's") as caught:
        maker.verify(other.content)
    assert "ask the coordinator" in caught.value.hint


@pytest.mark.parametrize("signature", [bytes(64), b"", bytes(63), bytes(4096)])
def test_an_unsigned_release_is_refused(maker, signature):
    """Zeros, or a signature of another length, are no signature."""
    parts = parts_of(maker.content) | {SIGNATURE: signature}
    with pytest.raises(ReleaseError, match="not signed"):
        maker.verify(maker.pack(parts, signed=False))


def swapped(content: bytes, *, digest: bool) -> dict[str, bytes]:
    """Parts with other weights, and if wanted with their digest in the manifest."""
    arrays = {name: np.zeros_like(array) for name, array in weights_of(MODEL).items()}
    parts = parts_of(content) | {WEIGHTS: to_safetensors(arrays)}
    if digest:
        manifest = json.loads(parts[MANIFEST])
        manifest["files"][WEIGHTS] = sha256(parts[WEIGHTS])
        parts[MANIFEST] = canonical_json(manifest)
    return parts


def test_swapped_weights_are_refused(maker):
    """The manifest gives other weights away, and mending the manifest breaks the signature."""
    with pytest.raises(ReleaseError, match=r"weights\.safetensors was changed"):
        maker.verify(maker.pack(swapped(maker.content, digest=False), signed=False))
    with pytest.raises(ReleaseError, match="not signed"):
        maker.verify(maker.pack(swapped(maker.content, digest=True), signed=False))


def test_a_swapped_card_is_refused(maker):
    """The model card is part of what is signed."""
    parts = parts_of(maker.content) | {CARD: b"# for patient management"}
    with pytest.raises(ReleaseError, match=r"model_card\.md was changed"):
        maker.verify(maker.pack(parts, signed=False))


def test_the_maker_here_makes_what_is_accepted(maker):
    """The refusals below are not for the way in which these tests pack."""
    assert maker.verify(maker.pack(parts_of(maker.content))).name == "demo"


def test_a_compressed_zip_is_refused(maker):
    """Nothing is unpacked that could grow, though its signature is right."""
    packed = maker.pack(parts_of(maker.content), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ReleaseError, match="compressed"):
        maker.verify(packed)


@pytest.mark.parametrize("change", ["extra", "missing", "order", "twice"])
def test_other_members_are_refused(maker, change):
    """Exactly four files in their order; nothing rides along."""
    parts = parts_of(maker.content)
    if change == "extra":
        packed = maker.pack(parts | {"run.sh": b"x"})
    elif change == "missing":
        packed = maker.pack({n: c for n, c in parts.items() if n != CARD})
    elif change == "order":
        packed = maker.pack(dict(reversed(parts.items())))
    else:
        packed = maker.pack({**parts, CARD.replace("card", "cards"): b"x"})
        packed = packed.replace(b"model_cards.md", b"model_card.md\0")
    with pytest.raises(ReleaseError, match="not a release"):
        maker.verify(packed)


def test_a_comment_or_prefix_is_refused(maker):
    """A zip that differs only where zip readers do not look is not the release."""
    with zipfile.ZipFile(buffer := io.BytesIO(maker.content), "a") as archive:
        archive.comment = b"x"
    for content in (buffer.getvalue(), b"#!/bin/sh\n" + maker.content, maker.content + b"x"):
        assert maker.refuses(content)


@pytest.mark.parametrize("found", [0, 2, "1", None])
def test_a_manifest_of_another_format_is_refused_by_name(maker, found):
    """A release of a later version is refused with the advice to update."""
    with pytest.raises(ReleaseError, match="of another format than 1") as caught:
        maker.verify(maker.make(format=found))
    assert "newer" in caught.value.hint


@pytest.mark.parametrize("manifest", [b"", b"{", b"[]", b"3", b"\xff", b'{"format": 1}'])
def test_a_signed_manifest_that_is_none_is_refused(maker, manifest):
    """A signature does not make sense of nonsense."""
    assert maker.refuses(maker.pack(parts_of(maker.content) | {MANIFEST: manifest}))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../up"},
        {"name": ""},
        {"risk_cutoffs": [1.0]},
        {"risk_cutoffs": "ab"},
        {"risk_cutoffs": [2.0, 1.0]},
        {"risk_cutoffs": [None, 1.0]},
        {"risk_cutoffs": ["nan", 1.0]},
        {"panel": None},
        {"panel": PANEL.to_json() | {"clip": 4.0}},
        {"panel": PANEL.to_json() | {"scale": [0.0, 1.0]}},
        {"study": None},
        {"study": STUDY.as_json() | {"format": 2}},
        {"study": STUDY.as_json() | {"feature_width": 9}},
        {"study": STUDY.as_json() | {"extra": 1}},
        {"study": STUDY.as_json() | {"groups": [["x"]]}},
        {"study": STUDY.as_json() | {"groups": 3}},
        {"study": STUDY.as_json() | {"dropout": "x"}},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_a_signed_manifest_that_cannot_be_used_is_refused(maker, changes):
    """Weights, panel and study must fit each other, whoever signed them."""
    with pytest.raises(ReleaseError, match=r"demo\.ghanet: its "):
        maker.verify(maker.make(**changes))


def test_a_study_survives_its_manifest():
    """The study of a manifest, through JSON, is the study with the same digest."""
    found = study_from_json(json.loads(json.dumps(STUDY.as_json())))
    assert found == STUDY
    assert found.digest == STUDY.digest


def test_groups_are_bounded_by_the_cut_offs(maker):
    """Below the lower cut-off is low, from the upper one on is high."""
    release = maker.verify(maker.content)
    risks = [-9.0, np.nextafter(-2.5, -9), -2.5, np.nextafter(-1.5, -9), -1.5, 0.0]
    groups = ["low", "low", "intermediate", "intermediate", "high", "high"]
    assert [release.risk_group(risk) for risk in risks] == groups


def test_a_missing_file_has_a_hint(maker, tmp_path):
    """A path that leads nowhere, or to a folder, is our error."""
    for path in (tmp_path / "absent.ghanet", tmp_path):
        with pytest.raises(ReleaseError, match=rf"{path.name}: no such release") as caught:
            read_release(path, public_pem=maker.public)
        assert ".ghanet" in caught.value.hint


def test_a_bad_public_key_is_named(maker):
    """Without a readable key nothing is verified, and the key is at fault, not the release."""
    with pytest.raises(KeysError, match=r"keys/release\.pub"):
        verify_release(maker.content, public_pem=b"x", where="demo.ghanet")


def test_a_release_is_not_made_with_the_public_half_of_another(maker, tmp_path):
    """Key files that do not belong together make no release: nobody could verify it."""
    make_release_key(tmp_path / "release.key")
    (tmp_path / "release.key.pub").write_bytes(maker.public)
    with pytest.raises(KeysError, match="do not belong together"):
        make_release(STATED, weights_of(MODEL), "", key_file=tmp_path / "release.key")
