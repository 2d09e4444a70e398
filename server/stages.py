"""A study from its first question to its report: every stage in turn. No Flower here.

Each stage looks for its result first, so that a run after any stop goes on.
"""

from .cohort import describe_cohorts
from .delivery import undone_words
from .evaluation import evaluate
from .finish import choose_model, deliver, release
from .panel import fix_panel
from .privacy_plan import require_plannable
from .private_evaluation import evaluate_privately, nothing_exact
from .progress import FINISHED
from .recall import recalled_words
from .recall_delivery import deliver_recalls
from .reference import describe_reference
from .report import write_report
from .rounds import train_rounds
from .run import Run
from .signature import compare_features


def run_study(run: Run) -> None:
    """Train, evaluate, release, deliver and report the study of a run.

    Raises:
        GHANetError: a stage cannot go on; what is done so far stays.
    """
    deliver_recalls(run)
    if run.study.is_private:
        require_plannable(run.study, {m.name: m.cases for m in run.roster.training()})
        panel = fix_panel(run)
        checkpoint = train_rounds(run, panel)
        final = nothing_exact(run)
        evaluation = evaluate_privately(run, checkpoint, panel)
    else:
        describe_cohorts(run)
        compare_features(run)
        panel = fix_panel(run)
        checkpoint, final = choose_model(run, train_rounds(run, panel), panel)
        evaluation = evaluate(run, checkpoint, panel, final.training_risk)
        reference = describe_reference(run, checkpoint, panel, evaluation["cox"])
        evaluation = {**evaluation, "reference": reference}
    content = release(run, checkpoint, panel, final, evaluation)
    undelivered = deliver(run, content)
    write_report(run.config, run.study, run.roster_now(), checkpoint, final)
    uninformed = deliver_recalls(run)
    said = [
        recalled_words(run.config, content),
        undone_words("release", undelivered),
        undone_words("recall", uninformed),
    ]
    again = "run 'ghanet-server release' when they are connected"
    run.reporter.say(
        phase=FINISHED,
        error=". ".join(filter(None, said)),
        hint=again if undelivered or uninformed else "",
    )
