"""``ghanet-server``: the coordinator's command. Translates arguments; the work is elsewhere."""

import argparse
import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ghanet_model.commands import add_command, run_command
from ghanet_model.errors import DeploymentError, GHANetError, SettingsError, TrainingError
from ghanet_model.files import sha256
from ghanet_model.invitation import INVITATION_FILE, fingerprints, read_invitation
from ghanet_model.study import RELEASE_SUFFIX, read_study

from . import control, progress
from .config import SERVER_FILE, ServerConfig, read_server
from .door_files import require_authority
from .door_words import status_lines
from .follow import describe, follow, report_table, sites_line
from .members import add_member_commands, state_of
from .plan_page import PLAN_FILE, print_plan
from .recall import file_of, find_recall, known_lines, path_of, recall_lines, recall_release
from .roster import read_roster
from .serve import ready_mark, serve
from .setup import init_folder, refresh_invitation, renew_certificate
from .task import end_task, folder_of_study, leave_plan, leave_recall, require_no_plan

console = Console(highlight=False, markup=False, soft_wrap=True)


def init(options: argparse.Namespace) -> int:
    """Make a coordinator's folder; again after editing study.yaml, to renew the invitation."""
    if (options.folder / SERVER_FILE).exists():
        if options.host or options.port:
            raise SettingsError(
                f"{SERVER_FILE} exists in {options.folder}",
                hint=f"edit {SERVER_FILE}, or choose another folder with --folder",
            )
        require_authority(read_server(options.folder))  # an older folder may lack it
        study = refresh_invitation(options.folder)
        console.print(f"renewed invitation.json: study {study.name}, digest {study.digest[:16]}")
        _say_fingerprints(options.folder)
        return 0
    if not options.host:
        raise SettingsError(
            "a new folder needs a host", hint="add --host, the name hospitals will use"
        )
    config = init_folder(options.folder, host=options.host, port=options.port or 8000)
    console.print(f"made {config.folder}")
    _say_fingerprints(options.folder)
    console.print(
        "next: edit study.yaml and gene_groups.csv, run 'ghanet-server init' again, send "
        "invitation.json to the hospitals, enrol each with the key file and the request that it "
        "sends back"
    )
    return 0


def _say_fingerprints(folder: Path) -> None:
    for what, fingerprint in fingerprints(read_invitation(folder / INVITATION_FILE)).items():
        console.print(f"fingerprint of the {what}: {fingerprint}")


def start(options: argparse.Namespace) -> int:
    """Serve hospitals until stopped."""
    config = read_server(options.folder)
    refresh_invitation(options.folder)
    if renew_certificate(config):
        console.print("made a new server certificate; hospitals need nothing new")
    return serve(config, console.print)


def health(options: argparse.Namespace) -> int:
    """Say whether 'start' goes on, answers hospitals, and certificates hold; 1 if not."""
    from .health import health_lines  # noqa: PLC0415 - not for every command

    for line in health_lines(read_server(options.folder), dt.datetime.now(dt.UTC)):
        console.print(line)
    return 0


def train(options: argparse.Namespace) -> int:
    """Train the study to its end, or go on where it stopped."""
    config, study = read_server(options.folder), refresh_invitation(options.folder)
    roster = read_roster(options.folder)
    if not roster.with_genes():
        raise SettingsError(
            "no enrolled hospital trains with genes",
            hint="ghanet-server enrol NAME KEY --role trains --genes --cases N",
        )
    for member in roster.active():
        if not member.cases:
            raise SettingsError(
                f"roster.json does not say how many cases '{member.name}' may claim",
                hint=f"ghanet-server renew {member.name} --cases N",
            )
    if study.minimum_sites > len(roster.training()):
        raise SettingsError(
            f"study.yaml asks for {study.minimum_sites} training hospitals, "
            f"{len(roster.training())} are enrolled"
        )
    from .checkpoint import read_checkpoint  # noqa: PLC0415 - torch takes seconds

    read_checkpoint(config.state / "checkpoints", study=study.digest)
    _run(config)
    report = json.loads((config.report / "report.json").read_text())
    console.print(report_table(report))
    console.print(f"report: {config.report / 'report.html'}")
    return _say_release(config)


def _run(config: ServerConfig) -> None:
    """Start a run, or join the one that goes on, and follow it to its end."""
    _require_serving(config)
    run = _run_in_progress(config)
    require_no_plan(config, run)
    if run is None:
        run = control.start_run(config)
    else:
        console.print("a run is in progress; following it")
    try:
        last = follow(config, run, console)
    except KeyboardInterrupt:
        console.print("no longer following; the run goes on: ghanet-server status")
        raise
    _say_warning(last)


def _say_warning(last: progress.Progress) -> None:
    if last.error:
        console.print("warning: " + "; ".join(filter(None, (last.error, last.hint))))


def _run_in_progress(config: ServerConfig) -> str | None:
    """The run that works or is about to; runs whose ServerApp is gone are ended in Flower."""
    now = progress.read_progress(config.state)
    if now and progress.is_running(config.state):
        return now.run
    unfinished = control.unfinished_runs(config)
    begun = [run for run in unfinished if now and now.run == run]
    for run in begun:
        control.stop_run(config, run)
    starting = [run for run in unfinished if run not in begun]
    return starting[-1] if starting else None


def _require_serving(config: ServerConfig) -> None:
    if not (control.is_serving(config) and ready_mark(config).exists()):
        raise DeploymentError(
            f"no server answers at {config.local_address}",
            hint="run 'ghanet-server start' in another terminal and wait until it serves",
        )


def _say_release(config: ServerConfig) -> int:
    """Where the release is; exit code 1 where it was recalled, which the run has said."""
    path = config.releases / f"{read_study(config.folder).name}{RELEASE_SUFFIX}"
    digest = sha256(path.read_bytes())
    if find_recall(config, digest):
        return 1
    console.print(f"release: {path} sha256 {digest}")
    return 0


def release(options: argparse.Namespace) -> int:
    """Deliver the release of a finished study to hospitals that do not have it yet."""
    from .checkpoint import read_checkpoint  # noqa: PLC0415 - torch takes seconds

    config, study = read_server(options.folder), read_study(options.folder)
    found = read_checkpoint(config.state / "checkpoints", study=study.digest)
    done = found.number if found else 0
    if done < study.rounds:
        raise TrainingError(
            f"{done} of {study.rounds} rounds are trained", hint="run 'ghanet-server train' first"
        )
    _run(config)
    return _say_release(config)


def recall(options: argparse.Namespace) -> int:
    """Recall a release: hospitals refuse it from then on; again, for those that were away."""
    config = read_server(options.folder)
    notice, new = recall_release(config, options.release, reason=options.reason)
    console.print(str(notice) if new else f"there already: {notice}")
    if new and not file_of(config, notice.sha256):
        console.print("no file in releases/ has this digest: compare it with the hospitals'")
    console.print(f"for hospitals that you reach by mail only: {path_of(config, notice)}")
    if not (control.is_serving(config) and ready_mark(config).exists()):
        console.print("no server answers: it goes with the next 'train', 'release' or 'recall'")
    elif _run_in_progress(config) is not None:
        console.print(
            "a run is in progress: if it trains, it delivers this at its end; else recall again"
        )
    else:
        leave_recall(config)
        _follow_task(config)
    for line in known_lines(config, notice):
        console.print(line)
    return 0


def _follow_task(config: ServerConfig) -> None:
    """Start a run for the task that was left, and follow it to its end."""
    try:
        run = control.start_run(config)
    except GHANetError:
        end_task(config)
        raise
    _say_warning(follow(config, run, console))


def plan(options: argparse.Namespace) -> int:
    """Say, before a study starts, who could take part, what it takes and what it can show."""
    config, study = read_server(options.folder), folder_of_study(options.study or options.folder)
    if read_study(study).is_private:
        raise SettingsError(
            "study.yaml: privacy is local: hospitals tell nothing of their cases for a plan",
            hint="ghanet-server privacy plan",
        )
    _require_serving(config)
    if _run_in_progress(config) is not None:
        raise DeploymentError(
            "a run is in progress", hint="plan when it has ended; ghanet-server status"
        )
    leave_plan(config, study)
    _follow_task(config)
    print_plan(json.loads((config.report / PLAN_FILE).read_text()), console)
    console.print(f"all numbers: {config.report / PLAN_FILE}")
    return 0


def privacy(options: argparse.Namespace) -> int:
    """Say what the privacy of a study costs and how much of it is noise; nobody is asked."""
    from .privacy_plan import PLOT_FILE, plan_lines, write_plot  # noqa: PLC0415 - torch

    study = read_study(folder_of_study(options.study or options.folder))
    cohorts = {member.name: member.cases for member in read_roster(options.folder).training()}
    cohorts = cohorts or {"nominal": study.nominal_cases}
    for line in plan_lines(study, cohorts):
        console.print(line)
    path = options.folder / PLOT_FILE
    write_plot(path, study, cohorts)
    console.print(f"plot: {path}")
    return 0


def status(options: argparse.Namespace) -> int:
    """Say what serves, who is connected, and where the study stands."""
    config, study = read_server(options.folder), read_study(options.folder)
    serving = control.is_serving(config)
    ready = "serving" if ready_mark(config).exists() else "starting"
    console.print(f"server: {ready if serving else 'not running'} at {config.address}")
    console.print(f"study: {study.name}, digest {study.digest[:16]}")
    roster = read_roster(options.folder)
    for line in status_lines(config, roster, dt.datetime.now(dt.UTC)):
        console.print(line)
    nodes = control.online_nodes(config) if serving else {}
    for member in roster.members:
        genes = " with genes" if member.has_genes else ""
        console.print(
            f"  {member.name}: {member.role}{genes}, {state_of(member, nodes, serving=serving)}"
        )
    now = progress.read_progress(config.state)
    if now is None:
        console.print("run: none yet")
    else:
        stopped = not now.ended and not progress.is_running(config.state)
        console.print(f"run: {describe(now)}{' (stopped)' if stopped else ''}  {sites_line(now)}")
    if now and now.error:
        console.print(f"  {now.error}" + (f"; {now.hint}" if now.hint else ""))
    for line in recall_lines(config):
        console.print(line)
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Say what is wrong with server, keys, study and machine, and what to do; 1 if anything."""
    from ghanet_model.doctor import tell  # noqa: PLC0415

    from .doctor import examine  # noqa: PLC0415 - torch takes seconds

    return tell(examine(options.folder), console.print, side="coordinator", output=options.json)


def report(options: argparse.Namespace) -> int:
    """Write the report of what is known so far, at any time; no server is needed."""
    from .report import report_now  # noqa: PLC0415 - torch and matplotlib take seconds

    console.print(f"report: {report_now(read_server(options.folder), options.output)}")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """All commands and their few options."""
    parser = argparse.ArgumentParser(
        prog="ghanet-server", description="coordinate a federated G-HANet study"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    making = add_command(commands, "init", init)
    making.add_argument("--host", help="name or address hospitals will use")
    making.add_argument("--port", type=int, help="default: 8000")
    add_member_commands(commands)
    add_command(commands, "start", start)
    add_command(commands, "health", health)
    planning = add_command(commands, "plan", plan)
    planning.add_argument("study", type=Path, nargs="?", help="default: study.yaml of the folder")
    privately = add_command(commands, "privacy", privacy)
    privately.add_argument("action", choices=["plan"], help="before a study starts")
    privately.add_argument("study", type=Path, nargs="?", help="default: study.yaml of the folder")
    add_command(commands, "train", train)
    add_command(commands, "status", status)
    add_command(commands, "doctor", doctor).add_argument("--json", help="a file; '-': only this")
    add_command(commands, "release", release)
    recalling = add_command(commands, "recall", recall)
    what = "a file, its name in releases/, or its SHA-256"
    recalling.add_argument("release", metavar="NAME.ghanet|SHA256", help=what)
    recalling.add_argument("--reason", default="", help="what is wrong with it, for hospitals")
    reporting = add_command(commands, "report", report)
    reporting.add_argument("--output", type=Path, help="default: report/report.html")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``ghanet-server``."""
    return run_command(make_parser(), arguments)
