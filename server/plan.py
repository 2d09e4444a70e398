"""The plan of a study before it starts: who could take part, what it takes, what it can show.

Hospitals rehearse a round and tell what they would tell before and after training anyway. No
weights are sent, nothing is trained, no panel is fixed; a study can be planned as often as wanted.
"""

from collections.abc import Collection, Mapping
from typing import Any

from ghanet_model.errors import SettingsError, StudyError, TrainingError
from ghanet_model.evaluation import FollowUp
from ghanet_model.files import write_json
from ghanet_model.gene_values import GeneValues
from ghanet_model.question import Question, Sums
from ghanet_model.rehearsal import Rehearsal

from .cohort import describe_cohorts
from .intake import REASONS, word_of
from .plan_numbers import Found, plan_json
from .plan_page import PLAN_FILE
from .progress import FINISHED, STATISTICS
from .run import Run, quorum, refreshed
from .signature import compare_features
from .statistics import ask_each
from .task import end_task

REHEARSING = "rehearsing a round"


def plan_study(run: Run) -> dict[str, Any]:
    """Write report/plan.json; what it holds.

    Raises:
        SettingsError: nobody is enrolled.
        StudyError: every hospital holds another study.
        TrainingError: no hospital answered.
    """
    run = refreshed(run)
    if not run.roster.active():
        raise SettingsError(
            "no hospital is enrolled", hint="ghanet-server enrol NAME KEY --role trains --cases N"
        )
    why = {member.name: REASONS[word_of(member) or "offline"] for member in run.roster.members}
    online = run.exchange.online()
    rehearsed = _rehearse(run, online, why)
    tables = describe_cohorts(run, online=online)
    unlike = _compare(run, online)
    run.reporter.say(phase=STATISTICS)
    members = {member.name: member for member in run.roster.active() if member.name in rehearsed}
    with_genes = {name: GeneValues() for name, member in members.items() if member.has_genes}
    genes = _ask(run, with_genes, why)
    times = _ask(run, {name: FollowUp(member.trains) for name, member in members.items()}, why)
    found = Found(run.study, run.roster.members, rehearsed, tables, genes, times, why, unlike)
    plan = plan_json(found, needed=quorum(run))
    write_json(run.config.report / PLAN_FILE, plan)
    end_task(run.config)
    run.reporter.say(phase=FINISHED)
    return plan


def _rehearse(run: Run, online: Collection[str], why: dict[str, str]) -> dict[str, Sums]:
    """Ask those that are connected; somebody has to answer."""
    members = [member for member in run.roster.active() if member.name in online]
    run.reporter.say(phase=REHEARSING)
    topics = {member.name: Rehearsal(member.trains, member.has_genes) for member in members}
    found = _ask(run, topics, why)
    for name in found:
        del why[name]
    if found:
        return found
    reasons = {member.name: why[member.name] for member in run.roster.active()}
    if members and all(reasons[member.name] == REASONS["study"] for member in members):
        raise StudyError(
            "no hospital holds this study.yaml",
            hint="run 'ghanet-server init' in its folder, send the new invitation.json and wait "
            "until the hospitals have approved it",
        )
    raise TrainingError(
        "no hospital answered: " + "; ".join(f"{name}: {text}" for name, text in reasons.items()),
        hint="ask them to run 'ghanet-client start', then run 'ghanet-server plan' again",
    )


def _ask(run: Run, topics: Mapping[str, Question], why: dict[str, str]) -> dict[str, Sums]:
    """What hospitals tell; who tells nothing is noted with the reason."""
    members = [member for member in run.roster.active() if member.name in topics]
    answers = ask_each(run, topics, members)
    why |= answers.left_out
    return answers.good


def _compare(run: Run, online: Collection[str]) -> str:
    """Whose features differ from the others', in words; empty where nobody's do."""
    try:
        compare_features(run, online=online)
    except TrainingError as unlike:
        return str(unlike)
    return ""
