"""The site: what one hospital says about itself in site.yaml. Never leaves the hospital."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from ghanet_model.errors import SettingsError
from ghanet_model.settings import read_settings
from ghanet_model.study import NAME

SITE_FILE = "site.yaml"
LOG_FILE = "site.log"  # in logs/: what was done and what left
FOLDER_VARIABLE = "GHANET_SITE_FOLDER"  # tells the Flower app whose it is
_SERVER = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")
_DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True, slots=True)
class Columns:
    """What this hospital's tables call things."""

    case_id: str = "case_id"
    slide_id: str = "slide_id"
    time: str = "time"  # months of follow-up
    event: str = "event"  # 1 = died
    censorship: str | None = None  # 1 = censored; if named, it is used instead of ``event``
    split: str = "split"  # train, val or test; may be absent


@dataclass(frozen=True, slots=True)
class SiteConfig:
    """One hospital's settings; paths are absolute once read."""

    name: str
    server: str  # host:port of the coordinator
    slides: Path  # table: which slide belongs to which case
    features: Path  # a CLAM or TRIDENT folder
    encoder: str  # the patch encoder that made the features
    folder: Path  # where site.yaml is
    clinical: Path | None = None  # table of outcomes; None: this site only predicts
    genes: Path | None = None  # table of genes; None: slides only
    columns: Columns = field(default_factory=Columns)
    device: str = "cpu"  # cpu, cuda, cuda:1 or mps
    threads: int = 2
    cache_megabytes: int = 2000  # memory for features; 0: every file is read each time

    def __post_init__(self) -> None:
        """Refuse what cannot work, before anything is read or opened."""
        require_site_name(self.name)
        require_server(self.server)
        if not self.encoder.strip():
            raise _wrong("encoder", self.encoder, "the name of the patch encoder, as in the study")
        if not _DEVICE.fullmatch(self.device):
            raise _wrong("device", self.device, "cpu, cuda, cuda:1 or mps")
        if self.threads < 1:
            raise _wrong("threads", self.threads, "1 or more")
        if self.cache_megabytes < 0:
            raise _wrong("cache_megabytes", self.cache_megabytes, "0 or more")


def require_site_name(name: str) -> None:
    """A site's name becomes a file name and a name on the board."""
    if not NAME.fullmatch(name):
        raise _wrong("name", name, "small letters, digits and '-', 63 at most")


def require_server(server: str) -> None:
    """A server is host:port."""
    match = _SERVER.fullmatch(server)
    if not match or not 1 <= int(match[1]) <= 65535:
        raise _wrong("server", server, "host:port, for example ghanet.example.org:443")


def _wrong(key: str, value: object, wanted: str) -> SettingsError:
    return SettingsError(f"{SITE_FILE}: '{key}' is {value!r}", hint=f"use {wanted}")


def read_site(folder: Path) -> SiteConfig:
    """Read site.yaml from ``folder``; relative paths in it start there.

    Raises:
        SettingsError: anything missing, misspelt or impossible.
    """
    folder = folder.resolve()
    site = read_settings(folder / SITE_FILE, SiteConfig, folder=folder)
    return replace(
        site,
        slides=_path(folder, site.slides),
        features=_path(folder, site.features),
        clinical=_path(folder, site.clinical) if site.clinical else None,
        genes=_path(folder, site.genes) if site.genes else None,
    )


def _path(folder: Path, path: Path) -> Path:
    try:
        return folder / path.expanduser()
    except RuntimeError:
        raise SettingsError(f"{SITE_FILE}: no home folder for '~' in a path") from None


def site_template(*, name: str, server: str) -> str:
    """The text of a first site.yaml, to be edited by the hospital."""
    require_site_name(name)
    require_server(server)
    return f"""\
format: 1

# Who you are, and where the coordinator is.
name: {name}
server: {server}

# Your files. Relative paths start in the folder of this file. Nothing of them leaves the hospital.
slides: slides.csv        # one row per slide: case_id, slide_id
features: features        # a CLAM folder (with h5_files) or a TRIDENT job folder
encoder: CHANGE-ME        # the patch encoder that made the features, as study.yaml names it
clinical: clinical.csv    # one row per case: case_id, time (months), event; optional
# genes: genes.parquet    # one row per case: case_id, SYMBOL_rnaseq, SYMBOL_cnv, ...; optional

# Where your tables use other names, say so:
# columns:
#   case_id: patient
#   slide_id: slide
#   time: survival_months
#   event: died             # 1 = died
#   censorship: censored    # 1 = censored; if named, it is used instead of event
#   split: split            # train, val or test; without it the study decides

device: cpu    # cpu, cuda, cuda:1 or mps
threads: 2
cache_megabytes: 2000    # memory that keeps features between rounds; 0: read files each time
"""
