"""What people see of privacy: the plan before a study, and what was spent at a hospital."""

import shutil
from pathlib import Path

import pytest
from support import make_consortium
from test_private_study import PRIVATE, studied, write_scaling  # noqa: F401 - a fixture

import client.cli
import server.cli
from client.privacy_status import PLOT_FILE
from ghanet_model.ledger import CHARGED
from server.privacy_plan import PLOT_FILE as PLAN_PLOT


def ran(main, *arguments, capsys):
    """Exit code, and lines of both outputs."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_plan_names_hospitals_and_warns(tmp_path, capsys):
    """Before anything started: noise, epsilon after the last round, and who is too small."""
    coordinator = tmp_path / "coordinator"
    write_scaling(coordinator)
    make_consortium(tmp_path, **PRIVATE)
    code, out, _ = ran(server.cli.main, "privacy", "plan", "--folder", coordinator, capsys=capsys)
    assert code == 0
    assert "epsilon 3 at delta 1e-05" in out
    assert "accountant RDP" in out
    assert [line.split()[:2] for line in out.splitlines() if line.startswith("hospital-")] == [
        ["hospital-a", "30"],
        ["hospital-b", "45"],
    ]
    assert "warning: hospital-a is small" in " ".join(out.split())
    assert (coordinator / PLAN_PLOT).read_bytes().startswith(b"\x89PNG")


def test_a_plan_of_no_private_study_is_refused(tmp_path, capsys):
    """With what to write, in one line."""
    make_consortium(tmp_path)
    code, _, err = ran(
        server.cli.main, "privacy", "plan", "--folder", tmp_path / "coordinator", capsys=capsys
    )
    assert code == 1
    assert "privacy is off" in err
    assert "privacy: local" in err


def test_status_says_spent_and_left(studied, tmp_path, capsys):  # noqa: F811
    """By study and part, with a plot; nothing left without noise."""
    home = Path(shutil.copytree(studied.root / "hospital-a", tmp_path / "home"))
    code, out, _ = ran(client.cli.main, "privacy", "status", "--folder", home, capsys=capsys)
    assert code == 0
    rows = {line.split()[1]: line.split() for line in out.splitlines() if line.startswith("small")}
    assert rows["training"][2:4] == ["2", "6"]
    assert rows["evaluation"][2:4] == ["2", "2"]
    assert 2.9 < float(rows["training"][-1]) <= 3.0
    assert "of 3, 0.0" in out
    assert "without noise" not in out
    assert (home / PLOT_FILE).read_bytes().startswith(b"\x89PNG")


def test_status_of_a_changed_ledger_is_an_error(studied, tmp_path, capsys):  # noqa: F811
    """A line that says less was spent is found."""
    home = Path(shutil.copytree(studied.root / "hospital-a", tmp_path / "home"))
    path = home / "ledger" / "ledger.jsonl"
    text = path.read_text()
    assert CHARGED in text
    path.write_text(text.replace('"steps":3', '"steps":1', 1))
    code, _, err = ran(client.cli.main, "privacy", "status", "--folder", home, capsys=capsys)
    assert code == 1
    assert "ledger line" in err


@pytest.mark.parametrize("main", [client.cli.main, server.cli.main])
def test_wrong_action_is_usage(main, capsys):
    """Exit code 2, with what there is."""
    with pytest.raises(SystemExit) as ended:
        main(["privacy", "spend"])
    assert ended.value.code == 2
    assert "invalid choice" in capsys.readouterr().err
