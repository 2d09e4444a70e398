"""``ghanet-client`` as its user meets it: command, exit code, exact words on standard error."""

import base64
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from demo.cohorts import FEATURES
from local import edit
from support import make_consortium, make_run

import client.cli
from ghanet_model.invitation import Invitation, write_invitation
from server.finish import evaluate_final, release
from server.panel import fix_panel
from server.rounds import train_rounds


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital that can take part; tests work on copies."""
    root = tmp_path_factory.mktemp("consortium")
    make_consortium(root, rounds=1)
    return root / "hospital-a"


@pytest.fixture
def copy(site: Path, tmp_path: Path) -> Path:
    """A copy of the hospital to break."""
    return Path(shutil.copytree(site, tmp_path / "hospital-a"))


def change_table(
    name: str, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> Callable[[Path], None]:
    """A fault in a table."""

    def fault(home: Path) -> None:
        table = pd.read_csv(home / name, dtype={"event": object})
        change(table).to_csv(home / name, index=False)

    return fault


def change_features(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """A fault in the features of the first row of slides.csv."""

    def fault(home: Path) -> None:
        with h5py.File(home / FEATURES / "A0000-1.h5", "r+") as file:
            changed = change(file["features"][:])
            del file["features"]
            file["features"] = changed

    return fault


def with_cell(row: int, column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """The table with one cell changed."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        found = table.astype({column: object})
        found.loc[row, column] = value
        return found

    return change


FAULTS = {
    "missing table": (
        lambda home: (home / "clinical.csv").unlink(),
        "clinical.csv: ",
    ),
    "unknown column": (
        lambda home: edit(home / "site.yaml", {"columns": {"time": "months"}}),
        "clinical.csv: column 'months' is missing",
    ),
    "event not 0 or 1": (
        change_table("clinical.csv", with_cell(5, "event", 2)),
        "clinical.csv row 7: ",
    ),
    "negative time": (
        change_table("clinical.csv", with_cell(3, "time", -1)),
        "clinical.csv row 5: ",
    ),
    "duplicate case": (
        change_table("clinical.csv", with_cell(4, "case_id", "A0000")),
        "clinical.csv row 6: ",
    ),
    "slide without features": (
        lambda home: (home / FEATURES / "A0000-1.h5").unlink(),
        "slides.csv row 2: ",
    ),
    "wrong width": (
        change_features(lambda features: features[:, :-1]),
        "slides.csv row 2: ",
    ),
    "features that are not numbers": (
        change_features(lambda features: np.where(features > 1, np.nan, features)),
        "slides.csv row 2: ",
    ),
    "no known gene": (
        change_table("genes.csv", lambda t: t.rename(columns=lambda c: c.replace("_rna", "_x"))),
        "genes.csv",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_check_ends_in_one_clear_line(
    name: str, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each fault is one line that says what and where, a hint, exit code 1, and no case id.

    The table and the picture are there all the same.
    """
    fault, where = FAULTS[name]
    fault(copy)
    assert client.cli.main(["check", "--folder", str(copy)]) == 1
    said = capsys.readouterr()
    assert f"plot: {copy / 'check.png'}" in said.out
    assert (copy / "check.png").exists()
    lines = said.err.splitlines()
    assert lines[0].startswith("ghanet-client: error: this site cannot take part: ")
    assert where in lines[0]
    assert len(lines) <= 2
    assert "A0000" not in " ".join(lines)


def test_a_good_site_passes(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``check`` counts what it found, says where its picture is, and exits 0."""
    assert client.cli.main(["check", "--folder", str(site)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "  with outcome          30" in said
    assert said[-3:] == ["problems: none", "", f"plot: {site / 'check.png'}"]


def test_init_needs_a_name(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new folder without a name is refused before anything is written."""
    invitation = str(site.parent / "coordinator" / "invitation.json")
    home = tmp_path / "new"
    assert client.cli.main(["init", "--folder", str(home), "--invitation", invitation]) == 1
    assert capsys.readouterr().err.splitlines()[0] == (
        "ghanet-client: error: a new folder needs a name"
    )
    assert not home.exists()


def test_init_again_keeps_key_and_settings(copy: Path) -> None:
    """A new invitation renews the study, never the key or site.yaml."""
    invitation = str(copy.parent / "renewed.json")
    key, text = (copy / "keys" / "site_key").read_bytes(), (copy / "site.yaml").read_text()
    shutil.copy(_invitation_of(copy), invitation)
    assert client.cli.main(["init", "--folder", str(copy), "--invitation", invitation]) == 0
    assert (copy / "keys" / "site_key").read_bytes() == key
    assert (copy / "site.yaml").read_text() == text


def _invitation_of(home: Path) -> Path:
    """An invitation made from what the hospital holds."""
    path = home.parent / "invitation.json"
    keys = home / "keys"
    write_invitation(
        path,
        Invitation(
            server="127.0.0.1:8000",
            authority=(keys / "ca.crt").read_text(),
            release_key=(keys / "release.pub").read_text(),
            study=(home / "study.yaml").read_text(),
            gene_groups_name="gene_groups.csv",
            gene_groups=(home / "gene_groups.csv").read_text(),
            gene_scaling_name="",
            gene_scaling="",
            bundle=base64.b64encode((home / "bundle.fab").read_bytes()).decode(),
        ),
    )
    return path


@pytest.fixture(scope="module")
def released(site: Path) -> bytes:
    """A release of one round."""
    one = make_run(site.parent)
    panel = fix_panel(one)
    checkpoint = train_rounds(one, panel)
    return release(one, checkpoint, panel, evaluate_final(one, checkpoint, panel))


def test_a_release_with_one_byte_changed_is_refused(
    copy: Path, released: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever byte it is: one line, exit code 1, and no predictions."""
    for place in (0, 40, 200, len(released) // 2, len(released) - 1):
        content = bytearray(released)
        content[place] ^= 1
        (copy / "changed.ghanet").write_bytes(content)
        options = ["predict", "--folder", str(copy), "--release", str(copy / "changed.ghanet")]
        assert client.cli.main(options) == 1
        first = capsys.readouterr().err.splitlines()[0]
        assert first.startswith("ghanet-client: error: changed.ghanet: ")
    assert not (copy / "predictions.csv").exists()


def test_predict_needs_no_genes_and_no_outcomes(copy: Path, released: bytes) -> None:
    """Predictions are the same with the genes and outcomes taken away."""
    (copy / "small.ghanet").write_bytes(released)
    options = ["predict", "--folder", str(copy), "--release", str(copy / "small.ghanet")]
    assert client.cli.main(options) == 0
    with_genes = (copy / "predictions.csv").read_text()
    (copy / "genes.csv").unlink()
    (copy / "clinical.csv").unlink()
    assert client.cli.main(options) == 0
    assert (copy / "predictions.csv").read_text() == with_genes


def test_predict_without_a_release_says_so(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty inbox is named."""
    assert client.cli.main(["predict", "--folder", str(copy)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "ghanet-client: error: no release in inbox/",
        "ghanet-client: hint: name one with --release FILE",
    ]


def test_a_misspelt_setting_is_explained(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown key of site.yaml is an error with the nearest known key."""
    edit(copy / "site.yaml", {"featurs": "x"})
    assert client.cli.main(["check", "--folder", str(copy)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "ghanet-client: error: site.yaml: unknown setting 'featurs'",
        "ghanet-client: hint: did you mean 'features'?",
    ]


def test_usage_errors_exit_with_2() -> None:
    """A command that does not exist is a usage error."""
    with pytest.raises(SystemExit) as stopped:
        client.cli.main(["fly"])
    assert stopped.value.code == 2
