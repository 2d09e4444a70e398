"""Exports: the same cohort as hospitals write it down, in many ways, is the same Cohort."""

import csv
import datetime as dt
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pytest
from exports import GENE_COLUMNS, TRUTH, require_truth, write_settings


@dataclass(frozen=True)
class Export:
    """One way to write the cohort down."""

    name: str
    kind: str = "csv"  # the tables' suffix
    separator: str = ","
    decimal: str = "."
    encoding: str = "utf-8"
    newline: str = "\n"
    quoting: int = csv.QUOTE_MINIMAL
    before: str = ""  # lines above the header
    after: str = ""  # what follows the last row
    unit: str = "months"  # of follow-up, or 'dates'
    dates: str = "%Y-%m-%d"  # how text tables write them; '' for dates with a type
    words: tuple[object, object] = (0, 1)  # alive, died
    names: dict[str, str] = field(default_factory=dict)  # other names of columns
    extra: bool = False  # columns that nobody asked for
    settings: dict[str, Any] = field(default_factory=dict)  # of site.yaml


def own_words(alive: str, died: str) -> dict[str, Any]:
    """Settings that say what the words of a hospital mean."""
    return {"event_words": {"died": [died], "alive": [alive]}}


MONTH_FIRST = {"date_order": "month first"}
SEMICOLONS = {"separator": ";", "decimal": ",", "encoding": "cp1252", "newline": "\r\n"}
GERMAN = {
    "case_id": "Fall",
    "slide_id": "Präparat",
    "time": "Überleben (Monate)",
    "event": "Status",
}
CENSORED = {"event": "censorship"}
EXPORTS = [
    Export("plain"),
    Export("semicolons", separator=";"),
    Export("semicolons-and-decimal-comma", separator=";", decimal=","),
    Export("tabs", separator="\t"),
    Export("tabs-and-decimal-comma", separator="\t", decimal=","),
    Export("tsv", kind="tsv", separator="\t"),
    Export("txt-of-semicolons", kind="txt", separator=";", decimal=","),
    Export("byte-order-mark", encoding="utf-8-sig"),
    Export("latin-1", encoding="cp1252"),
    Export("utf-16", encoding="utf-16", separator="\t"),
    Export("utf-16-decimal-comma", encoding="utf-16", separator=";", decimal=","),
    Export("windows-line-ends", newline="\r\n"),
    Export("old-mac-line-ends", newline="\r"),
    Export("german-excel-csv", **SEMICOLONS),
    Export("quoted-cells", quoting=csv.QUOTE_ALL),
    Export("quoted-semicolons", quoting=csv.QUOTE_ALL, **SEMICOLONS),
    Export("blank-lines-at-the-end", after="\n\n  \n"),
    Export("rows-of-separators-at-the-end", separator=";", after=";;;\n;;;\n"),
    Export("stated-separator", separator=";", before="sep=;\n"),
    Export("comments-above", before="# made by the registry\n# 2, 3; 4\n"),
    Export("extra-columns", extra=True),
    Export("days", unit="days"),
    Export("years", unit="years"),
    Export("years-decimal-comma", unit="years", separator=";", decimal=","),
    Export("iso-dates", unit="dates"),
    Export("iso-dates-with-time", unit="dates", dates="%Y-%m-%dT13:45:00Z"),
    Export("german-dates", unit="dates", dates="%d.%m.%Y", **SEMICOLONS),
    Export("german-dates-with-time", unit="dates", dates="%d.%m.%Y 23:59", **SEMICOLONS),
    Export("british-dates", unit="dates", dates="%d/%m/%Y"),
    Export("american-dates", unit="dates", dates="%m/%d/%Y 11:59 PM"),
    Export("dates-of-digits", unit="dates", dates="%Y%m%d"),
    Export("dates-in-an-order", unit="dates", dates="%m-%d-%Y", settings=MONTH_FIRST),
    Export("true-and-false", words=("FALSE", "TRUE")),
    Export("yes-and-no", words=("no", "Yes")),
    Export("deceased-and-living", words=("LIVING", "DECEASED")),
    Export("alive-and-dead", words=("alive", "Dead")),
    Export("cbioportal-words", words=("0:LIVING", "1:DECEASED")),
    Export("german-words", words=("lebt", "verstorben"), names=GERMAN, **SEMICOLONS),
    Export("french-words", words=("vivant", "Décédé"), encoding="cp1252"),
    Export("own-words", words=("NED", "DOD"), settings=own_words("NED", "dod")),
    Export("own-numbers", words=(1, 2), settings=own_words("1", "2")),
    Export("censorship", words=(1, 0), names=CENSORED),
    Export("censored-words", words=("censored", "uncensored"), names=CENSORED),
    Export("excel", kind="xlsx"),
    Export("excel-days", kind="xlsx", unit="days", extra=True),
    Export("excel-dates", kind="xlsx", unit="dates", dates=""),
    Export("excel-text-dates", kind="xlsx", unit="dates", dates="%d.%m.%Y"),
    Export("excel-booleans", kind="xlsx", words=(False, True), names=GERMAN),
    Export("parquet", kind="parquet"),
    Export("parquet-booleans", kind="parquet", words=(False, True)),
    Export("parquet-dates", kind="parquet", unit="dates", dates=""),
    Export("parquet-censorship", kind="parquet", words=(True, False), names=CENSORED, unit="days"),
]  # fmt: skip


def clinical_rows(export: Export) -> tuple[list[str], list[list[object]]]:
    """Header and rows of the clinical table."""
    per_unit = {"months": 365.25 / 12, "days": 1, "years": 365.25}
    rows: list[list[object]] = []
    for case in TRUTH:
        dates = [case.start, case.start + dt.timedelta(days=case.days)]
        texts = [date.strftime(export.dates) if export.dates else date for date in dates]
        if export.unit == "dates":
            when: list[object] = [*texts]
        else:
            when = [case.days / per_unit[export.unit] if export.unit != "days" else case.days]
        more = ["x", 2.5] if export.extra else []
        rows.append([*more, case.case_id, *when, export.words[case.died]])
    header = ["case_id", *(["start", "end"] if export.unit == "dates" else ["time"]), "event"]
    named = [export.names.get(name, name) for name in header]
    return [*(["ward", "grade"] if export.extra else []), *named], rows


def other_tables(export: Export) -> dict[str, tuple[list[str], list[list[object]]]]:
    """Header and rows of slides and genes; genes in another order of cases."""
    case_id, slide_id = (export.names.get(name, name) for name in ("case_id", "slide_id"))
    slides: list[list[object]] = [[c.case_id, f"{s}.svs"] for c in TRUTH for s in c.slides]
    genes: list[list[object]] = [
        [case.case_id, *(case.genes[name] for name in GENE_COLUMNS)] for case in reversed(TRUTH)
    ]
    tables = {"slides": ([case_id, slide_id], slides)}
    return tables | {"genes": ([case_id, *GENE_COLUMNS], genes)}


def write(path: Path, export: Export, header: list[str], rows: list[list[object]]) -> None:
    """Write a table as the export has it."""
    if export.kind == "parquet":
        pd.DataFrame(rows, columns=header).to_parquet(path)
    elif export.kind == "xlsx":
        book = openpyxl.Workbook()
        book.active.append(["only", "a", "cover"])
        sheet = book.create_sheet("Tabelle2")
        for row in (header, *rows):
            sheet.append([None if cell != cell else cell for cell in row])  # noqa: PLR0124 - NaN
        book.save(path)
    else:
        path.write_bytes(text_of(export, header, rows).encode(export.encoding))


def text_of(export: Export, header: list[str], rows: list[list[object]]) -> str:
    """A table as delimited text."""
    buffer = io.StringIO()
    writer = csv.writer(
        buffer, delimiter=export.separator, quoting=export.quoting, lineterminator="\n"
    )
    writer.writerow(header)
    for row in rows:
        writer.writerow([as_text(cell, export) for cell in row])
    return (export.before + buffer.getvalue() + export.after).replace("\n", export.newline)


def as_text(cell: object, export: Export) -> str:
    """A cell as text, nothing for NaN."""
    if isinstance(cell, float):
        return "" if np.isnan(cell) else repr(cell).replace(".", export.decimal)
    return str(cell)


def write_site(folder: Path, export: Export) -> None:
    """A hospital's tables and its site.yaml."""
    for name, table in (other_tables(export) | {"clinical": clinical_rows(export)}).items():
        write(folder / f"{name}.{export.kind}", export, *table)
    columns = {key: name for key, name in export.names.items() if name != "censorship"}
    columns |= {"censorship": "censorship"} if "censorship" in export.names.values() else {}
    columns |= {"start": "start", "end": "end"} if export.unit == "dates" else {}
    unit = {"time_unit": export.unit} if export.unit in ("days", "years") else {}
    tables = {name: f"{name}.{export.kind}" for name in ("slides", "clinical", "genes")}
    write_settings(folder, {**tables, "columns": columns, **unit, **export.settings})


@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.name)
def test_every_export_is_the_same_cohort(tmp_path, export):
    """Cases, outcomes, bins, held out, slides and genes do not depend on how a table is written."""
    write_site(tmp_path, export)
    understood = " ".join(require_truth(tmp_path))
    assert not any(case.case_id in understood for case in TRUTH if len(case.case_id) > 3)


def test_there_are_many_exports():
    """At least thirty ways, each with a name of its own."""
    assert len({export.name for export in EXPORTS}) == len(EXPORTS) >= 30


def test_one_workbook_may_hold_all_tables(tmp_path):
    """Three sheets of one workbook are three tables, each found by its columns."""
    export, book = Export("workbook", kind="xlsx"), openpyxl.Workbook()
    book.remove(book.active)
    for name, (header, rows) in (
        other_tables(export) | {"clinical": clinical_rows(export)}
    ).items():
        sheet = book.create_sheet(name)
        for row in (header, *rows):
            sheet.append([None if cell != cell else cell for cell in row])  # noqa: PLR0124 - NaN
    book.save(tmp_path / "all.xlsx")
    write_settings(tmp_path, dict.fromkeys(("slides", "clinical", "genes"), "all.xlsx"))
    said = require_truth(tmp_path)
    assert "all.xlsx: Excel, sheet 3 of 3, 40 rows" in said


def test_what_was_understood_is_said(tmp_path):
    """Letters, separator, decimal mark, unit and words are said, never a case."""
    export = Export("said", unit="years", words=("lebt", "verstorben"), extra=True, **SEMICOLONS)
    write_site(tmp_path, export)
    said = require_truth(tmp_path)
    assert "clinical.csv: semicolons, decimal comma, Latin-1 (Windows-1252), 40 rows" in said
    assert "follow-up: column 'time' in years" in said
    assert "events: column 'event', 'verstorben' = died, 'lebt' = alive" in said
    assert "clinical.csv: columns not used: 1" in said
