"""While an image is built: is the torch that pip chose the one that was asked for?"""

import sys

import torch


def problem(wanted: str, version: str, cuda: str | None) -> str:
    """What is wrong, or nothing."""
    if wanted not in ("cpu", "cuda"):
        return f"TORCH is '{wanted}': use cpu or cuda"
    found = "cuda" if cuda else "cpu"
    if found == wanted:
        return ""
    return (
        f"torch {version} is built for {found}, and TORCH={wanted} was asked for: "
        "--build-arg TORCH_INDEX names an index that has it, see deploy/README.md"
    )


if __name__ == "__main__":
    if what := problem(sys.argv[1], torch.__version__, torch.version.cuda):
        print(f"build: error: {what}", file=sys.stderr)
        sys.exit(1)
