"""A cBioPortal study folder as it is: which of its files hold patients, samples and genes.

Files are found by what meta_*.txt say of them, else by their usual names.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from ghanet_model.errors import CohortError

from .config import Columns
from .covariates import PATIENT_COVARIATES, covariate_columns
from .delimited import letters_of

PATIENT, SAMPLE, SYMBOL = "PATIENT_ID", "SAMPLE_ID", "Hugo_Symbol"
_LARGEST_META = 1_000_000  # bytes
_MONTHS, _STATUS = "_MONTHS", "_STATUS"


@dataclass(frozen=True, slots=True)
class _Role:
    """What a file is for: how meta files call it, and its usual names."""

    word: str
    alteration: str
    datatypes: tuple[str, ...]  # empty: any
    names: tuple[str, ...]


_PATIENTS = _Role(
    "patients",
    "CLINICAL",
    ("PATIENT_ATTRIBUTES",),
    ("data_clinical_patient.txt", "data_bcr_clinical_data_patient.txt"),
)
_SAMPLES = _Role(
    "samples",
    "CLINICAL",
    ("SAMPLE_ATTRIBUTES",),
    ("data_clinical_sample.txt", "data_bcr_clinical_data_sample.txt"),
)
_EXPRESSION = _Role(
    "expression",
    "MRNA_EXPRESSION",
    ("CONTINUOUS", "Z-SCORE"),
    ("data_mrna*.txt", "data_rna*.txt", "data_expression*.txt"),
)
_COPY_NUMBER = _Role("copy number", "COPY_NUMBER_ALTERATION", ("DISCRETE",), ("data_cna.txt",))
_MUTATIONS = _Role(
    "mutations",
    "MUTATION_EXTENDED",
    (),
    ("data_mutations.txt", "data_mutations_extended.txt", "data_mutations_mskcc.txt"),
)


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """The files of a cBioPortal study that a site is read from."""

    name: str  # of the folder
    patients: Path
    samples: Path
    columns: Columns  # of the patients' file
    expression: Path | None = None
    copy_number: Path | None = None
    mutations: Path | None = None
    sequenced: Path | None = None  # case list: which samples were looked at for mutations
    understood: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Meta:
    """What one meta file says."""

    alteration: str
    datatype: str
    data: Path


def find_study_folder(folder: Path, columns: Columns, expression: str | None) -> StudyFolder:
    """Find the files of a study.

    Args:
        folder: where data_*.txt are.
        columns: as site.yaml names them; OS_MONTHS and OS_STATUS where it does not.
        expression: the name of the expression file, if site.yaml chooses one.

    Raises:
        CohortError: no such folder, no patients or samples, or no such expression file.
    """
    if not folder.is_dir():
        raise CohortError("not found", hint="cbioportal in site.yaml is a study's folder")
    metas = _metas(folder)
    patients = _needed(folder, metas, _PATIENTS)
    samples = _needed(folder, metas, _SAMPLES)
    matrices = _files(folder, metas, _EXPRESSION)
    chosen, how = _expression(matrices, expression, metas)
    others = {_COPY_NUMBER: None, _MUTATIONS: None} | {
        role: found[0]
        for role in (_COPY_NUMBER, _MUTATIONS)
        if (found := _files(folder, metas, role))
    }
    sequenced = folder / "case_lists" / "cases_sequenced.txt"
    named = _named_columns(columns)
    said = [f"patients in {patients.name}", f"samples in {samples.name}"]
    said += [f"expression in {chosen.name} ({how})" if chosen else "no expression"]
    said += [f"{role.word} in {path.name}" for role, path in others.items() if path]
    return StudyFolder(
        name=folder.name,
        patients=patients,
        samples=samples,
        columns=named,
        expression=chosen,
        copy_number=others[_COPY_NUMBER],
        mutations=others[_MUTATIONS],
        sequenced=sequenced if sequenced.is_file() else None,
        understood=(f"cBioPortal: {', '.join(said)}", *_absent(folder, metas)),
    )


def _named_columns(columns: Columns) -> Columns:
    """Names of the patients' file; X_MONTHS and X_STATUS belong together."""
    default, time, event = Columns(), columns.time, columns.event
    if time == default.time:
        start = event.removesuffix(_STATUS) if event.endswith(_STATUS) else "OS"
        time = default.time if columns.start else start + _MONTHS
    if event == default.event:
        event = (time.removesuffix(_MONTHS) if time.endswith(_MONTHS) else "OS") + _STATUS
    usual, wanted = covariate_columns(default), covariate_columns(columns)
    own = {k: PATIENT_COVARIATES[k] for k, name in wanted.items() if name == usual[k]}
    return replace(columns, case_id=PATIENT, time=time, event=event, **own)


def _metas(folder: Path) -> list[_Meta]:
    """What the meta files say of data files."""
    found = []
    for path in sorted(folder.glob("meta_*.txt")):
        said = _pairs(path)
        name = said.get("data_filename", "")
        if name and Path(name).name != name:
            hint = "a study's data files are in its own folder"
            raise CohortError(f"{path.name} names a file elsewhere", hint=hint)
        if name:
            alteration = said.get("genetic_alteration_type", "").upper()
            found.append(_Meta(alteration, said.get("datatype", "").upper(), folder / name))
    return found


def _pairs(path: Path) -> dict[str, str]:
    """'key: value' lines."""
    if path.stat().st_size > _LARGEST_META:
        raise CohortError(f"{path.name} is too large", hint="it has a few lines 'key: value'")
    lines = path.read_text(encoding=letters_of(path).codec).splitlines()
    pairs = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _files(folder: Path, metas: Iterable[_Meta], role: _Role) -> list[Path]:
    """The files of a role that are there, those that meta files name first."""
    named = [
        meta.data
        for meta in metas
        if meta.alteration == role.alteration
        and (not role.datatypes or meta.datatype in role.datatypes)
        and meta.data.is_file()
    ]
    if named:
        return named
    usual = (p for p in sorted(folder.iterdir()) if p.is_file())
    return [p for p in usual if any(fnmatch(p.name.lower(), name) for name in role.names)]


def _needed(folder: Path, metas: Iterable[_Meta], role: _Role) -> Path:
    found = _files(folder, metas, role)
    if not found:
        hint = f"it is called {role.names[0]}, or named by a meta file"
        raise CohortError(f"has no file of {role.word}", hint=hint)
    return found[0]


def _expression(
    found: Sequence[Path], wanted: str | None, metas: Iterable[_Meta]
) -> tuple[Path | None, str]:
    """The expression file and why; z-scores first, those over all samples before others."""
    scores = {meta.data for meta in metas if meta.datatype == "Z-SCORE"}
    scores |= {path for path in found if "zscore" in path.name.lower()}
    if wanted is not None:
        chosen = [path for path in found if path.name == wanted]
        if not chosen:
            hint = f"there are {', '.join(path.name for path in found) or 'none'}"
            raise CohortError(f"has no expression file '{wanted}'", hint=hint)
        how = "as site.yaml says"
    else:
        order = {p: (p not in scores, "all_sample" not in p.name.lower(), p.name) for p in found}
        chosen = sorted(found, key=lambda path: order[path])
        how = f"first of {len(found)}, see cbioportal_expression" if len(found) > 1 else "the only"
    if not chosen:
        return None, ""
    kind = "z-scores" if chosen[0] in scores else "not z-scores"
    return chosen[0], f"{kind}, {how}"


def _absent(folder: Path, metas: Iterable[_Meta]) -> list[str]:
    absent = len({meta.data for meta in metas if not meta.data.is_file()})
    if not absent:
        return []
    return [f"cBioPortal: {absent} files that meta files name are not in {folder.name}"]
