"""The model card after TRIPOD+AI: every item stands there once, told or said not to be."""

import dataclasses
import re
import zipfile
from pathlib import Path

import example_run
import pytest
from support import write_study
from test_terms import MANIFEST

from ghanet_model.errors import SettingsError
from ghanet_model.genes import GenePanel, candidate_columns, candidate_groups
from ghanet_model.keys import make_release_key, make_site_key
from ghanet_model.network import new_model
from ghanet_model.percentile import OPEN
from ghanet_model.release import model_config, read_release
from ghanet_model.weights import weights_of
from server.card import model_card
from server.card_file import CARD_FILE, CARD_TEMPLATE, MOST_LETTERS, CardFile, read_card_file
from server.checkpoint import Checkpoint
from server.config import ServerConfig
from server.finish import release
from server.progress import Progress, Reporter
from server.roster import Roster, write_roster
from server.run import Run
from server.setup import refresh_invitation
from server.tripod import NOT_REPORTED, RULES, cell, tripod_items

LETTERS = {3: 3, 5: 2, 6: 3, 8: 3, 9: 3, 12: 7, 18: 6, 20: 3, 23: 2, 27: 3}  # others have no parts
NUMBERS = [  # of Collins et al., BMJ 2024;385:e078378
    f"{item}{letter}"
    for item in range(1, 28)
    for letter in ("abcdefg"[: LETTERS[item]] if item in LETTERS else [""])
]
STUDY = dataclasses.replace(example_run.STUDY, preset="compact", feature_width=8)
REFERENCE = {
    "risk_boxes": [[-OPEN, -2.5, 20], [-2.5, -1.5, 60], [-1.5, OPEN, 20]],
    "gene_groups": [
        {"name": "oncogenes", "r": 0.412, "low": 0.21, "high": 0.581, "cases": 77},
        {"name": "cytokines", "r": None, "low": None, "high": None, "cases": 0},
    ],
    "features": {"mean": [0.0]},
    "cox": {"clinical": {"covariates": ["age"], "mean": [68.2], "sd": [10.4], "beta": [0.322]}},
}


def rows_of(card: str) -> list[list[str]]:
    """The cells of the table of items."""
    table = card.partition("## TRIPOD+AI")[2]
    rows = [re.split(r" (?<!\\)\| ", line[2:-2]) for line in table.splitlines() if line[:2] == "| "]
    return [row for row in rows if row[0] != "item"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coordinator's folder with a release of the example study, funding stated."""
    found = tmp_path_factory.mktemp("coordinator")
    (found / CARD_FILE).write_text("format: 1\nfunding: >\n  The town,\n  nobody | else\n")
    make_release_key(found / "keys" / "release.key")
    roster = Roster(
        tuple(
            dataclasses.replace(member, public_key=make_site_key(found / "sites" / member.name))
            for member in example_run.roster().members
        )
    )
    write_roster(found, roster)
    columns = candidate_columns(STUDY)
    zeros = (0.0,) * len(columns)
    panel = GenePanel(tuple(candidate_groups(STUDY)), columns, zeros, (1.0,) * len(columns), 3.0)
    whole = example_run.example()
    weights = weights_of(new_model(model_config(STUDY, panel), seed=0))
    checkpoint = Checkpoint(example_run.ROUNDS, STUDY.digest, weights, whole.checkpoint.history)
    config = ServerConfig(found, "coordinator.example.org")
    reporter = Reporter(config.state, Progress(run="1"))
    run = Run(config, STUDY, roster, None, reporter)  # type: ignore[arg-type]
    assert whole.final
    release(run, checkpoint, panel, whole.final, whole.evaluation)
    return found


@pytest.fixture(scope="module")
def made(folder: Path) -> tuple[dict, str]:
    """Manifest and card of that release."""
    path = folder / "releases" / f"{STUDY.name}.ghanet"
    key = (folder / "keys" / "release.key.pub").read_bytes()
    with zipfile.ZipFile(path) as archive:
        card = archive.read("model_card.md").decode()
    return read_release(path, public_pem=key).manifest, card


def test_every_item_of_the_checklist_is_there_once():
    """27 items with their parts, 52 in all, in the checklist's order."""
    assert [rule.number for rule in RULES] == NUMBERS
    assert len(NUMBERS) == 52
    assert len({rule.title for rule in RULES}) == 52


def test_every_key_of_the_file_fills_an_item():
    """Nobody writes what is then shown nowhere; the contact stands below the table."""
    keys = [rule.key for rule in RULES if rule.key]
    known = {field.name for field in dataclasses.fields(CardFile)}
    assert sorted(keys) == sorted(known - {"format", "contact"})


def test_an_item_that_nobody_can_tell_has_a_key():
    """So that every item can be reported."""
    assert [rule.number for rule in RULES if not (rule.tell or rule.key)] == []


def test_no_item_is_dropped(made: tuple[dict, str]):
    """The card of a full release and that of an empty manifest print all of them, in order."""
    for card in (made[1], model_card(STUDY, MANIFEST)):
        rows = rows_of(card)
        assert [row[0] for row in rows] == NUMBERS
        assert all(len(row) == 3 and row[2] for row in rows)


def test_what_is_not_reported_is_said(made: tuple[dict, str]):
    """Nobody stated ethics; performance is unknown where nothing was evaluated."""
    said = {row[0]: row[2] for row in rows_of(made[1])}
    empty = {row[0]: row[2] for row in rows_of(model_card(STUDY, MANIFEST))}
    assert said["17"] == empty["17"] == empty["23a"] == empty["23b"] == NOT_REPORTED
    assert "federated 0.668 (0.631 to 0.705)" in said["23a"]
    assert "Not reported: performance by age" in said["23a"]


def test_manifest_and_card_agree(made: tuple[dict, str]):
    """The same items, and counts that are those of the table."""
    found, rows = made[0]["tripod"], rows_of(made[1])
    texts = [row[2] for row in rows]
    assert [item["number"] for item in found["items"]] == [row[0] for row in rows]
    assert found["not_reported"] == texts.count(NOT_REPORTED) > 0
    assert found["in_part"] == sum(" Not reported: " in text for text in texts) > 0
    assert found["of"] == 52 == found["reported"] + found["in_part"] + found["not_reported"]


def test_what_people_state_is_in_its_item(made: tuple[dict, str]):
    """On one line, whatever it holds; the manifest has it too."""
    rows = {row[0]: row[2] for row in rows_of(made[1])}
    assert rows["18a"] == r"The town, nobody \| else"
    assert made[0]["stated"] == {"funding": "The town, nobody | else"}


def test_a_statement_fills_what_the_release_lacks():
    """An item in part becomes one that is reported; what the software says stays."""
    before = {item.number: item for item in tripod_items(STUDY, MANIFEST)}
    stated = {"stated": {"outcome_definition": "Death of any cause since surgery"}}
    after = {item.number: item for item in tripod_items(STUDY, MANIFEST | stated)}
    assert (before["8a"].state, after["8a"].state) == ("in_part", "reported")
    assert after["8a"].said == f"Death of any cause since surgery. {before['8a'].said}"
    assert [n for n in after if after[n] != before[n]] == ["8a"]


def test_a_statement_cannot_break_the_table():
    """Neither cell nor row nor page."""
    assert cell("a | b\n<script>") == r"a \| b &lt;script>"


def test_calibration_and_reference_are_printed(made: tuple[dict, str]):
    """Where the manifest has them; else they are said not to be reported."""
    card = model_card(STUDY, made[0] | {"reference": REFERENCE})
    assert "| 12 | low | 64 | 0.919 | 0.910 (0.820 to 0.990) |" in card
    assert "| oncogenes | 0.412 (0.210 to 0.581) | 77 |" in card
    assert "| cytokines | not estimable | - |" in card
    assert "boxes of cases: 5% below -2.500; 25% -2.500 to -1.500; 50%" in card
    assert "; 95% above -1.500." in card
    assert "A percentile among training cases" in card
    assert "| clinical | age | 68.200 | 10.400 | 0.322 |" in card
    bare = model_card(STUDY, MANIFEST)
    for what in ("Calibration:", "gene groups follows the measured one:", "training cases' risk:"):
        assert f"{what} not reported." in bare


def test_a_private_study_tells_nothing_exact():
    """Its cases are those it enrolled, its C-index is that of noisy counts."""
    study = dataclasses.replace(
        STUDY,
        privacy="local",
        gene_scaling="s.csv",
        scaling=(("TP53_rnaseq", 0.0, 1.0),),
        validation=0.0,
        selected_round="last",
        train_alone=False,
    )
    noisy = {"c_within": {"value": 0.612, "low": 0.5, "high": 0.7}, "hospitals": ["aachen"]}
    items = {item.number: item.said for item in tripod_items(study, MANIFEST | {"noisy": noisy})}
    assert items["23a"] == "C-index 0.612 (0.500 to 0.700)."
    assert items["23b"] is None
    assert "as enrolled" in items["20a"]
    assert "public" in items["9a"]


def test_the_template_says_nothing_yet_and_names_every_key(tmp_path: Path):
    """As it is written all is open; without its comment signs every key is there."""
    (tmp_path / CARD_FILE).write_text(CARD_TEMPLATE)
    assert read_card_file(tmp_path) == {}
    lines = [re.sub(r"^# (\w+:)", r"\1", line) for line in CARD_TEMPLATE.splitlines()]
    (tmp_path / CARD_FILE).write_text("\n".join(lines))
    known = [field.name for field in dataclasses.fields(CardFile)]
    assert ["format", *read_card_file(tmp_path)] == known


def test_no_file_states_nothing(tmp_path: Path):
    """It is optional."""
    assert read_card_file(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("format: 1\nfundin: us\n", "unknown setting 'fundin'", "did you mean 'funding'?"),
        ("format: 1\nethics: [1]\n", "'ethics' is [1], expected str", ""),
        ("format: 2\n", "format is 2", ""),
        ("funding: us\n", "setting 'format' is missing", ""),
        (f"format: 1\nethics: {'a' * (MOST_LETTERS + 1)}\n", "has 2001 letters", "2000 at most"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, said: str, hint: str):
    """Unknown key, no text, another format, none, too long."""
    (tmp_path / CARD_FILE).write_text(text)
    with pytest.raises(SettingsError, match=re.escape(said)) as refused:
        read_card_file(tmp_path)
    assert str(refused.value).startswith("model_card.yaml: ")
    assert hint in (refused.value.hint or "")


def test_a_wrong_file_is_refused_before_a_run(tmp_path: Path):
    """By 'init', 'start' and 'train', which all renew the invitation first."""
    write_study(tmp_path)
    (tmp_path / "server.yaml").write_text("format: 1\nhost: 127.0.0.1\n")
    (tmp_path / CARD_FILE).write_text("format: 1\nfounding: us\n")
    with pytest.raises(SettingsError, match="unknown setting 'founding'"):
        refresh_invitation(tmp_path)
    assert not (tmp_path / "invitation.json").exists()
