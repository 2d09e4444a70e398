"""Releases: NAME.ghanet, a signed zip of weights, manifest and model card.

Where the study asks for it, models of other rounds are in it too: the ensemble.

The manifest holds the digest of every other file, the Ed25519 signature covers the manifest, and a
release is accepted only if it is byte for byte what this module would write from its content: no
byte of it can change unnoticed.
"""

import errno
import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .errors import GHANetError, KeysError, ReleaseError, SettingsError
from .files import canonical_json, read_file, sha256
from .genes import GenePanel
from .keys import is_signed, release_fingerprint, sign
from .network import Network, build_model
from .settings import FORMAT, parse
from .sizes import GHANetConfig
from .study import MOST_ENSEMBLE, NAME, StudyConfig
from .weights import Arrays, check_same_shape, from_safetensors, load_weights, to_safetensors

WEIGHTS, MANIFEST, CARD, SIGNATURE, ENSEMBLE = (
    "weights.safetensors",
    "manifest.json",
    "model_card.md",
    "manifest.sig",
    "ensemble.safetensors",  # tensors ROUND/NAME; only where there is an ensemble
)
_ORDER = (MANIFEST, SIGNATURE, CARD, WEIGHTS, ENSEMBLE)
MAX_BYTES = 2_000_000_000
NOTICE = "research use only, not for patient management"


@dataclass(frozen=True, slots=True)
class Release:
    """A verified release, ready to use."""

    name: str
    sha256: str  # of the whole file
    signed_by: str  # fingerprint of the release key
    study: StudyConfig
    panel: GenePanel
    risk_cutoffs: tuple[float, float]  # low | intermediate | high
    manifest: dict[str, Any]
    weights: Arrays
    ensemble: Mapping[int, Arrays] = field(default_factory=dict)  # weights of other rounds

    def named(self) -> dict[str, str]:
        """Which release it is, as answers say it."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "signed_by": self.signed_by,
            "study": self.study.digest,
        }

    def risk_group(self, risk: float) -> str:
        """low, intermediate or high, by the cut-offs that training set."""
        low, high = self.risk_cutoffs
        return "low" if risk < low else "high" if risk >= high else "intermediate"

    def model(self, round_number: int | None = None) -> Network:
        """The released model, or that of a round of the ensemble, in evaluation mode."""
        model = build_model(model_config(self.study, self.panel))
        load_weights(model, self.weights if round_number is None else self.ensemble[round_number])
        return model.eval()


def model_config(study: StudyConfig, panel: GenePanel) -> GHANetConfig:
    """The architecture that a study and its gene panel fix."""
    preset = GHANetConfig.preset(
        study.preset,
        group_sizes=panel.group_sizes,
        feature_width=study.feature_width,
        time_bins=study.time_bins,
        dropout=study.dropout,
    )
    return preset.scaled(study.width)


def make_release(
    manifest: dict[str, Any],
    weights: Arrays,
    card: str,
    *,
    key_file: Path,
    ensemble: Mapping[int, Arrays] | None = None,
) -> bytes:
    """Pack and sign a release.

    Args:
        manifest: what the release says of itself; format, files and signer are added here.
        weights: the model's weights.
        card: the model card, Markdown.
        key_file: the Ed25519 key that signs.
        ensemble: weights by round, which ``manifest`` names as ensemble: rounds.

    Raises:
        KeysError: the key cannot be read, or its public half is of another key.
    """
    public = key_file.with_name(key_file.name + ".pub").read_bytes()
    parts = {WEIGHTS: to_safetensors(weights), CARD: card.encode()}
    if ensemble:
        parts[ENSEMBLE] = to_safetensors(_named(ensemble))
    complete = {
        "format": FORMAT,
        **manifest,
        "files": {name: sha256(content) for name, content in parts.items()},
        "signed_by": release_fingerprint(public, where=key_file.name),
    }
    parts[MANIFEST] = canonical_json(complete)
    parts[SIGNATURE] = sign(key_file, parts[MANIFEST])
    if not is_signed(public, parts[SIGNATURE], parts[MANIFEST], where=key_file.name):
        raise KeysError(
            f"keys/{key_file.name} and keys/{key_file.name}.pub do not belong together",
            hint="restore both from the same backup",
        )
    return _pack(parts)


def read_release(path: Path, *, public_pem: bytes) -> Release:
    """Read and verify a release file.

    Raises:
        ReleaseError: missing, damaged, changed, unsigned, or signed by another key.
    """
    try:
        content = read_file(path, most=MAX_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise ReleaseError(f"{path.name}: larger than {MAX_BYTES} bytes") from None
        raise ReleaseError(
            f"{path.name}: no such release", hint="give the path of a .ghanet file"
        ) from None
    return verify_release(content, public_pem=public_pem, where=path.name)


def verify_release(content: bytes, *, public_pem: bytes, where: str) -> Release:
    """Verify the bytes of a release; see ``read_release``."""
    parts = _unpack(content, where)
    hint = "do not use it; ask the coordinator for the release again"
    if not is_signed(public_pem, parts[SIGNATURE], parts[MANIFEST], where="keys/release.pub"):
        raise ReleaseError(f"{where}: not signed by this consortium's release key", hint=hint)
    manifest = _read_manifest(parts[MANIFEST], where)
    files = manifest.get("files")
    if not isinstance(files, dict) or set(files) != set(parts) - {MANIFEST, SIGNATURE}:
        raise ReleaseError(f"{where}: its manifest lists other files than it holds", hint=hint)
    for name, digest in files.items():
        if sha256(parts[name]) != digest:
            raise ReleaseError(f"{where}: {name} was changed after signing", hint=hint)
    if _pack(parts) != content:
        raise ReleaseError(f"{where}: was changed after signing", hint=hint)
    return _release_of(manifest, parts, sha256(content), where)


def _release_of(
    manifest: dict[str, Any], parts: Mapping[str, bytes], digest: str, where: str
) -> Release:
    try:
        low, high = (float(cut) for cut in manifest["risk_cutoffs"])
        if not -math.inf < low <= high < math.inf:
            raise ReleaseError("cut-offs of risk are not in order")
        study = study_from_json(manifest["study"])
        release = Release(
            name=str(manifest["name"]),
            sha256=digest,
            signed_by=str(manifest["signed_by"]),
            study=study,
            panel=GenePanel.from_json(manifest["panel"], study=study),
            risk_cutoffs=(low, high),
            manifest=manifest,
            weights=from_safetensors(parts[WEIGHTS], where=where),
            ensemble=_read_ensemble(manifest, parts.get(ENSEMBLE), where),
        )
        _require_fit(release)
    except (
        *(KeyError, TypeError, ValueError, OverflowError, RecursionError),
        *(RuntimeError, MemoryError, GHANetError),
    ) as error:
        raise ReleaseError(f"{where}: its manifest cannot be used ({error})") from None
    if not NAME.fullmatch(release.name):
        raise ReleaseError(f"{where}: its name is not a file name")
    return release


def _require_fit(release: Release) -> None:
    """All weights must be those of the model, looked at before memory is taken for it."""
    with torch.device("meta"):
        empty = build_model(model_config(release.study, release.panel))
    like = {
        name: np.broadcast_to(np.float32(0), tuple(tensor.shape))
        for name, tensor in empty.state_dict().items()
    }
    for weights in (release.weights, *release.ensemble.values()):
        check_same_shape(weights, like)


def _named(ensemble: Mapping[int, Arrays]) -> Arrays:
    """All weights of an ensemble as one set of arrays, ROUND/NAME."""
    return {f"{number}/{name}": a for number, one in ensemble.items() for name, a in one.items()}


def _read_ensemble(
    manifest: dict[str, Any], content: bytes | None, where: str
) -> dict[int, Arrays]:
    """Weights by round, of exactly the rounds that the manifest names."""
    said = manifest.get("ensemble")
    rounds = said["rounds"] if said is not None else []
    if not isinstance(rounds, list) or len(rounds) > MOST_ENSEMBLE:
        raise ReleaseError(f"rounds of its ensemble are not a list of {MOST_ENSEMBLE} at most")
    if any(type(one) is not int or one < 1 for one in rounds) or rounds != sorted(set(rounds)):
        raise ReleaseError("rounds of its ensemble are not rising numbers")
    if (content is not None) != bool(rounds):
        raise ReleaseError("its ensemble is not what its manifest says")
    found: dict[int, Arrays] = {number: {} for number in rounds}
    by_name = {str(number): one for number, one in found.items()}
    for name, array in from_safetensors(content, where=where).items() if content else ():
        place, _, rest = name.partition("/")
        if place not in by_name:
            raise ReleaseError(f"its ensemble holds '{name[:80]}', of no round that it names")
        by_name[place][rest] = array
    return found


def study_from_json(values: Any) -> StudyConfig:
    """The study as a manifest holds it."""
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise SettingsError(f"study: not of format {FORMAT}")
    derived = ("format", "groups", "scaling")
    rest = {key: value for key, value in values.items() if key not in derived}
    groups = tuple((str(name), tuple(map(str, symbols))) for name, symbols in values["groups"])
    scaling = tuple((str(name), float(c), float(s)) for name, c, s in values["scaling"])
    return parse(rest, StudyConfig, where="study", groups=groups, scaling=scaling)


def _read_manifest(content: bytes, where: str) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError):
        raise ReleaseError(f"{where}: its manifest is not JSON") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ReleaseError(
            f"{where}: of another format than {FORMAT}", hint="use a newer ghanet-client"
        )
    return manifest


def _pack(parts: dict[str, bytes]) -> bytes:
    """The one zip of these parts: fixed order, time and mode, stored, not compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in (name for name in _ORDER if name in parts):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, parts[name])
    return buffer.getvalue()


def _unpack(content: bytes, where: str) -> dict[str, bytes]:
    """The parts of a release, four or five; stored only, so nothing can grow on reading."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if tuple(names) not in (_ORDER, _ORDER[:-1]):
                raise ReleaseError(f"{where}: not a release")
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ReleaseError(f"{where}: not a release (compressed)")
            if sum(entry.file_size for entry in entries) > len(content):
                raise ReleaseError(f"{where}: not a release (sizes)")
            return {name: archive.read(name) for name in names}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, RuntimeError):
        raise ReleaseError(f"{where}: not a whole release file") from None
