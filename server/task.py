"""What the next run of the ServerApp is for: a small file that ``plan`` and ``recall`` leave.

Without the file a run trains the study. The file stays while a plan is made or notices are
delivered, so that no command takes that run for one that trains.
"""

import json
from pathlib import Path

from ghanet_model.errors import DeploymentError, SettingsError
from ghanet_model.files import write_json
from ghanet_model.study import STUDY_FILE

from .config import ServerConfig

TASK_FILE = "task.json"
RECALL = "recall"  # a task


def leave_plan(config: ServerConfig, study: Path) -> None:
    """Let the next run plan the study that lies in the folder ``study``."""
    write_json(config.state / TASK_FILE, {"task": "plan", "study": str(study.resolve())})


def leave_recall(config: ServerConfig) -> None:
    """Let the next run deliver recall notices and nothing else."""
    write_json(config.state / TASK_FILE, {"task": RECALL})


def _task(config: ServerConfig) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads((config.state / TASK_FILE).read_text())
    except FileNotFoundError:
        return {}
    return found


def planned_study(config: ServerConfig) -> Path | None:
    """The folder of the study that is to be planned; None where none is."""
    study = _task(config).get("study")
    return Path(study) if study else None


def is_recall(config: ServerConfig) -> bool:
    """Whether the next run delivers recall notices and nothing else."""
    return _task(config).get("task") == RECALL


def end_task(config: ServerConfig) -> None:
    """Let the next run train again."""
    (config.state / TASK_FILE).unlink(missing_ok=True)


def require_no_plan(config: ServerConfig, run: str | None) -> None:
    """Refuse to take a plan that is being made, or a recall, for a run that trains.

    Args:
        config: of the folder.
        run: that goes on or is about to; with none, what an ended plan left behind is removed.

    Raises:
        DeploymentError: a plan is being made, or notices are delivered.
    """
    if planned_study(config) is not None and run is not None:
        raise DeploymentError("a plan is being made", hint="wait until 'ghanet-server plan' ends")
    if is_recall(config) and run is not None:
        raise DeploymentError(
            "recall notices are being delivered", hint="wait until 'ghanet-server recall' ends"
        )
    end_task(config)


def folder_of_study(path: Path) -> Path:
    """The folder of a study that a person named by its file or folder.

    Raises:
        SettingsError: a file of another name.
    """
    if path.is_dir():
        return path
    if path.name != STUDY_FILE:
        raise SettingsError(
            f"{path}: not a {STUDY_FILE}",
            hint=f"name a file {STUDY_FILE} with its gene groups beside it, or their folder",
        )
    return path.parent
