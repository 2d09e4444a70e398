"""The gene panel of a study: fixed once, before round 1, from all hospitals with genes."""

import json

from ghanet_model.errors import StudyError
from ghanet_model.files import write_json
from ghanet_model.gene_classes import GeneClasses
from ghanet_model.gene_values import GeneValues, own_grid, scaling_of
from ghanet_model.genes import GenePanel
from ghanet_model.panel import coverage, make_panel, missing_columns
from ghanet_model.privacy import public_panel
from ghanet_model.question import Question, Sums, add_sums
from ghanet_model.study import ALL

from . import progress
from .intake import require
from .run import Run, gather, refreshed
from .statistics import ask_sums

PANEL_FILE = "panel.json"


def fix_panel(run: Run) -> GenePanel:
    """The gene panel: from its file, or from sums over all sites with genes.

    Raises:
        StudyError: the file belongs to another study.
        GenesError: a group has no usable column.
        TrainingError: a hospital with genes gave no sums.
    """
    path = run.config.state / PANEL_FILE
    if path.exists():
        stored = json.loads(path.read_text())
        if stored["study"] != run.study.digest:
            raise StudyError(
                f"state/{PANEL_FILE} belongs to another study than study.yaml",
                hint="restore study.yaml, or start the new study in a folder of its own",
            )
        return GenePanel.from_json(stored["panel"])
    if run.study.is_private:
        return _keep_public(run)
    gather(run, everybody=True)
    run = refreshed(run)
    run.reporter.say(phase=progress.STATISTICS)
    grid = own_grid(add_sums(_ask_all(run, GeneValues()).values()))
    values, classes = _ask_all(run, GeneValues(grid)), None
    scaling = scaling_of(add_sums(values.values()), grid)
    if run.study.gene_selection != ALL:
        classes = _ask_all(run, GeneClasses(scaling))
    panel = make_panel(run.study, values, scaling, classes)
    write_json(
        path,
        {
            "study": run.study.digest,
            "panel": panel.to_json(),
            "coverage": coverage(run.study, values),
            "missing": missing_columns(run.study, values),
        },
    )
    return panel


def _keep_public(run: Run) -> GenePanel:
    """The panel of a private study, which asks no hospital."""
    panel = public_panel(run.study)
    values = {"study": run.study.digest, "panel": panel.to_json(), "coverage": {}, "missing": {}}
    write_json(run.config.state / PANEL_FILE, values)
    return panel


def _ask_all(run: Run, topic: Question) -> dict[str, Sums]:
    """The sums of every hospital with genes.

    The panel is fixed once for the whole study, so none may be missing: one whose sums cannot be
    used ends the run here, where nothing is trained yet, until it is mended or revoked.
    """
    answers = ask_sums(run, topic, run.roster.with_genes())
    still = {member.name for member in run.roster_now().with_genes()}
    missing = {name: why for name, why in answers.left_out.items() if name in still}
    needed = max(1, len(answers.good) + len(missing))
    require(1, len(answers.good), needed, missing, "statistics")
    return answers.good
