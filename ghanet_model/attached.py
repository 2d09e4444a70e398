"""Run a program attached to its parent: ``python -m ghanet_model.attached PROGRAM ARGUMENTS``.

A Python program of another package runs in this very process, and ends when its parent ends. It
can gain no rights beyond those it was started with.
"""

import ctypes
import runpy
import sys

from .processes import end_with_parent

NO_NEW_PRIVILEGES = 38  # of Linux's prctl; programs with a set-user-id bit then run without it


def give_up_new_privileges() -> None:
    """Let nothing that this process starts become another user; where the system has the means."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)


if __name__ == "__main__":
    end_with_parent()
    give_up_new_privileges()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
