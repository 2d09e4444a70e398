"""Launcher of Flower's SuperLink: the real one, ended when its parent ends."""

import sys

from flwr.superlink.cli import flower_superlink

from ghanet_model.processes import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    sys.argv[0] = "flower-superlink"
    flower_superlink()
