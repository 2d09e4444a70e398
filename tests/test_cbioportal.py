"""cBioPortal: a study folder as it is becomes the same Cohort as tables; what is wrong is told."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from exports import STUDY, SYMBOLS, TRUTH, require_truth, write_settings

from client.cohort import read_cohort
from client.config import read_site
from ghanet_model.errors import SettingsError

NOT_SEQUENCED = [case for case in TRUTH if np.isnan(case.genes["TP53_mut"])]
AGAIN = TRUTH[3:6]  # these cases have a second sample
SAMPLES = {case.case_id: f"S{place:02d}-01" for place, case in enumerate(TRUTH)}
SCORES = "data_mrna_seq_v2_rsem_zscores_ref_all_samples.txt"


def lines(*rows: list[object]) -> str:
    """Rows as tab separated text."""
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def number(value: float) -> str:
    """A value as cBioPortal writes it."""
    return "NA" if np.isnan(value) else repr(value)


def clinical(names: tuple[str, str] = ("OS_MONTHS", "OS_STATUS")) -> str:
    """The patients' file with its four lines above the header."""
    above = [["#Patient", "Age", "Months", "Status"], ["#Id", "Years", "Months", "0 or 1"]]
    above += [["#STRING", "NUMBER", "NUMBER", "STRING"], ["#1", "1", "1", "1"]]
    rows = [
        [c.case_id, 60, repr(c.days / (365.25 / 12)), "1:DECEASED" if c.died else "0:LIVING"]
        for c in TRUTH
    ]
    return lines(*above, ["PATIENT_ID", "AGE", *names], *rows)


def samples() -> str:
    """The samples' file: metastases of some cases stand before their primary."""
    rows = [[c.case_id, SAMPLES[c.case_id].replace("-01", "-06")] for c in AGAIN]
    rows += [[c.case_id, SAMPLES[c.case_id]] for c in TRUTH]
    return lines(["#Patient", "Sample"], ["PATIENT_ID", "SAMPLE_ID"], *rows)


def matrix(suffix: str) -> str:
    """Genes as rows, samples as columns; a symbol twice, and one that the study has not."""
    extra = [SAMPLES[case.case_id].replace("-01", "-06") for case in AGAIN]
    rows: list[list[object]] = [
        [symbol, 1, *(number(c.genes[f"{symbol}_{suffix}"]) for c in TRUTH), *["1.5"] * 3]
        for symbol in SYMBOLS
    ]
    rows += [["TP53", 2, *["2"] * (len(TRUTH) + 3)], ["ABCD1", 3, *["x"] * (len(TRUTH) + 3)]]
    return lines(["Hugo_Symbol", "Entrez_Gene_Id", *SAMPLES.values(), *extra], *rows)


def mutations() -> str:
    """A MAF: one row per mutation, a silent one, and one of a sample that was not sequenced."""
    rows = [
        [symbol, SAMPLES[case.case_id], "Missense_Mutation", "x"]
        for case in TRUTH
        for symbol in SYMBOLS
        if case.genes[f"{symbol}_mut"] == 1
    ]
    silent = next(c for c in TRUTH if c.genes["KRAS_mut"] == 0)
    rows += [["KRAS", SAMPLES[silent.case_id], "Silent", "x"]]
    rows += [["KRAS", SAMPLES[NOT_SEQUENCED[0].case_id], "Missense_Mutation", "x"]]
    names = ["Hugo_Symbol", "Tumor_Sample_Barcode", "Variant_Classification", "HGVSp"]
    return lines(["#version 2.4"], names, *rows)


def write_study(home: Path, **settings: object) -> Path:
    """A hospital with slides and a study folder without meta files; the folder."""
    folder = home / "study"
    (folder / "case_lists").mkdir(parents=True)
    (folder / "data_clinical_patient.txt").write_text(clinical())
    (folder / "data_clinical_sample.txt").write_text(samples())
    (folder / SCORES).write_text(matrix("rnaseq"))
    (folder / "data_cna.txt").write_text(matrix("cnv"))
    (folder / "data_mutations.txt").write_text(mutations())
    listed = [s for case, s in SAMPLES.items() if case not in {c.case_id for c in NOT_SEQUENCED}]
    text = "cancer_study_identifier: x\ncase_list_ids: " + "\t".join(listed) + "\n"
    (folder / "case_lists" / "cases_sequenced.txt").write_text(text)
    slides = [[c.case_id, slide] for c in TRUTH for slide in c.slides]
    (home / "slides.tsv").write_text(lines(["case_id", "slide_id"], *slides))
    write_settings(home, {"slides": "slides.tsv", "cbioportal": "study", **settings})
    return folder


def write_meta(folder: Path, name: str, alteration: str, datatype: str, data: str) -> None:
    """A meta file."""
    text = f"genetic_alteration_type: {alteration}\ndatatype: {datatype}\ndata_filename: {data}\n"
    (folder / f"meta_{name}.txt").write_text(text)


def told(home: Path) -> list[str]:
    """The problems of a site as a person reads them."""
    return [str(problem) for problem in read_cohort(read_site(home), STUDY)[1]]


def test_study_folder_is_the_same_cohort(tmp_path):
    """Files are found by their usual names, and what was left out is counted."""
    write_study(tmp_path)
    said = require_truth(tmp_path)
    assert said[0] == (
        "cBioPortal: patients in data_clinical_patient.txt, samples in data_clinical_sample.txt, "
        f"expression in {SCORES} (z-scores, the only), copy number in data_cna.txt, "
        "mutations in data_mutations.txt"
    )
    assert "genes: 3 samples besides each case's first left out" in said
    assert f"{SCORES}: 1 row of a symbol after its first left out" in said
    assert "data_mutations.txt: 1 row that leave the protein as it is left out" in said
    assert "data_mutations.txt: 1 row of samples not sequenced left out" in said


def test_meta_files_name_the_data(tmp_path):
    """A file of any name is found if a meta file says what it is."""
    folder = write_study(tmp_path)
    kinds = {
        "data_clinical_patient.txt": ("CLINICAL", "PATIENT_ATTRIBUTES"),
        "data_clinical_sample.txt": ("CLINICAL", "SAMPLE_ATTRIBUTES"),
        SCORES: ("MRNA_EXPRESSION", "Z-SCORE"),
        "data_cna.txt": ("COPY_NUMBER_ALTERATION", "DISCRETE"),
        "data_mutations.txt": ("MUTATION_EXTENDED", "MAF"),
    }
    for place, (name, (alteration, datatype)) in enumerate(kinds.items()):
        (folder / name).rename(folder / f"file{place}.txt")
        write_meta(folder, str(place), alteration, datatype, f"file{place}.txt")
    require_truth(tmp_path)


def test_scores_come_before_other_expression(tmp_path):
    """Of several expression files the z-scores of all samples are read, and this is said."""
    folder = write_study(tmp_path)
    (folder / "data_mrna_seq_v2_rsem.txt").write_text("CANARY")
    (folder / "data_mrna_seq_v2_rsem_zscores_ref_diploid_samples.txt").write_text("CANARY")
    assert "(z-scores, first of 3, see cbioportal_expression)" in require_truth(tmp_path)[0]


def test_site_chooses_the_expression_file(tmp_path):
    """``cbioportal_expression`` names another file; one that is not there is a problem."""
    folder = write_study(tmp_path, cbioportal_expression="data_mrna_mine.txt")
    problem = "study: has no expression file 'data_mrna_mine.txt'"
    assert told(tmp_path)[0] == problem
    (folder / SCORES).rename(folder / "data_mrna_mine.txt")
    (folder / SCORES).write_text("CANARY")
    assert "data_mrna_mine.txt (not z-scores, as site.yaml says)" in require_truth(tmp_path)[0]


@pytest.mark.parametrize("columns", [{"time": "DFS_MONTHS"}, {"event": "DFS_STATUS"}])
def test_another_outcome_can_be_named(tmp_path, columns):
    """X_MONTHS and X_STATUS belong together: naming one is enough."""
    folder = write_study(tmp_path, columns=columns)
    text = clinical(("DFS_MONTHS", "DFS_STATUS"))
    text = text.replace("1:DECEASED", "1:Recurred/Progressed").replace("0:LIVING", "0:DiseaseFree")
    (folder / "data_clinical_patient.txt").write_text(text)
    require_truth(tmp_path)


def test_folder_without_genes(tmp_path):
    """A study without gene files is a site without genes, and this is said."""
    folder = write_study(tmp_path)
    for name in (SCORES, "data_cna.txt", "data_mutations.txt"):
        (folder / name).unlink()
    cohort, problems = read_cohort(read_site(tmp_path), STUDY)
    assert (cohort.genes, problems) == (None, ())
    assert "genes: none of the study's kinds is in the cBioPortal folder" in cohort.understood


def test_kinds_the_study_has_not_are_not_read(tmp_path):
    """A broken copy number file does not matter to a study of expression."""
    folder = write_study(tmp_path)
    (folder / "data_cna.txt").write_text("CANARY")
    study = dataclasses.replace(STUDY, gene_types=("rnaseq",))
    assert read_cohort(read_site(tmp_path), study)[1] == ()


def test_plain_rules_hold(tmp_path):
    """A patient without follow-up is a problem of its row, as in any table."""
    folder = write_study(tmp_path)
    path = folder / "data_clinical_patient.txt"
    rows = path.read_text().splitlines()
    cells = rows[8].split("\t")
    rows[8] = "\t".join([*cells[:2], "[Not Available]", "CANARY"])
    path.write_text("\n".join(rows))
    assert told(tmp_path) == [
        "data_clinical_patient.txt row 9: OS_MONTHS is missing",
        "data_clinical_patient.txt row 9: OS_STATUS is neither died nor alive",
    ]


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("data_clinical_patient.txt", None, None, "study: has no file of patients"),
        ("data_clinical_sample.txt", None, None, "study: has no file of samples"),
        (SCORES, "Hugo_Symbol", "Gene", f"{SCORES}: column 'Hugo_Symbol' is missing"),
        (SCORES, "KRAS\t1\t", "KRAS\t1\tx", f"{SCORES} row 3: a value is not a finite number"),
        (SCORES, "KRAS\t1\t", "KRAS\t", f"{SCORES} row 3: has 44 cells, the header 45"),
        (SCORES, "ABCD1", "1-Mar", f"{SCORES}: gene names were turned into dates: '1-Mar'"),
        (
            "case_lists/cases_sequenced.txt",
            None,
            None,
            "data_mutations.txt: case_lists/cases_sequenced.txt is missing",
        ),
    ],
)
def test_what_is_wrong_is_told(tmp_path, name, old, new, problem):
    """A file that is missing or damaged is a problem with its name, and its row if it has one."""
    path = write_study(tmp_path) / name
    if old is None:
        path.unlink()
    else:
        path.write_text(path.read_text().replace(old, new))
    assert problem in told(tmp_path)


def test_meta_file_cannot_name_a_file_elsewhere(tmp_path):
    """Nothing outside the study folder is read."""
    folder = write_study(tmp_path)
    write_meta(folder, "x", "MRNA_EXPRESSION", "Z-SCORE", "../slides.tsv")
    assert told(tmp_path)[0] == "study: meta_x.txt names a file elsewhere"


@pytest.mark.parametrize("table", ["clinical", "genes"])
def test_folder_stands_in_place_of_tables(tmp_path, table):
    """Naming the folder and a table is an error: which of them would count?"""
    write_study(tmp_path, **{table: "table.csv"})
    with pytest.raises(SettingsError, match=f"named beside {table}"):
        read_site(tmp_path)


def test_site_is_read_again_when_a_file_of_the_folder_changes(tmp_path):
    """All files that the cohort comes from are watched."""
    folder = write_study(tmp_path)
    watched = read_site(tmp_path).tables
    assert {folder / SCORES, folder / "case_lists" / "cases_sequenced.txt"} <= set(watched)
