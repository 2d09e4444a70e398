"""Cohorts: every fault of a table is told by row and column, and no case or slide is named."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from client.cohort import read_cohort, require_cohort
from client.config import Columns, SiteConfig
from client.tables import Problem, read_table
from ghanet_model.errors import CohortError, FeaturesError, GenesError, GHANetError
from ghanet_model.study import StudyConfig

CASE, SLIDE = "CANARY-CASE-7", "CANARY-SLIDE-7.0AB1"
NO_TABLE = "cells are not separated by ',', ';' or tabs throughout"
CLINICAL = f"case_id,time,event\nA,10,1\n{CASE},40,0\nC,70.5,true\n"
SLIDES = f"case_id,slide_id\nA,a1.svs\nA,a2.svs\n{CASE},{SLIDE}.svs\nC,c1\n"
GENES = f"case_id,G1_rnaseq,G2_cnv,OTHER\n{CASE},1.5,NA,x\nA,,-1,x\n"


def make_study(**changes) -> StudyConfig:
    """A study of two groups, nothing held out unless a table says so."""
    values = {
        "name": "demo",
        "encoder": "enc-v1",
        "feature_width": 4,
        "time_bin_edges": (12.0, 36.0, 60.0),
        "gene_groups": "groups.csv",
        "groups": (("first", ("G1",)), ("second", ("G2",))),
        "gene_types": ("rnaseq", "cnv"),
        "held_out": 0.0,
    }
    return StudyConfig(**(values | changes))


def make_site(folder: Path, **changes) -> SiteConfig:
    """A site with three good tables; each may be replaced by a text, or None for no table."""
    tables = {"clinical": CLINICAL, "slides": SLIDES, "genes": GENES}
    names = {key: changes.pop(key, text) for key, text in tables.items()}
    for key, text in names.items():
        if isinstance(text, str):
            (folder / f"{key}.csv").write_text(text)
    paths = {
        key: folder / f"{key}.csv" if isinstance(text, str) else text for key, text in names.items()
    }
    values = {"name": "north", "server": "h:1", "features": folder, "encoder": "enc-v1"}
    return SiteConfig(**(values | paths | {"folder": folder} | changes))


def problems_of(site: SiteConfig, study: StudyConfig | None = None) -> list[Problem]:
    """The problems of a site, none of which names the planted case or slide."""
    _, problems = read_cohort(site, study or make_study())
    assert "CANARY" not in repr(problems)
    if problems:
        with pytest.raises(GHANetError) as caught:
            require_cohort(site, study or make_study())
        assert "CANARY" not in f"{caught.value} {caught.value.hint}"
    return list(problems)


def only(problems: list[Problem]) -> Problem:
    """The one problem there is."""
    assert len(problems) == 1, problems
    return problems[0]


def test_good_tables_are_one_cohort(tmp_path):
    """Cases come in clinical order, with all their slides, outcomes and time bins."""
    cohort = require_cohort(make_site(tmp_path), make_study())
    assert [case.slide_ids for case in cohort.cases] == [("a1", "a2"), (SLIDE,), ("c1",)]
    outcomes = [(o.time, o.event, o.time_bin) for o in (c.outcome for c in cohort.cases)]
    assert outcomes == [(10.0, True, 0), (40.0, False, 2), (70.5, True, 3)]
    assert [slide.where for slide in cohort.slides][2] == "features of slides.csv row 4"


def test_genes_are_aligned_with_cases(tmp_path):
    """Values stand in the case's row and the study's column; what is not there is NaN."""
    cohort = require_cohort(make_site(tmp_path), make_study())
    assert cohort.gene_columns == ("G1_cnv", "G1_rnaseq", "G2_cnv", "G2_rnaseq")
    nan = np.nan
    expected = [[nan, nan, -1, nan], [nan, 1.5, nan, nan], [nan] * 4]
    np.testing.assert_array_equal(cohort.genes, np.array(expected, np.float32))


def test_parquet_says_the_same(tmp_path):
    """A Parquet table is read as the CSV of the same content."""
    site = make_site(tmp_path)
    for name in ("clinical", "slides", "genes"):
        pd.read_csv(tmp_path / f"{name}.csv").to_parquet(tmp_path / f"{name}.parquet")
    changes = {n: tmp_path / f"{n}.parquet" for n in ("clinical", "slides", "genes")}
    one, two = (require_cohort(s, make_study()) for s in (site, make_site(tmp_path, **changes)))
    assert [c.outcome for c in one.cases] == [c.outcome for c in two.cases]
    np.testing.assert_array_equal(one.genes, two.genes)


def test_numbers_as_case_ids_agree(tmp_path):
    """A Parquet id that is a number is the same case as in a CSV, also in a column with gaps."""
    frame = pd.DataFrame({"case_id": [7.0, np.nan], "time": [1.0, 2.0], "event": [True, False]})
    frame.to_parquet(tmp_path / "clinical.parquet")
    site = make_site(tmp_path, clinical=tmp_path / "clinical.parquet", genes=None)
    site.slides.write_text("case_id,slide_id\n7,s.svs\n")
    cohort, problems = read_cohort(site, make_study())
    assert [case.case_id for case in cohort.cases] == ["7"]
    assert str(only(list(problems))) == "clinical.parquet row 3: case_id is empty"


def test_censorship_is_the_inverse_of_event(tmp_path):
    """If site.yaml names a censorship column, 1 in it is no event."""
    text = f"case_id,time,cens\nA,10,1\n{CASE},40,0\nC,70,0\n"
    site = make_site(tmp_path, clinical=text, columns=Columns(censorship="cens"))
    cases = require_cohort(site, make_study()).cases
    assert [case.outcome.event for case in cases] == [False, True, True]


def test_site_without_clinical_table(tmp_path):
    """A site that only predicts has cases from its slides, without outcome."""
    cohort = require_cohort(make_site(tmp_path, clinical=None), make_study())
    assert [case.outcome for case in cohort.cases] == [None] * 3
    assert cohort.training_genes.shape == (0, 4)


def test_site_without_genes(tmp_path):
    """No gene table is no problem."""
    cohort = require_cohort(make_site(tmp_path, genes=None), make_study())
    assert cohort.genes is cohort.training_genes is None


def test_split_column_decides(tmp_path):
    """Rows of val and test are held out, and held-out cases give no genes to sums."""
    text = f"case_id,time,event,split\nA,10,1,train\n{CASE},40,0,val\nC,70,1,Test\n"
    cohort = require_cohort(make_site(tmp_path, clinical=text), make_study())
    assert [case.held_out for case in cohort.cases] == [False, True, True]
    assert cohort.training_genes.shape == (1, 4)


def test_split_without_column_never_changes(tmp_path):
    """The study's share is held out, the same cases in whatever order the table lists them."""
    rows = [f"case{i}" for i in range(2000)]
    slides = "case_id,slide_id\n" + "".join(f"{r},{r}\n" for r in rows)
    held = []
    for order in (rows, rows[::-1]):
        text = "case_id,time,event\n" + "".join(f"{r},1,0\n" for r in order)
        site = make_site(tmp_path, clinical=text, slides=slides, genes=None)
        cases = require_cohort(site, make_study(held_out=0.2)).cases
        held.append({case.case_id for case in cases if case.held_out})
    assert held[0] == held[1]
    assert 340 < len(held[0]) < 460


def test_split_depends_on_the_seed(tmp_path):
    """A case is held out by SHA-256 of the study's seed and its id, and nothing else."""
    ids = [f"case{i}" for i in range(40)]
    text = "case_id,time,event\n" + "".join(f"{i},1,0\n" for i in ids)
    slides = "case_id,slide_id\n" + "".join(f"{i},{i}\n" for i in ids)
    site = make_site(tmp_path, clinical=text, slides=slides, genes=None)
    for seed in (0, 1):
        cases = require_cohort(site, make_study(held_out=0.2, seed=seed)).cases
        shares = [hashlib.sha256(f"{seed}|{i}".encode()).digest()[:8] for i in ids]
        expected = [int.from_bytes(share, "big") / 2**64 < 0.2 for share in shares]
        assert [case.held_out for case in cases] == expected


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (f"{CASE},40,2", "event is neither died nor alive"),
        (f"{CASE},40,", "event is missing"),
        (f"{CASE},40,gone", "event is neither died nor alive"),
        (f"{CASE},40,0:DECEASED", "event is neither died nor alive"),
        (f"{CASE},-0.5,1", "time is negative"),
        (f"{CASE},,1", "time is missing"),
        (f"{CASE},NA,1", "time is missing"),
        (f'{CASE},"4,5",1', "time is not a number"),
        (f"{CASE},2020-02-02,1", "time is not a number"),
        (f"{CASE},inf,1", "time is not finite"),
        (f"{CASE},1e999,1", "time is not a number"),
        (f"{CASE},40,1,1", "has 4 cells, the header 3"),
        (f"{CASE}", "has 1 cells, the header 3"),
    ],
)
def test_bad_clinical_row_is_told_by_row(tmp_path, row, what):
    """A clinical row that cannot be used is a problem of that row, the others stay usable."""
    site = make_site(tmp_path, clinical=f"case_id,time,event\nA,1,0\n\n{row}\nC,2,1\n")
    first = problems_of(site)[0]
    assert (first.table, first.row, first.what) == ("clinical.csv", 4, what)
    assert first.hint
    assert len(read_cohort(site, make_study())[0].cases) == 2


def test_several_faults_of_a_row_are_all_told(tmp_path):
    """Checking does not stop at the first fault."""
    site = make_site(tmp_path, clinical=CLINICAL.replace("40,0", "-1,x").replace("10,1", "z,1"))
    told = [str(problem) for problem in problems_of(site)]
    assert told == [
        "clinical.csv row 2: time is not a number",
        "clinical.csv row 3: time is negative",
        "clinical.csv row 3: event is neither died nor alive",
    ]


def test_bad_censorship_is_told_by_its_name(tmp_path):
    """The message speaks of the column that the site uses."""
    text = CLINICAL.replace("event", "cens").replace("40,0", "40,3")
    site = make_site(tmp_path, clinical=text, columns=Columns(censorship="cens"))
    problem = only(problems_of(site))
    assert (problem.what, problem.hint[:21]) == (
        "cens is neither died nor alive",
        "cens is 1 for censore",
    )


def test_duplicate_case(tmp_path):
    """The second row of a case is a problem, the first stays."""
    site = make_site(tmp_path, clinical=CLINICAL + f"{CASE},50,1\n")
    problem = only(problems_of(site))
    assert str(problem) == "clinical.csv row 5: case_id is that of an earlier row"
    assert len(read_cohort(site, make_study())[0].cases) == 3


def test_empty_case_id(tmp_path):
    """A row without case is a problem in both tables."""
    site = make_site(tmp_path, clinical=CLINICAL + " ,5,1\n", slides=SLIDES + ",x.svs\n")
    told = [str(problem) for problem in problems_of(site)]
    assert told == ["clinical.csv row 5: case_id is empty", "slides.csv row 6: case_id is empty"]


def test_bad_split(tmp_path):
    """A split other than train, val or test is a problem."""
    text = f"case_id,time,event,split\nA,10,1,train\n{CASE},40,0,{CASE}\nC,70,1,\n"
    told = [str(problem) for problem in problems_of(make_site(tmp_path, clinical=text))]
    assert told == [f"clinical.csv row {r}: split is not train, val or test" for r in (3, 4)]


def test_split_that_site_yaml_names_must_be_there(tmp_path):
    """A split column named in site.yaml is needed: no silent fall back to another split."""
    site = make_site(tmp_path, columns=Columns(split="fold"))
    assert only(problems_of(site)).what == "column 'fold' is missing"


@pytest.mark.parametrize("again", [f"{CASE},{SLIDE}.svs", f"A,{SLIDE}.svs", f"A,{SLIDE}"])
def test_duplicate_slide(tmp_path, again):
    """A slide listed twice is a problem, also for another case or without suffix."""
    problem = only(problems_of(make_site(tmp_path, slides=f"{SLIDES}{again}\n")))
    assert str(problem) == "slides.csv row 6: slide is that of an earlier row"


def test_empty_slide(tmp_path):
    """A row without slide is a problem."""
    problem = only(problems_of(make_site(tmp_path, slides=SLIDES + "A,\n")))
    assert str(problem) == "slides.csv row 6: slide_id is empty"


def test_slide_of_unknown_case(tmp_path):
    """A slide whose case clinical does not know is a problem."""
    problem = only(problems_of(make_site(tmp_path, slides=SLIDES + "CANARY-X,CANARY-Y.svs\n")))
    assert str(problem) == "slides.csv row 6: its case is not in the clinical table"


def test_case_without_slide(tmp_path):
    """A case without any slide is a problem of its clinical row."""
    site = make_site(tmp_path, slides="case_id,slide_id\nA,a.svs\nC,c.svs\n")
    assert str(only(problems_of(site))) == "clinical.csv row 3: case without slide"


@pytest.mark.parametrize("name", ["clinical", "slides", "genes"])
def test_missing_table(tmp_path, name):
    """A table that is not there is one problem, without a flood of others."""
    site = make_site(tmp_path, **{name: tmp_path / "absent.csv"})
    assert str(only(problems_of(site))) == "absent.csv: not found"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "column 'case_id' is missing"),
        (b"case_id,time,event\n", "has no rows"),
        (b"case_id;time;event\n" + b"CANARY,1,0\n" * 3, NO_TABLE),
        (b"case_id;time,event\nCANARY;1,0\n", NO_TABLE),
        (b"case_id,time,event\nCANARY\x81,1,0\n", "is not text of a known kind"),
        (b"case_id,time,event\nCANARY\x00,1,0\n", "is not text"),
        (b'case_id,time,event\n"CANARY,1,0\n', "is not a CSV table"),
        (b"case_id,time,event,time\nCANARY,1,0,1\n", "column 'time' is there twice"),
    ],
)
def test_file_that_is_no_table(tmp_path, content, what):
    """A file that cannot be read as a table is one problem with a reason."""
    (tmp_path / "clinical.csv").write_bytes(content)
    site = make_site(tmp_path, clinical=tmp_path / "clinical.csv")
    assert problems_of(site)[0].what == what


def test_table_of_a_spreadsheet_program(tmp_path):
    """A byte order mark, blanks and empty lines are no fault."""
    (tmp_path / "clinical.csv").write_bytes(
        b"\xef\xbb\xbfcase_id, time ,event\r\nA, 10 ,1\r\n,,\r\n" + f"{CASE},4,0\r\nC,7,1".encode()
    )
    assert not problems_of(make_site(tmp_path, clinical=tmp_path / "clinical.csv"))


def test_broken_parquet(tmp_path):
    """Bytes that are no Parquet are one problem."""
    (tmp_path / "clinical.parquet").write_bytes(b"CANARY")
    site = make_site(tmp_path, clinical=tmp_path / "clinical.parquet")
    assert only(problems_of(site)).what == "cannot be read"


def test_unknown_kind_of_table(tmp_path):
    """A document is refused with what to do."""
    site = make_site(tmp_path, clinical=tmp_path / "clinical.docx")
    with pytest.raises(CohortError, match=r"clinical\.docx: tables of kind '\.docx'") as caught:
        require_cohort(site, make_study())
    assert caught.value.hint == "save it as CSV, .xlsx or Parquet"


def test_missing_column_names_the_others(tmp_path):
    """A missing column is told with the columns there are and a near one."""
    site = make_site(tmp_path, clinical=CLINICAL.replace("event", "Event"))
    problem = only(problems_of(site))
    assert problem.what == "column 'event' is missing"
    assert "did you mean 'Event'?" in problem.hint
    assert "the columns are case_id, time, Event" in problem.hint


def test_table_without_header_names_nobody(tmp_path):
    """If line 1 is a case, its cells are not repeated as column names."""
    headless = f"{CASE},40,0\n" + "\n".join(CLINICAL.splitlines()[1:])
    told = problems_of(make_site(tmp_path, clinical=headless.replace(CASE, "CANARY_case_id")))
    assert [p.what for p in told[:2]] == ["column 'case_id' is missing", "column 'time' is missing"]
    assert all("line 1 must name" in problem.hint for problem in told)


def test_header_in_other_letters_has_a_hint(tmp_path):
    """Names that differ only in case and punctuation are offered."""
    problems = problems_of(
        make_site(tmp_path, clinical=CLINICAL.replace("case_id,time", "Case ID,t"))
    )
    assert "did you mean 'Case ID'?" in problems[0].hint


def test_gene_table_without_known_gene(tmp_path):
    """A gene table that holds no gene of the study is a problem, with an example of a name."""
    site = make_site(tmp_path, genes=f"case_id,TP53\n{CASE},1\n")
    problem = only(problems_of(site))
    assert problem.what == "none of the study's 4 gene columns is there"
    assert "G1_cnv" in problem.hint
    with pytest.raises(GenesError):
        require_cohort(site, make_study())


@pytest.mark.parametrize("cell", ["high", "inf", "1e999", "4,5", "1e39"])
def test_gene_value_that_is_no_number(tmp_path, cell):
    """A gene value that is not a finite number is a problem of its row and column."""
    text = f'case_id,G1_rnaseq,G2_cnv\nA,1,2\n{CASE},1,"{cell}"\n'
    problem = only(problems_of(make_site(tmp_path, genes=text)))
    assert str(problem) == "genes.csv row 3: G2_cnv is not a finite number"


def test_duplicate_case_in_genes(tmp_path):
    """Two gene rows of one case are a problem."""
    problem = only(problems_of(make_site(tmp_path, genes=GENES + f"{CASE},1,1,x\n")))
    assert str(problem) == "genes.csv row 4: case_id is that of an earlier row"
    assert problem.kind is GenesError


def test_genes_of_other_cases_only(tmp_path):
    """A gene table that shares no case with the others is a problem."""
    problem = only(problems_of(make_site(tmp_path, genes="case_id,G1_cnv\nCANARY-9,1\n")))
    assert problem.what == "none of its cases is in the other tables"


def test_another_encoder_is_refused(tmp_path):
    """A site whose features are of another encoder cannot take part."""
    with pytest.raises(FeaturesError, match=r"site\.yaml: encoder is 'resnet'"):
        require_cohort(make_site(tmp_path, encoder="resnet"), make_study())


def test_require_counts_the_rest(tmp_path):
    """The first problem is raised with how many more there are."""
    site = make_site(tmp_path, clinical=CLINICAL.replace("40,0", "-1,x"))
    with pytest.raises(CohortError) as caught:
        require_cohort(site, make_study())
    expected = "clinical.csv row 3: time is negative (and 1 more; run ghanet-client check)"
    assert str(caught.value) == expected
    assert caught.value.hint


def test_values_never_name_a_case(tmp_path):
    """Even the repr of a cohort, as a traceback might show it, names nobody."""
    cohort = require_cohort(make_site(tmp_path), make_study())
    assert "CANARY" not in repr(cohort) + repr(cohort.cases) + repr(cohort.slides)
    assert "CANARY" not in repr(read_table(tmp_path / "clinical.csv", ["time"])[1])
