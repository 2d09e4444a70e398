"""deploy/README.md, run as it stands: two machines, from empty to a release and back to empty."""

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from demo.cohorts import ENCODER
from machines import Machine, two_machines, why_not
from readme import Block, blocks
from support import write_cohort, write_study

ROOT = Path(__file__).parents[1]
COORDINATOR, HOSPITAL = "coordinator", "hospital"
HOST, PORT = "10.71.0.1", 8000
SETTINGS = {
    "encoder": ENCODER,
    "slides": "/srv/ghanet-data/slides.csv",
    "features": "/srv/ghanet-data/features",
    "clinical": "/srv/ghanet-data/clinical.csv",
    "genes": "/srv/ghanet-data/genes.csv",
    "threads": 1,
}
SCAN = """\
import errno, socket
found = []
for port in range(1, 65536):
    with socket.socket() as probe:
        probe.settimeout(5)
        if probe.connect_ex(("{host}", port)) != errno.ECONNREFUSED:
            found.append(port)
print(*found)
"""
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[dict[str, Machine]]:
    """An empty coordinator's machine and an empty hospital's, where packages are installed."""
    write_study(tmp_path / "study", rounds=1, replicates=10)
    write_cohort(tmp_path / "data", "hospital-a", clinical=False)
    places = tmp_path / "machine-a", tmp_path / "machine-b"
    for place in places:
        place.mkdir()
    with two_machines(places, ROOT) as pair:
        for one in pair:
            install(one)
        prepare_edits(*pair, tmp_path)
        yield dict(zip((COORDINATOR, HOSPITAL), pair, strict=True))


def install(machine: Machine) -> None:
    """What 'pip packages' does, from this test's own environment."""
    machine.run(f"ln -s {sys.prefix} /opt/ghanet; export EDITOR=edit HOST={HOST}")


def prepare_edits(coordinator: Machine, hospital: Machine, folder: Path) -> None:
    """What people would write into study.yaml and site.yaml, and a hospital's data."""
    study = yaml.safe_load((folder / "study" / "study.yaml").read_text())
    for name, values in (("study.yaml", study), ("site.yaml", SETTINGS)):
        text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())
        (folder / name).write_text(text)
    coordinator.run(f"mkdir /edits; cp {folder}/study.yaml /edits/")
    hospital.run(f"mkdir /edits; cp {folder}/site.yaml /edits/")
    hospital.run(f"cp -r {folder}/data /srv/ghanet-data; chmod -R a+rX /srv/ghanet-data")


class Reader:
    """Works through the page, block after block."""

    def __init__(self, machines: dict[str, Machine]) -> None:
        self.machines = machines
        self.left = [block for block in blocks() if block.mode in ("", "pip", "account")]

    def do(self, side: str, step: str) -> str:
        """Run the blocks of a step; what they said."""
        mine = [block for block in self.left if (block.side, block.step) == (side, step)]
        assert mine, f"no block '{side} {step}'"
        said = ""
        for block in mine:
            said += self.machines[side].run(answered(block))
        return said


def answered(block: Block) -> str:
    """Where a person is asked for a yes, a script says it."""
    return re.sub(r"(ghanet-client approve)$", r"\1 --yes", block.text, flags=re.MULTILINE)


def send(machines: dict[str, Machine], sender: str, *files: str) -> None:
    """A mail with files, from the folder where one works to the other side's."""
    other = HOSPITAL if sender == COORDINATOR else COORDINATOR
    for file in files:
        text = machines[sender].run(f"base64 --wrap 0 {file}")
        machines[other].run(f"{{ echo {text.strip()} | base64 --decode > {file}; }}")


def wait_until(machine: Machine, command: str, words: str, *, seconds: float = 90) -> None:
    """Run a command until it says these words."""
    end = time.monotonic() + seconds
    while words not in machine.run(f"{command} || true"):
        late = time.monotonic() > end
        assert not late, machine.run(f"{command} || true; cat /run/*.log")
        time.sleep(1)


def test_the_page_leads_from_nothing_to_a_release_and_back(
    machines: dict[str, Machine],
) -> None:
    """Every block for pip in the order of its numbers, on two machines; one port is reached."""
    coordinator, hospital = machines[COORDINATOR], machines[HOSPITAL]
    reader = Reader(machines)
    reader.do(COORDINATOR, "1")
    reader.do(COORDINATOR, "2")
    send(machines, COORDINATOR, "invitation.json")
    assert "fingerprint of this hospital's key" in reader.do(HOSPITAL, "3")
    send(machines, HOSPITAL, "hospital-a.pub", "hospital-a.csr")
    reader.do(COORDINATOR, "4")
    send(machines, COORDINATOR, "hospital-a.crt")
    reader.do(COORDINATOR, "5")
    wait_until(coordinator, "ghanet-server health", "serving at 0.0.0.0:8000")
    reader.do(HOSPITAL, "6")
    wait_until(hospital, "ghanet-client health", f"connected to {HOST}:{PORT} for")
    assert open_ports(hospital, HOST) == open_ports(hospital, HOST) == [PORT]
    assert open_ports(coordinator, "10.71.0.2") == []
    said = reader.do(COORDINATOR, "7")
    assert "round 1" in said
    assert "release: " in said
    assert "sent" in reader.do(HOSPITAL, "8")
    for side in (COORDINATOR, HOSPITAL):
        back_up_and_restore(reader, side)
    reader.do(COORDINATOR, "5")
    reader.do(COORDINATOR, "upgrade")
    wait_until(coordinator, "ghanet-server health", "serving at")
    send(machines, COORDINATOR, "invitation.json")
    reader.do(HOSPITAL, "upgrade")
    reader.do(HOSPITAL, "6")
    wait_until(hospital, "ghanet-client health", f"connected to {HOST}:{PORT} for")
    wait_until(coordinator, "ghanet-server status", "hospital-a: trains with genes, online")
    for side in (HOSPITAL, COORDINATOR):
        reader.do(side, "uninstall")
        machines[side].run("! ls -d /var/lib/ghanet-* /opt/ghanet && ! id ghanet")
        assert "ghanet" not in machines[side].run("ps -eo args | grep -v ps || true")


def back_up_and_restore(reader: Reader, side: str) -> None:
    """Stop, back up, damage the folder, restore it."""
    name = {COORDINATOR: "server", HOSPITAL: "client"}[side]
    machine, folder = reader.machines[side], f"/var/lib/ghanet-{name}"
    listing = f"cd {folder} && find . -type f -printf '%p %u %m %s\\n' | sort"
    reader.do(side, "stop")
    reader.do(side, "backup")
    before = machine.run(f"({listing})")
    assert machine.run(f"stat -c %a ghanet-{name}.tar").strip() == "600"
    machine.run(f"truncate -s 3 {folder}/*.yaml; touch {folder}/state/of_later")
    reader.do(side, "restore")
    assert machine.run(f"({listing})") == before
    machine.run(f"rm -r {folder}.damaged")


def open_ports(machine: Machine, host: str) -> list[int]:
    """Every TCP port of a host that a machine reaches."""
    scan = SCAN.format(host=host)
    machine.run(f"cat > /run/scan.py <<'END'\n{scan}END", check=False)
    return [int(port) for port in machine.run("python3 /run/scan.py").split()]
