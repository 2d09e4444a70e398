"""The site: what one hospital says about itself in site.yaml. Never leaves the hospital."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from ghanet_model.errors import SettingsError
from ghanet_model.settings import read_settings
from ghanet_model.study import NAME

from .policy import Budget, Policy

SITE_FILE = "site.yaml"
LOG_FILE = "site.log"  # in logs/: what was done and what left
FOLDER_VARIABLE = "GHANET_SITE_FOLDER"  # tells the Flower app whose it is
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"  # between the dots of a name
_SERVER = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\]):(\d{{1,5}})")
_DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?")
TIME_UNITS = ("months", "days", "years")
DAY_FIRST, MONTH_FIRST = DATE_ORDERS = ("day first", "month first")


@dataclass(frozen=True, slots=True)
class Columns:
    """What this hospital's tables call things."""

    case_id: str = "case_id"
    slide_id: str = "slide_id"
    time: str = "time"  # follow-up, in the site's ``time_unit``
    event: str = "event"  # 1 = died
    censorship: str | None = None  # 1 = censored; if named, it is used instead of ``event``
    split: str = "split"  # train, val or test; may be absent
    start: str | None = None  # date of diagnosis; with ``end`` used instead of ``time``
    end: str | None = None  # date of death or last contact
    age: str = "age"  # years; this and the next three may be absent
    sex: str = "sex"  # female or male
    grade: str = "grade"  # G1 to G4, low or high grade
    stage: str = "stage"  # I to IV
    mpp: str = "mpp"  # microns per pixel of a slide where its file is silent; may be absent

    def __post_init__(self) -> None:
        """Refuse names of columns that contradict each other."""
        if (self.start is None) != (self.end is None):
            raise _wrong("columns", "one of start and end", "both dates, or neither")
        if self.start is not None and self.time != "time":
            raise _wrong("columns", "both time and start", "either time, or start and end")


@dataclass(frozen=True, slots=True)
class EventWords:
    """What this hospital's tables say of an event, where it is not understood already."""

    died: tuple[str, ...] = ()
    alive: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a word that would mean both."""
        both = {word.casefold() for word in self.died} & {word.casefold() for word in self.alive}
        if both:
            raise _wrong("event_words", min(both), "a word for died or for alive, not for both")


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
    cbioportal: Path | None = None  # a study folder, in place of ``clinical`` and ``genes``
    cbioportal_expression: str | None = None  # its expression file, where there are several
    slide_files: Path | None = None  # folder of slide images, to extract features from
    encoder_file: Path | None = None  # the study's encoder: MODEL.onnx
    encoder_trust: str = ""  # SHA-256 of an encoder that is a program and may run
    columns: Columns = field(default_factory=Columns)
    time_unit: str = "months"  # of the column ``time``
    date_order: str | None = None  # of dates such as 01/02/2020; None: the table must tell
    event_words: EventWords = field(default_factory=EventWords)
    device: str = "cpu"  # cpu, cuda, cuda:1 or mps
    threads: int = 2
    cache_megabytes: int = 2000  # memory for features; 0: every file is read each time
    extra_authority: Path | None = None  # of a proxy that opens TLS, where IT wants that
    app_user: str | None = None  # who Flower's app runs as; None: who runs 'start'
    policy: Policy = field(default_factory=Policy)  # what may leave at the most
    privacy: Budget = field(default_factory=Budget)  # what noise may cost its cases at the most

    def __post_init__(self) -> None:
        """Refuse what cannot work, before anything is read or opened."""
        require_site_name(self.name)
        require_server(self.server)
        if not self.encoder.strip():
            raise _wrong("encoder", self.encoder, "the name of the patch encoder, as in the study")
        if not _DEVICE.fullmatch(self.device):
            raise _wrong("device", self.device, "cpu, cuda, cuda:1 or mps")
        _require_tables(self)
        if self.threads < 1:
            raise _wrong("threads", self.threads, "1 or more")
        if self.cache_megabytes < 0:
            raise _wrong("cache_megabytes", self.cache_megabytes, "0 or more")

    def slides_only(self) -> "SiteConfig":
        """The same site as if it had slides and nothing else."""
        return replace(self, clinical=None, genes=None, cbioportal=None, cbioportal_expression=None)

    @property
    def tables(self) -> tuple[Path, ...]:
        """Every file that the cohort is read from; it is another one as soon as one changes."""
        named = [path for path in (self.slides, self.clinical, self.genes) if path]
        if self.cbioportal is None:
            return tuple(named)
        return (*named, self.cbioportal, *sorted(self.cbioportal.glob("**/*.txt")))


def _require_tables(site: SiteConfig) -> None:
    """What is said of the tables must not contradict itself."""
    if site.time_unit not in TIME_UNITS:
        raise _wrong("time_unit", site.time_unit, f"one of {', '.join(TIME_UNITS)}")
    if site.date_order not in (None, *DATE_ORDERS):
        raise _wrong("date_order", site.date_order, f"one of {', '.join(DATE_ORDERS)}")
    if site.columns.start is not None and site.time_unit != "months":
        raise _wrong("time_unit", site.time_unit, "no time_unit where dates are read")
    if site.cbioportal is not None and (site.clinical or site.genes):
        table = "clinical" if site.clinical else "genes"
        raise _wrong("cbioportal", f"named beside {table}", f"only one: the folder or {table}")
    if site.cbioportal is None and site.cbioportal_expression is not None:
        raise _wrong("cbioportal_expression", "named without cbioportal", "both, or neither")


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
        cbioportal=_path(folder, site.cbioportal) if site.cbioportal else None,
        slide_files=_path(folder, site.slide_files) if site.slide_files else None,
        encoder_file=_path(folder, site.encoder_file) if site.encoder_file else None,
        extra_authority=_path(folder, site.extra_authority) if site.extra_authority else None,
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
features: features        # a folder of CLAM, TRIDENT, STAMP or slideflow; 'slides extract' fills it
encoder: CHANGE-ME        # the patch encoder that made the features, as study.yaml names it
# Tables are CSV (commas, semicolons or tabs), Excel (.xlsx) or Parquet.
clinical: clinical.csv    # one row per case: case_id, time (months), event; optional
# genes: genes.parquet    # one row per case: case_id, SYMBOL_rnaseq, SYMBOL_cnv, ...; optional
# cbioportal: study_folder     # a cBioPortal study as it is, in place of clinical and genes

# To make features from slides here ('ghanet-client slides check', then 'slides extract'):
# slide_files: slides         # folder of .svs, .ndpi, .mrxs, .tiff, .dcm, ... at any depth
# encoder_file: encoder.onnx  # the study's encoder

# Where your tables use other names, say so:
# columns:
#   case_id: patient
#   slide_id: slide
#   mpp: microns            # of the slides table: microns per pixel where a file does not say it
#   time: survival_months
#   event: died             # 1 = died
#   censorship: censored    # 1 = censored; if named, it is used instead of event
#   split: split            # train, val or test; without it the study decides
#   start: diagnosed        # a date; with end, in place of time
#   end: last_seen          # a date, of death or last contact
#   age: age_at_diagnosis   # years; for the clinical baseline that the model is compared with
#   sex: gender             # female, male
#   grade: tumour_grade     # G1 to G4, low grade, high grade
#   stage: ajcc_stage       # I to IV, with or without letters

# time_unit: months         # of the column time: months, days or years
# date_order: day first     # where dates such as 01/02/2020 leave it open; or month first
# event_words: {{died: [verst.], alive: [nachbeobachtet]}}    # own words, where asked for

device: cpu    # cpu, cuda, cuda:1 or mps
threads: 2
cache_megabytes: 2000    # memory that keeps features between rounds; 0: read files each time
# extra_authority: it.pem  # only if your IT's proxy opens TLS connections and must open this one
# app_user: ghanet-app   # if root runs 'start': the user that may read neither keys nor tables

# What may leave at the most; a stricter study counts, and so do you:
# policy:
#   minimum_cases: 10         # no sum over fewer cases, no count of deaths or survivors below it
#   answers_per_day: 500      # of each kind
#   megabytes_per_day: 20000

# What all private studies of these cases together may cost them; see docs/privacy.md:
# privacy:
#   epsilon: 3              # the most; without it, what the study says. Others are then refused
#   ledger: ../ledger       # a folder that all studies of these cases name; without it this one's
#   cohort: bladder         # a name, where that ledger is of several cohorts
"""
