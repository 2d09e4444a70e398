"""The coordinator's Flower ServerApp: runs or plans the study of the folder named to it."""

import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from ghanet_model.errors import GHANetError
from ghanet_model.keys import site_key_pem
from ghanet_model.study import read_study

from .config import FOLDER_VARIABLE, read_server
from .grid import FlowerExchange, look_again_soon
from .plan import plan_study
from .progress import FAILED, Progress, Reporter, run_lock
from .recall_delivery import run_recalls
from .roster import read_roster
from .run import Run
from .stages import run_study
from .task import end_task, is_recall, planned_study

log = logging.getLogger("ghanet")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the study of the folder that the environment names, or plan one if it is told so.

    The outcome is in the folder's files.
    """
    folder = Path(os.environ[FOLDER_VARIABLE])
    config = read_server(folder)
    _log_to(config.logs / "run.log")
    with run_lock(config.state):
        reporter = Reporter(config.state, Progress(run=str(context.run_id)))
        reporter.say()
        try:
            look_again_soon()
            exchange = FlowerExchange(grid, lambda: _names_by_key(folder))
            planned = planned_study(config)
            study = read_study(planned or folder)
            run = Run(config, study, read_roster(folder), exchange, reporter)
            work = run_recalls if is_recall(config) else plan_study if planned else run_study
            work(run)
        except GHANetError as error:
            log.error("%s", error)  # noqa: TRY400 - the line is the whole story
            reporter.say(phase=FAILED, error=str(error), hint=error.hint)
        except OSError as error:
            log.exception("a file could not be read or written")
            why = (error.strerror or str(error)).lower()
            place = f": {error.filename}" if error.filename else ""
            hint = "mend it, then run 'ghanet-server train': it goes on from the last whole round"
            reporter.say(phase=FAILED, error=f"{why}{place}", hint=hint)
        except Exception as error:
            log.exception("unexpected error")
            hint = "see logs/run.log; please report it"
            reporter.say(phase=FAILED, error=f"unexpected {type(error).__name__}", hint=hint)
            raise
        finally:
            end_task(config)


def _names_by_key(folder: Path) -> dict[bytes, str]:
    """Hospitals in good standing, by the form in which Flower knows their keys."""
    active = read_roster(folder).active()
    return {site_key_pem(member.public_key): member.name for member in active}


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(path, maxBytes=5_000_000, backupCount=3)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
