"""Genes of a cBioPortal study: matrices of samples turned into one row per case.

A case's sample is its first primary one, else its first; values of several are never mixed.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ghanet_model.errors import CohortError, GenesError
from ghanet_model.page_numbers import plural
from ghanet_model.study import StudyConfig

from .cbioportal import PATIENT, SAMPLE, SYMBOL, StudyFolder
from .delimited import letters_of
from .table import NOT_KNOWN, Problem, Table, id_rules, is_broken
from .tables import mangled, read_table

_TYPE, _BARCODE, _CLASS = "SAMPLE_TYPE", "Tumor_Sample_Barcode", "Variant_Classification"
_NO_SAMPLES = frozenset(
    (SYMBOL, "Entrez_Gene_Id", "Cytoband", "Locus_ID", "Locus ID", "Gene_Symbol", "Gene Symbol")
)
_SILENT = frozenset(("silent", "intron", "igr", "3'utr", "5'utr", "3'flank", "5'flank", "rna"))


@dataclass(frozen=True, slots=True, eq=False)
class _Matrix:
    """Genes of samples: values of a symbol are one number per sample."""

    suffix: str
    samples: tuple[str, ...] = field(repr=False)
    genes: dict[str, NDArray[np.float32]] = field(repr=False)  # symbol -> (samples,)
    problems: tuple[Problem, ...] = ()
    understood: tuple[str, ...] = ()


def read_study_genes(
    files: StudyFolder, study: StudyConfig
) -> tuple[Table | None, list[Problem], list[str]]:
    """The study's genes as a table with one row per case, problems, and what was understood."""
    chosen, problems, said = _read_samples(files.samples)
    matrices, found = _matrices(files, study)
    problems = [*problems, *found]
    for matrix in matrices:
        problems += matrix.problems
        said += matrix.understood
    if chosen is not None and matrices:
        table, more = _table(files.name, chosen, matrices)
        return table, _of_genes(problems), said + more
    if not matrices and not problems:
        said.append("genes: none of the study's kinds is in the cBioPortal folder")
    return None, _of_genes(problems), said


def _of_genes(problems: Sequence[Problem]) -> list[Problem]:
    return [replace(problem, kind=GenesError) for problem in problems]


def _read_samples(path: Path) -> tuple[dict[str, list[str]] | None, list[Problem], list[str]]:
    """The samples of each patient, the one to take first."""
    table, problems = read_table(path, [PATIENT, SAMPLE], optional=[_TYPE])
    if table is None:
        return None, problems, []
    patients, samples = table.ids(PATIENT), table.text(SAMPLE)
    no_patient = (patients == "", f"{PATIENT} is empty", "every row names its patient")
    rules = [no_patient, *id_rules(samples, SAMPLE)]
    primary = samples.str.endswith("-01")
    if _TYPE in table.header:
        primary |= table.text(_TYPE).str.lower().str.startswith("primary")
    good = ~is_broken(rules)
    rows = sorted(samples.index[good], key=lambda row: not primary[row])
    of_case: dict[str, list[str]] = {}
    for row in rows:
        of_case.setdefault(patients[row], []).append(samples[row])
    return of_case, problems + table.problems(rules), [table.understood]


def _matrices(files: StudyFolder, study: StudyConfig) -> tuple[list[_Matrix], list[Problem]]:
    symbols = frozenset(symbol for _, group in study.groups for symbol in group)
    found: list[_Matrix] = []
    problems: list[Problem] = []
    paths = {"rnaseq": files.expression, "cnv": files.copy_number, "mut": files.mutations}
    for suffix, path in paths.items():
        if path is None or suffix not in study.gene_types:
            continue
        try:
            if suffix == "mut":
                found.append(_read_mutations(path, files.sequenced, symbols))
            else:
                found.append(_read_matrix(path, suffix, symbols))
        except CohortError as error:
            problems.append(Problem(path.name, None, str(error), error.hint))
        except (OSError, UnicodeDecodeError):
            problems.append(Problem(path.name, None, "cannot be read", "is it a whole file?"))
    return found, problems


@contextlib.contextmanager
def _open(path: Path, needed: Sequence[str]) -> Iterator[tuple[list[str], "_Lines"]]:
    """The header of a tab separated file, and its rows with their numbers."""
    with path.open(encoding=letters_of(path).codec) as file:
        lines = enumerate(file, 1)
        first = next((line for _, line in lines if not line.startswith("#")), "")
        header = [cell.strip() for cell in first.split("\t")]
        missing = [name for name in needed if name not in header]
        if missing:
            hint = "cBioPortal's files are separated by tabs, with a header"
            raise CohortError(f"column '{missing[0]}' is missing", hint=hint)
        yield header, ((row, line.rstrip("\r\n")) for row, line in lines if line.strip())


_Lines = Iterator[tuple[int, str]]


def _read_matrix(path: Path, suffix: str, symbols: frozenset[str]) -> _Matrix:
    """The rows of the wanted symbols; the first row of a symbol counts."""
    genes: dict[str, NDArray[np.float32]] = {}
    names, problems, again = [], [], 0
    with _open(path, [SYMBOL]) as (header, lines):
        place = header.index(SYMBOL)
        columns = [i for i, name in enumerate(header) if name not in _NO_SAMPLES]
        for row, line in lines:
            name = line.split("\t", place + 1)[place].strip() if line.count("\t") >= place else ""
            names.append(name)
            if name not in symbols:
                continue
            cells = line.split("\t")
            if len(cells) != len(header):
                what = f"has {len(cells)} cells, the header {len(header)}"
                problems.append(Problem(path.name, row, what, "is it a whole file?"))
            elif name in genes:
                again += 1
            else:
                genes[name], is_good = _numbers([cells[i] for i in columns])
                if not is_good:
                    what, hint = "a value is not a finite number", "NA where nothing was measured"
                    problems.append(Problem(path.name, row, what, hint))
    said = [f"{path.name}: {plural(len(names), 'gene')}, {plural(len(columns), 'sample')}"]
    if again:
        said.append(f"{path.name}: {plural(again, 'row')} of a symbol after its first left out")
    samples = tuple(header[i] for i in columns)
    found = (*problems, *mangled(path.name, names))
    return _Matrix(suffix, samples, genes, found, tuple(said))


def _numbers(cells: Sequence[str]) -> tuple[NDArray[np.float32], bool]:
    """Values of a row, NaN where nothing is known, and whether all others are numbers."""
    text = pd.Series(cells, dtype=object).str.strip()
    values = pd.to_numeric(text, errors="coerce").to_numpy(float)
    known = ~text.str.lower().isin(NOT_KNOWN).to_numpy(bool)
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    wrong = known & ~np.isfinite(narrow)
    narrow[wrong] = np.nan
    return narrow, not wrong.any()


def _read_mutations(path: Path, sequenced: Path | None, symbols: frozenset[str]) -> _Matrix:
    """1 where a sample has a mutation that changes the protein, 0 where it was looked for."""
    if sequenced is None:
        hint = "without it a gene that is not mutated cannot be told from one not looked at"
        raise CohortError("case_lists/cases_sequenced.txt is missing", hint=hint)
    samples = _case_list(sequenced)
    place_of = {sample: place for place, sample in enumerate(samples)}
    genes = {symbol: np.zeros(len(samples), dtype=np.float32) for symbol in sorted(symbols)}
    silent, unknown, problems = 0, 0, []
    with _open(path, [SYMBOL, _BARCODE, _CLASS]) as (header, lines):
        gene, sample, kind = (header.index(name) for name in (SYMBOL, _BARCODE, _CLASS))
        for row, line in lines:
            cells = line.split("\t")
            if len(cells) <= max(gene, sample, kind):
                what = f"has {len(cells)} cells, the header {len(header)}"
                problems.append(Problem(path.name, row, what, "is it a whole file?"))
                continue
            if cells[kind].strip().lower() in _SILENT:
                silent += 1
            elif cells[sample].strip() not in place_of:
                unknown += 1
            elif cells[gene].strip() in genes:
                genes[cells[gene].strip()][place_of[cells[sample].strip()]] = 1
    said = [f"{path.name}: {plural(len(samples), 'sample')} of cases_sequenced.txt"]
    if silent:
        said.append(
            f"{path.name}: {plural(silent, 'row')} that leave the protein as it is left out"
        )
    if unknown:
        said.append(f"{path.name}: {plural(unknown, 'row')} of samples not sequenced left out")
    return _Matrix("mut", samples, genes, tuple(problems), tuple(said))


def _case_list(path: Path) -> tuple[str, ...]:
    lines = path.read_text(encoding=letters_of(path).codec).splitlines()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "case_list_ids":
            return tuple(dict.fromkeys(name.strip() for name in value.split("\t") if name.strip()))
    raise CohortError(f"{path.name} has no case_list_ids", hint="it is a line of the case list")


def _table(
    name: str, chosen: dict[str, list[str]], matrices: Sequence[_Matrix]
) -> tuple[Table, list[str]]:
    """One row per case, from one sample: the first that the first possible matrix has."""
    here = [frozenset(matrix.samples) for matrix in matrices]
    picked = {case: _pick(samples, here) for case, samples in chosen.items()}
    rows = {case: sample for case, sample in picked.items() if sample}
    columns: dict[str, NDArray[np.float32]] = {}
    for matrix in matrices:
        place_of = {sample: place for place, sample in enumerate(matrix.samples)}
        places = np.array([place_of.get(sample, -1) for sample in rows.values()], dtype=int)
        for symbol, values in matrix.genes.items():
            picked_values = np.append(values, np.float32(np.nan))[places]  # -1: not measured
            columns[f"{symbol}_{matrix.suffix}"] = picked_values
    frame = pd.DataFrame({PATIENT: list(rows), **columns})
    everywhere = frozenset[str]().union(*here)
    listed = {sample for samples in chosen.values() for sample in samples}
    said = _samples_said(len((listed & everywhere) - set(rows.values())), len(everywhere - listed))
    return Table(name, (PATIENT, *columns), frame.astype({PATIENT: object})), said


def _pick(samples: Sequence[str], here: Sequence[frozenset[str]]) -> str | None:
    return next((sample for there in here for sample in samples if sample in there), None)


def _samples_said(besides: int, unlisted: int) -> list[str]:
    said = []
    if besides:
        said.append(f"genes: {plural(besides, 'sample')} besides each case's first left out")
    if unlisted:
        said.append(f"genes: {plural(unlisted, 'sample')} that no patient has left out")
    return said
