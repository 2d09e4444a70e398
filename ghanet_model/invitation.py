"""The invitation: one text file from coordinator to hospitals, public facts only."""

import base64
import binascii
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .bundle import BUNDLE_FILE, MOST_BYTES
from .certificates import certificate_fingerprint
from .errors import SettingsError
from .files import read_file, write_atomic, write_json
from .groups import NAME_HINT, is_groups_name, read_groups_text
from .keys import release_fingerprint
from .settings import FORMAT, read_yaml
from .study import STUDY_FILE, StudyConfig, read_study

INVITATION_FILE = "invitation.json"
CA_FILE, RELEASE_KEY_FILE = "ca.crt", "release.pub"


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a hospital needs to know of a consortium."""

    server: str  # host:port
    authority: str  # certificate of the consortium's authority, PEM
    release_key: str  # public key that releases are signed with, PEM
    study: str  # text of study.yaml
    gene_groups_name: str
    gene_groups: str  # text of the gene groups file
    gene_scaling_name: str  # '' where the study has none
    gene_scaling: str
    bundle: str  # the app bundle that runs will bring, base64

    def __post_init__(self) -> None:
        """Refuse a file name that could leave the folder or replace another file there."""
        _ = self.bundle_content
        for name in (self.gene_groups_name, *filter(None, [self.gene_scaling_name])):
            if not is_groups_name(name):
                raise SettingsError(
                    f"{INVITATION_FILE}: gene groups cannot be in a file {name[:80]!r}",
                    hint=NAME_HINT,
                )

    @property
    def gene_files(self) -> tuple[tuple[str, str, str], ...]:
        """Files that stand beside study.yaml: its setting, their name and text."""
        groups = ("gene_groups", self.gene_groups_name, self.gene_groups)
        scaling = ("gene_scaling", self.gene_scaling_name, self.gene_scaling)
        return (groups, scaling) if self.gene_scaling_name else (groups,)

    @property
    def bundle_content(self) -> bytes:
        """The app bundle; what is in it, 'approve' looks into."""
        try:
            content = base64.b64decode(self.bundle, validate=True)
        except (binascii.Error, ValueError):
            content = b""
        if not 0 < len(content) <= MOST_BYTES:
            raise SettingsError(
                f"{INVITATION_FILE}: no app bundle of at most {MOST_BYTES} bytes",
                hint=f"ask the coordinator for {INVITATION_FILE} again",
            )
        return content


def make_invitation(
    folder: Path, study: StudyConfig, *, server: str, keys: Path, bundle: bytes
) -> Invitation:
    """The invitation to the study in ``folder``, whose runs bring ``bundle``."""
    return Invitation(
        server=server,
        authority=(keys / CA_FILE).read_text(),
        release_key=(keys / "release.key.pub").read_text(),
        study=(folder / STUDY_FILE).read_text(encoding="utf-8"),
        gene_groups_name=study.gene_groups,
        gene_groups=read_groups_text(folder / study.gene_groups),
        gene_scaling_name=study.gene_scaling,
        gene_scaling=read_groups_text(folder / study.gene_scaling) if study.gene_scaling else "",
        bundle=base64.b64encode(bundle).decode(),
    )


def write_invitation(path: Path, invitation: Invitation) -> None:
    """Write it as JSON."""
    values = {name: getattr(invitation, name) for name in Invitation.__dataclass_fields__}
    write_json(path, {"format": FORMAT, **values})


def read_invitation(path: Path) -> Invitation:
    """Read an invitation.

    Raises:
        SettingsError: missing, not an invitation, or of another format.
    """
    hint = f"ask the coordinator for {INVITATION_FILE}"
    try:
        values = json.loads(read_file(path, most=MOST_BYTES).decode())
    except (OSError, ValueError, RecursionError):
        raise SettingsError(f"{path.name}: no readable invitation", hint=hint) from None
    fields = set(Invitation.__dataclass_fields__)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise SettingsError(f"{path.name}: not an invitation of format {FORMAT}", hint=hint)
    texts = {name: values.get(name) for name in fields}
    if set(values) != {*fields, "format"} or not all(isinstance(t, str) for t in texts.values()):
        raise SettingsError(f"{path.name}: not a whole invitation", hint=hint)
    return Invitation(**{name: str(text) for name, text in texts.items()})


def accept_invitation(folder: Path, invitation: Invitation) -> StudyConfig:
    """Write the invitation's files into a hospital's folder and read the study they make.

    Nothing is written unless all of it can be used.

    Raises:
        SettingsError: the study cannot be read, a file of the hospital's own would be replaced, or
            the invitation comes with other trust anchors than the hospital accepted before.
        KeysError: the release key is none.
    """
    _require_no_file_of_its_own(folder, invitation)
    anchors = {CA_FILE: invitation.authority, RELEASE_KEY_FILE: invitation.release_key}
    for name, text in anchors.items():
        _require_same_anchor(folder / "keys" / name, text)
    fingerprints(invitation)
    with tempfile.TemporaryDirectory() as trial:
        study = _write_study(Path(trial), invitation)
    for name, text in anchors.items():
        write_atomic(folder / "keys" / name, text.encode())
    _write_study(folder, invitation)
    write_atomic(folder / BUNDLE_FILE, invitation.bundle_content)
    return study


def _write_study(folder: Path, invitation: Invitation) -> StudyConfig:
    for _, name, text in invitation.gene_files:
        write_atomic(folder / name, text.encode())
    write_atomic(folder / STUDY_FILE, invitation.study.encode())
    return read_study(folder)


def fingerprints(invitation: Invitation) -> dict[str, str]:
    """What both sides compare by telephone: of the authority and of the release key.

    Raises:
        KeysError: the authority or the release key is none.
    """
    return {
        "authority": certificate_fingerprint(invitation.authority.encode()),
        "release key": release_fingerprint(invitation.release_key.encode(), where="invitation"),
    }


def _require_same_anchor(path: Path, text: str) -> None:
    if path.exists() and path.read_text() != text:
        raise SettingsError(
            f"the invitation has another keys/{path.name} than this hospital accepted before",
            hint=f"ask the coordinator why; if it is right, delete keys/{path.name} and try again",
        )


def _require_no_file_of_its_own(folder: Path, invitation: Invitation) -> None:
    """A file may replace that of an earlier invitation, never a hospital's own table."""
    study = folder / STUDY_FILE
    for setting, name, text in invitation.gene_files:
        path = folder / name
        if not path.exists() or path.read_bytes() == text.encode():
            continue
        if not study.exists() or read_yaml(study).get(setting) != name:
            raise SettingsError(
                f"{name}: exists and is not a {setting.replace('_', ' ')} file of this study",
                hint="rename it if it is yours, or ask the coordinator for another "
                f"{INVITATION_FILE}",
            )
