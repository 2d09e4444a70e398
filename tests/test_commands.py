"""Commands: exit codes, one line per error and its hint, no traceback unless asked for."""

import argparse
import errno

import pytest

from ghanet_model.commands import run_command, say_error
from ghanet_model.errors import CohortError, GHANetError


def parser_of(work) -> argparse.ArgumentParser:
    """A command line with one command that does ``work``."""
    parser = argparse.ArgumentParser(prog="ghanet-test")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("do")
    command.add_argument("--debug", action="store_true")
    command.add_argument("--count", type=int, default=0)
    command.set_defaults(command=work)
    return parser


def run(work, *options: str) -> int:
    """Run the command."""
    return run_command(parser_of(work), ["do", *options])


def raising(error: BaseException):
    """A command that fails in this way."""

    def work(_: argparse.Namespace) -> int:
        raise error

    return work


def test_a_command_that_is_done_says_nothing(capsys):
    """Exit code 0, and not a word that it did not say itself."""
    assert run(lambda _: 0) == 0
    assert capsys.readouterr() == ("", "")


def test_a_commands_own_exit_code_is_kept():
    """A command may end with 1 without an error, as 'status' does."""
    assert run(lambda options: options.count, "--count", "1") == 1


@pytest.mark.parametrize("options", [["--coutn", "1"], ["--count", "x"], ["extra"]])
def test_a_wrong_call_is_exit_code_2(capsys, options):
    """Usage errors are told from failures."""
    with pytest.raises(SystemExit) as caught:
        run(lambda _: 0, *options)
    assert caught.value.code == 2
    assert "usage: ghanet-test" in capsys.readouterr().err


def test_a_missing_command_is_exit_code_2():
    """Without a command nothing is run."""
    with pytest.raises(SystemExit) as caught:
        run_command(parser_of(lambda _: 0), [])
    assert caught.value.code == 2


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_our_errors_are_one_line_and_a_hint(capsys, debug):
    """What failed, then what to do, on stderr; with --debug too."""
    assert run(raising(CohortError("clinical.csv: empty", hint="fill it")), *debug) == 1
    assert capsys.readouterr() == (
        "",
        "ghanet-test: error: clinical.csv: empty\nghanet-test: hint: fill it\n",
    )


def test_an_error_without_hint_is_one_line(capsys):
    """No empty hint is printed."""
    assert run(raising(GHANetError("no"))) == 1
    assert capsys.readouterr().err == "ghanet-test: error: no\n"


def test_long_texts_become_one_line_each(capsys):
    """Line ends inside messages and hints are blanks: one line, one fact."""
    run(raising(GHANetError("a\n  b\r\n\tc\n", hint=" d\ne ")))
    assert capsys.readouterr().err == "ghanet-test: error: a b c\nghanet-test: hint: d e\n"


def test_say_error_is_what_commands_print(capsys):
    """Errors that do not come from an exception look the same."""
    say_error("x", "a", "b")
    assert capsys.readouterr().err == "x: error: a\nx: hint: b\n"


def test_a_real_missing_file_is_named(capsys, tmp_path):
    """The system's own words, in small letters, and which file."""
    path = tmp_path / "Absent.csv"
    assert run(lambda _: len(path.read_bytes())) == 1
    wanted = f"ghanet-test: error: no such file or directory: {path}\n"
    assert capsys.readouterr().err == wanted


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on device"),
        (OSError("Strange disk"), "strange disk"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "broken pipe"),
        (KeyboardInterrupt(), "stopped"),
    ],
)
def test_what_the_system_says_is_one_line(capsys, error, words):
    """A full disk, or Ctrl-C, is no surprise and has no traceback."""
    assert run(raising(error), "--debug") == 1
    assert capsys.readouterr().err == f"ghanet-test: error: {words}\n"


def test_the_unexpected_is_one_line_without_its_text(capsys):
    """A fault of ours says its kind and how to report it; its text might name a case."""
    assert run(raising(ZeroDivisionError("case TCGA-01"))) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "ghanet-test: error: unexpected ZeroDivisionError"
    assert "--debug" in said[1]
    assert len(said) == 2


def test_the_unexpected_has_a_traceback_if_asked_for(capsys):
    """With --debug the traceback stands above the error."""
    assert run(raising(ZeroDivisionError("why")), "--debug") == 1
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert "ZeroDivisionError: why" in said
    assert "error: unexpected ZeroDivisionError" in said


def test_a_command_that_wants_to_exit_does(capsys):
    """SystemExit is not an error to be told."""
    with pytest.raises(SystemExit):
        run(raising(SystemExit(3)))
    assert capsys.readouterr().err == ""
