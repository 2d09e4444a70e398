"""Two machines on one: each a network namespace, own processes, and a private copy of the files.

For tests of what operators do. A machine sees this one's files as they are; what it changes, in
/etc, /opt or /var, is in memory and gone with it. Needs root and Debian's iproute2.
"""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HELPERS = Path(__file__).parent / "machine"  # sudo, systemctl and an editor, as far as needed
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "HOME": "/root",
    "OMP_NUM_THREADS": "1",  # two machines share the cores of one
}
START = """\
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs tmpfs run
shift
for place in "$@"; do
    [ -e ".$place" ] || { mkdir -p ".$place"; mount --bind "$place" ".$place"; }
    while [ "$place" != / ]; do chmod a+rx ".$place"; place=$(dirname "$place"); done
done
exec chroot . /bin/bash --norc --noprofile
"""
TRIAL = """\
set -e
ip link add name one type veth peer name two
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
"""


def why_not() -> str:
    """Why machines cannot be made here; '' where they can."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [name for name in ("ip", "unshare", "setpriv") if shutil.which(name) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    trial = ["unshare", "--mount", "--pid", "--fork", "--net", "/bin/sh", "-c", TRIAL]
    done = subprocess.run(trial, capture_output=True, check=False)
    return "" if done.returncode == 0 else "no namespaces or overlays here"


class Machine:
    """A shell on a machine; what was defined in it stays, as in a terminal."""

    def __init__(self, name: str, place: Path, folder: Path) -> None:
        """Start it.

        Args:
            name: of its network namespace.
            place: an empty folder for its files.
            folder: where its shell starts.
        """
        self.name, self.said = name, ""
        python = [sys.prefix, sys.base_prefix, str(folder), str(place.parent)]
        command = ["ip", "netns", "exec", name, "unshare", "--mount", "--pid", "--fork"]
        command += ["--kill-child", "--propagation", "private", "/bin/sh", "-c", START, "sh"]
        self._shell = subprocess.Popen(
            [*command, str(place), *python],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=ENVIRONMENT,
        )
        self.run(f"cp {HELPERS}/* /usr/local/bin/ && cd {folder} && set -u")

    def run(self, text: str, *, check: bool = True) -> str:
        """Run lines as if typed; each must succeed. What they said, also to standard error."""
        end = f"end-{uuid.uuid4().hex}"
        lines = text.strip().splitlines()
        typed = "\n".join(f"{line} </dev/null || __failed $?" for line in lines) if check else text
        guard = f"__failed() {{ echo {end} $1; exit $1; }}\n" if check else ""
        assert self._shell.stdin
        assert self._shell.stdout
        self._shell.stdin.write(f"{guard}{typed}\necho {end} 0\n")
        self._shell.stdin.flush()
        said: list[str] = []
        for line in self._shell.stdout:
            text_before, found, rest = line.partition(end)
            said.append(text_before)
            if found:
                code = int(rest)
                break
        else:
            code = self._shell.wait()
        self.said = "".join(said)
        assert code == 0, f"{self.name}: {text}\n{self.said}"
        return self.said

    def close(self) -> None:
        """End it and all its processes."""
        self._shell.kill()
        self._shell.communicate()


@contextmanager
def two_machines(places: tuple[Path, Path], folder: Path) -> Iterator[tuple[Machine, Machine]]:
    """Two machines joined by one cable: 10.71.0.1 and 10.71.0.2."""
    mark = uuid.uuid4().hex[:6]
    names = [f"gh{mark}a", f"gh{mark}b"]
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip("link", "add", names[0], "type", "veth", "peer", "name", names[1])
        for number, name in enumerate(names, start=1):
            _ip("link", "set", name, "netns", name)
            _ip("-n", name, "addr", "add", f"10.71.0.{number}/24", "dev", name)
            _ip("-n", name, "link", "set", name, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        first, second = (Machine(n, p, folder) for n, p in zip(names, places, strict=True))
        try:
            yield first, second
        finally:
            first.close()
            second.close()
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
