"""Run a program attached to its parent: ``python -m ghanet_model.attached PROGRAM ARGUMENTS``.

A Python program of another package runs in this very process, and ends when its parent ends.
"""

import runpy
import sys

from .processes import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
