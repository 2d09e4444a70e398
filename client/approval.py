"""Approval: the study, the app bundle and the software that this hospital's IT agreed to run.

``approved.json`` keeps what was approved as it was, so that the next approval can show what
changed; digests are taken from that, never stored beside it. Nothing is approved by itself.
"""

import base64
import binascii
import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ghanet_model.bundle import BUNDLE_FILE, MOST_BYTES, Bundle, open_bundle
from ghanet_model.distribution import Distribution, installed
from ghanet_model.errors import ApprovalError
from ghanet_model.files import canonical_json, read_file, sha256, write_atomic
from ghanet_model.ledger import APPROVED, REFUSED
from ghanet_model.settings import FORMAT
from ghanet_model.study import StudyConfig, read_study

from .ledger import site_ledger

APPROVED_FILE = "approved.json"
STUDY, BUNDLE, SOFTWARE = "study", "app bundle", "software"
HINT = "'ghanet-client approve' shows what it would approve"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is or was to be approved."""

    study: Mapping[str, Any]  # as JSON, gene groups included
    bundle: bytes  # the file
    software: Distribution

    @property
    def opened(self) -> Bundle:
        """The bundle, looked into."""
        return open_bundle(self.bundle)

    @property
    def digests(self) -> dict[str, str]:
        """What a message, a bundle and the installed files are compared with."""
        study = sha256(canonical_json(self.study))
        return {STUDY: study, BUNDLE: sha256(self.bundle), SOFTWARE: self.software.digest}


@dataclass(frozen=True, slots=True)
class Approval:
    """The last approval of a hospital's folder."""

    time: str  # UTC, ISO 8601
    stands: bool  # False once it was taken back
    subject: Subject


def present(folder: Path) -> Subject:
    """What lies in the folder and is installed now.

    Raises:
        SettingsError: the study cannot be read.
        ApprovalError: there is no bundle, or one that nobody should approve.
    """
    study = json.loads(canonical_json(read_study(folder).agreed()))
    subject = Subject(study, _bundle_of(folder), installed())
    _ = subject.opened
    return subject


def _bundle_of(folder: Path) -> bytes:
    try:
        return read_file(folder / BUNDLE_FILE, most=MOST_BYTES)
    except OSError as error:
        raise ApprovalError(
            f"{BUNDLE_FILE} cannot be read ({error.strerror})",
            hint="run 'ghanet-client init --invitation' with the coordinator's invitation.json",
        ) from None


def read_approval(folder: Path) -> Approval | None:
    """The last approval; None if there never was one.

    Raises:
        ApprovalError: approved.json is damaged.
    """
    try:
        values = json.loads((folder / APPROVED_FILE).read_bytes())
        if values["format"] != FORMAT:
            raise ValueError  # noqa: TRY301 - one answer to all that is wrong with it
        bundle = base64.b64decode(values["bundle"], validate=True)
        subject = Subject(dict(values["study"]), bundle, Distribution(**values["software"]))
        return Approval(str(values["time"]), values["stands"] is True, subject)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        raise ApprovalError(
            f"{APPROVED_FILE} is damaged", hint=f"delete {APPROVED_FILE} and approve again"
        ) from None


def approve(folder: Path, subject: Subject) -> None:
    """From now on, answer for this study, bundle and software, and for nothing else."""
    digests = {what.replace(" ", "_"): digest for what, digest in subject.digests.items()}
    site_ledger(folder).append(APPROVED, **digests)
    _write(folder, Approval(_now(), stands=True, subject=subject))


def withdraw_approval(folder: Path) -> None:
    """From the next message on, answer nothing.

    Raises:
        ApprovalError: nothing is approved.
    """
    approval = read_approval(folder)
    if approval is None or not approval.stands:
        raise ApprovalError("nothing is approved in this folder")
    _write(folder, Approval(approval.time, stands=False, subject=approval.subject))
    site_ledger(folder).append(REFUSED, kind="approval", reason="taken back")


def _write(folder: Path, approval: Approval) -> None:
    values = {
        "format": FORMAT,
        "time": approval.time,
        "stands": approval.stands,
        "study": approval.subject.study,
        "bundle": base64.b64encode(approval.subject.bundle).decode(),
        "software": asdict(approval.subject.software),
    }
    write_atomic(folder / APPROVED_FILE, json.dumps(values, indent=1).encode(), private=True)


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def require_approved(folder: Path, study: StudyConfig) -> None:
    """Answer only for the approved study, with the approved software.

    Raises:
        ApprovalError: which of them is not approved.
    """
    software = installed().digest
    _require(folder, {STUDY: study.digest, SOFTWARE: software})
    if software != _loaded():
        raise ApprovalError(
            "the software changed while it ran", hint="stop 'ghanet-client start' and start again"
        )


@cache
def _loaded() -> str:
    """The digest when this process asked first: what is in its memory."""
    return installed().digest


def require_all_approved(folder: Path) -> None:
    """Connect only if what lies in the folder and is installed is what was approved.

    Raises:
        ApprovalError: which of the three is not approved.
    """
    _require(folder, present(folder).digests)


def require_bundle(folder: Path, content: bytes, claimed: str) -> None:
    """Run only the approved bundle, whatever the server calls it.

    Raises:
        ApprovalError: it is another one, is not what its name says, or carries code.
    """
    found = sha256(content)
    if found != claimed:
        raise ApprovalError(f"an app bundle came that is not the announced {claimed[:16]}")
    _require(folder, {BUNDLE: found})
    open_bundle(content)


def _require(folder: Path, digests: Mapping[str, str]) -> None:
    approval = read_approval(folder)
    if approval is None:
        raise ApprovalError("nothing is approved in this folder yet", hint=HINT)
    if not approval.stands:
        raise ApprovalError("the approval was taken back", hint=HINT)
    agreed = approval.subject.digests
    for what, digest in digests.items():
        if digest != agreed[what]:
            raise ApprovalError(
                f"the {what} with digest {digest[:16]} is not approved "
                f"(approved: {agreed[what][:16]})",
                hint=HINT,
            )
