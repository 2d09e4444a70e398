"""Launcher of Flower's SuperNode: the real one, ended when its parent ends, never left idle."""

import os
import sys

from flwr.supernode.cli import flower_supernode

from ghanet_model.processes import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    sys.argv[0] = "flower-supernode"
    code = 75  # a SuperNode whose loop ended can stay alive and idle; end it so it is restarted
    try:
        flower_supernode()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 75
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
