"""Who may import whom, read from the source with ``ast``; no module is loaded."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("ghanet_model", "client", "server")
NETWORK = {"flwr", "grpc", "httpx", "requests"}
FORBIDDEN = {  # package -> what it may not import
    "ghanet_model": {"client", "server", *NETWORK},
    "client": {"server"},
    "server": {"client"},
}
FLOWER = {
    "server/app.py",
    "server/grid.py",
    "server/superlink.py",
    "client/app.py",
    "client/doctor_key.py",
    "client/superexec.py",
    "client/supernode.py",
}
PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
PICKLING_CALLS = {"torch.load", "torch.save", "pd.read_pickle", "pandas.read_pickle"}
IMPORTERS = {"importlib.import_module", "import_module", "__import__"}


def imported(tree: ast.AST) -> Iterator[str]:
    """Every name that a module imports from elsewhere, dotted, wherever the statement stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in IMPORTERS:
            text = ast.unparse(node.args[0]).lstrip("f")
            if not text.startswith("'."):  # a module's own neighbour
                yield text.strip("'") if text.startswith("'") else "a name made at run time"


def pickling(tree: ast.AST) -> Iterator[str]:
    """Every use of pickle in a module."""
    for name in imported(tree):
        if name.split(".")[0] in PICKLES or name in PICKLING_CALLS:
            yield name
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            unsafe = any(
                word.arg == "allow_pickle" and ast.unparse(word.value) != "False"
                for word in node.keywords
            )
            if called in PICKLING_CALLS or called.endswith(".to_pickle") or unsafe:
                yield called


def violations(root: Path) -> list[str]:
    """What breaks the rules below ``root``, as 'file: name'."""
    found = []
    for path in sorted(p for package in PACKAGES for p in (root / package).rglob("*.py")):
        file, tree = path.relative_to(root).as_posix(), ast.parse(path.read_text())
        package = file.split("/")[0]
        for name in imported(tree):
            top = name.split(".")[0]
            if (
                top in FORBIDDEN[package]
                or (top == "flwr" and file not in FLOWER)
                or name == "a name made at run time"
            ):
                found.append(f"{file}: {name}")
        found += [f"{file}: {name}" for name in pickling(tree)]
    return found


def test_the_source_keeps_the_rules():
    """Server and client meet only in ghanet_model; Flower and pickle stay where they may be."""
    assert violations(ROOT) == []


def test_the_whole_source_was_looked_at():
    """Every package is there, and the files that talk to Flower do import it."""
    for package in PACKAGES:
        assert list((ROOT / package).glob("*.py"))
    for file in FLOWER:
        names = imported(ast.parse((ROOT / file).read_text()))
        assert "flwr" in {name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    ("file", "text", "name"),
    [
        ("server/a.py", "import client.app", "client.app"),
        ("server/a.py", "from client import app", "client.app"),
        ("client/a.py", "def f():\n    from server.app import app", "server.app.app"),
        ("client/a.py", "import importlib\nimportlib.import_module('server')", "server"),
        ("client/a.py", "x = 'server'\n__import__(x)", "a name made at run time"),
        ("ghanet_model/a.py", "import numpy, httpx", "httpx"),
        ("ghanet_model/a.py", "if True:\n    import grpc", "grpc"),
        ("ghanet_model/deep/a.py", "from server.roster import Roster", "server.roster.Roster"),
        ("client/a.py", "from flwr.app import Message", "flwr.app.Message"),
        ("server/a.py", "import pickle as p", "pickle"),
        ("server/a.py", "from joblib import load", "joblib.load"),
        ("server/a.py", "import torch\ntorch.load('x')", "torch.load"),
        ("server/a.py", "from torch import load", "torch.load"),
        ("client/a.py", "import numpy as np\nnp.load('x', allow_pickle=True)", "np.load"),
        ("client/a.py", "frame.to_pickle('x')", "frame.to_pickle"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, file, text, name):
    """The rule finds each thing that it forbids, and names file and import."""
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert violations(tmp_path) == [f"{file}: {name}"]


@pytest.mark.parametrize(
    "text",
    [
        "from .server import x",
        "import_module('.server', 'client')",
        "import_module(f'.{x}', 'client')",
        "import clients",
        "x = 'import server'",
    ],
)
def test_what_only_looks_alike_is_not_found(tmp_path, text):
    """A module's own neighbours, longer names and texts break no rule."""
    (tmp_path / "client").mkdir()
    (tmp_path / "client" / "a.py").write_text(text)
    assert violations(tmp_path) == []


@pytest.mark.parametrize("module", ["client.cli", "server.cli"])
def test_a_command_starts_at_once(module: str) -> None:
    """Nothing that takes a second is imported before it is needed: torch, pandas, Flower."""
    slow = "{'torch', 'pandas', 'lifelines', 'matplotlib', 'opacus', 'flwr'}"
    code = f"import sys, {module}; print(sorted({slow} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
