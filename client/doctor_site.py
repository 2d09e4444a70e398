"""The doctor's look at a hospital's folder: keys, approval, tables, features, the app's user.

Names no slide and no case: a file is called by the row that lists it.
"""

import os
import pwd
from collections.abc import Iterator, Mapping
from pathlib import Path

from ghanet_model.certificates import MOST_BYTES
from ghanet_model.doctor import Finding, expiry, fail, ok, private_files, warn, writable
from ghanet_model.door import (
    CERTIFICATE_FILE,
    KEY_FILE,
    REQUEST_FILE,
    door_key_fingerprint,
    read_site_certificate,
)
from ghanet_model.errors import FeaturesError, KeysError
from ghanet_model.files import read_file
from ghanet_model.invitation import CA_FILE
from ghanet_model.study import StudyConfig

from .app_user import PUBLIC, account_of, require_separate
from .approval import SOFTWARE, present, read_approval
from .changes import plain, software_words
from .cohort import Cohort, read_cohort
from .config import SiteConfig
from .features import FeatureFacts, describe_features, find_features, require_fit
from .seal import require_flower

SAMPLE = 500  # feature files of which the head is read
FOLDER, KEYS, APPROVAL, VERSIONS = "folder", "keys", "approval", "software"
TABLES, FEATURES, APP_USER, DOOR = "tables", "features", "app user", "door certificate"


def folder(config: SiteConfig) -> Iterator[Finding]:
    """Whether what a round leaves behind can be written."""
    names = ("", "state", "logs", "ledger", "inbox")
    yield writable(FOLDER, (config.folder / name for name in names))


def keys(config: SiteConfig) -> Iterator[Finding]:
    """Whether the private keys are there and nobody else's."""
    place = config.folder / "keys"
    for name in ("site_key", CA_FILE):
        if not (place / name).is_file():
            to_do = "run 'ghanet-client init' with your invitation"
            yield fail(KEYS, f"keys/{name} is missing", to_do)
            return
    yield private_files(KEYS, (one for one in sorted(place.iterdir()) if one.suffix not in PUBLIC))


def approval(config: SiteConfig) -> Iterator[Finding]:
    """Whether what lies here and is installed is what was approved; software says what differs."""
    to_do = "'ghanet-client approve' shows what it would approve"
    subject, before = present(config.folder), read_approval(config.folder)
    require_flower()
    torch, flwr = (subject.software.versions.get(name, "none") for name in ("torch", "flwr"))
    here = f"flwr {flwr}, torch {torch}, digest {subject.software.digest[:16]}"
    if before is None or not before.stands:
        what = "nothing is approved here" if before is None else "the approval was taken back"
        yield fail(APPROVAL, what, to_do)
        yield ok(VERSIONS, here)
        return
    agreed, found = before.subject.digests, subject.digests
    other = [what for what in found if what != SOFTWARE and found[what] != agreed[what]]
    if other:
        yield fail(APPROVAL, f"another {' and '.join(other)} than on {before.time}", to_do)
    else:
        yield ok(APPROVAL, f"study and app bundle as approved on {before.time}")
    if found[SOFTWARE] == agreed[SOFTWARE]:
        yield ok(VERSIONS, f"{here}, as approved")
    else:
        changed = "; ".join(map(plain, software_words(subject, before.subject)))
        yield fail(VERSIONS, f"not what was approved: {changed}", f"install that again, or {to_do}")


def tables(config: SiteConfig) -> Iterator[Finding]:
    """Whether every table can be read by this user; what they say is for 'check'."""
    for path in config.tables:
        if not path.exists():
            yield fail(TABLES, f"{path} is not there", "see site.yaml")
            return
        if not os.access(path, os.R_OK):
            yield fail(TABLES, *_closed(path))
            return
    yield ok(TABLES, f"{len(config.tables)} readable; 'ghanet-client check' says what is in them")


def _closed(path: Path) -> tuple[str, str]:
    """What keeps this user out, and what to do."""
    found = path.stat()
    mode = f"mode {found.st_mode & 0o7777:04o}, uid {found.st_uid}, gid {found.st_gid}"
    uid, gid = os.geteuid(), os.getegid()
    kind = "folder" if path.is_dir() else "file"
    return (
        f"uid {uid} (gid {gid}) cannot read a {kind} that has {mode}",
        f"let uid {uid} read below {path.parent if path.is_file() else path}, or run as its owner",
    )


def listed(config: SiteConfig, study: StudyConfig) -> Cohort:
    """What the slides table lists, as cases; of other tables nothing is read."""
    return read_cohort(config.slides_only(), study)[0]


def features(
    config: SiteConfig, study: StudyConfig, cohort: Cohort, heads: dict[str, FeatureFacts]
) -> Iterator[Finding]:
    """Whether every feature file opens and is the study's; of many a sample is looked into.

    Args:
        config: names the folder.
        study: what files must be.
        cohort: its slides.
        heads: gets what each slide's file says of itself.
    """
    if config.features.exists() and not os.access(config.features, os.R_OK | os.X_OK):
        yield fail(FEATURES, *_closed(config.features))
        return
    found, slides = find_features(config.features), cohort.slides
    paths = [found.files[one.slide_id] for one in slides if one.slide_id in found.files]
    closed = [path for path in paths if not os.access(path, os.R_OK)]
    if closed:
        what, to_do = _closed(closed[0])
        yield fail(FEATURES, f"{len(closed)} of {len(slides)} files are closed: {what}", to_do)
        return
    some = slides[:: -(-len(slides) // SAMPLE) or 1]
    bad = []
    for slide in some:
        try:
            path = found.file_of(slide.slide_id, where=slide.where)
            fact = describe_features(path, where=slide.where)
            heads[slide.slide_id] = fact
            width, encoder, cut = study.feature_width, study.encoder, study.extraction
            require_fit(fact, width=width, encoder=encoder, where=slide.where, extraction=cut)
        except FeaturesError as error:
            bad.append(error)
    yield _features_finding(found.kind, len(slides), len(some), bad)


def largest_bag(cohort: Cohort, heads: Mapping[str, FeatureFacts]) -> int:
    """Patches of the largest case, as far as its files were looked into."""
    known = {name: fact.patches for name, fact in heads.items()}
    bags = (sum(known.get(s.slide_id, 0) for s in case.slides) for case in cohort.cases)
    return max(bags, default=0)


def to_be_made(config: SiteConfig, cohort: Cohort) -> int:
    """Slides whose features this hospital makes here and has not made yet."""
    if config.slide_files is None:
        return 0
    try:
        made = find_features(config.features).files
    except FeaturesError:
        made = {}
    return sum(slide.slide_id not in made for slide in cohort.slides)


def _features_finding(kind: str, listed: int, looked: int, bad: list[FeaturesError]) -> Finding:
    sample = f"{looked} of {listed} listed files opened ({kind}), their heads read"
    if not listed:
        return fail(FEATURES, "the slides table lists no slide", "'ghanet-client check' says more")
    if bad:
        first = f"{sample}; {len(bad)} cannot be used, first: {bad[0]}"
        return fail(FEATURES, first, bad[0].hint or "'ghanet-client check' names all")
    return ok(FEATURES, sample)


def app_user(config: SiteConfig) -> Iterator[Finding]:
    """Whether the app's user can work and can read neither keys nor tables."""
    if config.app_user is None:
        me = pwd.getpwuid(os.geteuid()).pw_name if _has_name() else str(os.geteuid())
        yield ok(APP_USER, f"none is named: the app would run as '{me}', who reads keys and tables")
        return
    if os.geteuid() != 0:
        what = f"'{config.app_user}' can be looked at by root only, who alone starts programs as it"
        yield warn(APP_USER, what, "run 'ghanet-client doctor' as root")
        return
    account = account_of(config, config.app_user)
    require_separate(config, account)
    yield ok(APP_USER, f"'{account.name}' can run the app and reads neither keys nor tables")


def _has_name() -> bool:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return True


def door_certificate(config: SiteConfig) -> Iterator[Finding]:
    """Where this hospital shows a certificate of its own: whether it is in time and of its key."""
    place, key = config.folder / "keys" / CERTIFICATE_FILE, config.folder / "keys" / KEY_FILE
    to_do = f"send keys/{REQUEST_FILE} to the coordinator for a new one"
    if not place.exists():
        yield ok(DOOR, f"none: needed where the coordinator has a door, for keys/{REQUEST_FILE}")
        return
    try:
        found = read_site_certificate(read_file(place, most=MOST_BYTES), where=f"keys/{place.name}")
        is_of_key = found.key == door_key_fingerprint(key)
    except (OSError, KeysError):
        yield fail(DOOR, "keys/door.crt or keys/door.key is missing or unreadable", to_do)
        return
    if not is_of_key:
        yield fail(DOOR, "keys/door.crt is not of the key keys/door.key", to_do)
        return
    yield expiry(DOOR, found.ends, to_do, whose="this hospital's certificate")
