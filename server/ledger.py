"""The coordinator's ledger: who was enrolled and revoked, every answer that arrived. Signed.

An answer's line is on disk before the answer is used, so a hospital's receipts name all that the
coordinator had of it.
"""

from ghanet_model.ledger import (
    ENROLLED,
    LEDGER_FILE,
    LEFT,
    QUARANTINED,
    RECALLED,
    RECEIVED,
    RENEWED,
    REVOKED,
    Ledger,
    Line,
    read_ledger,
    verify_ledger,
)

from .config import ServerConfig

WORDS = {  # what a line says to people
    ENROLLED: "enrolled as {role}, {cases} cases at most, key {key}",
    RENEWED: "renewed: {cases} cases at most, key {key}",
    REVOKED: "revoked: {reason}",
    LEFT: "left the study",
    RECALLED: "recalled {release}, sha256 {short}: {reason}",
    RECEIVED: "{kind} {round}: received {bytes} bytes, digest {short}",
    QUARANTINED: "{kind} {round}: quarantined: {reason}",
}


def server_ledger(config: ServerConfig) -> Ledger:
    """The coordinator's ledger, signed with the release key."""
    return Ledger(config.folder / "ledger" / LEDGER_FILE, config.keys / "release.key")


def verified(config: ServerConfig) -> list[Line]:
    """The ledger's lines, proven whole.

    Raises:
        LedgerError: the first line that was changed or lost.
    """
    public = (config.keys / "release.key.pub").read_bytes()
    return verify_ledger(server_ledger(config).path, public_pem=public)


def receipts(config: ServerConfig, name: str) -> bytes:
    """This hospital's received lines, byte for byte as they stand in the ledger, one per line."""
    mine = [line for line in verified(config) if _is_receipt(line, name)]
    return b"".join(line.content + b"\n" for line in mine)


def _is_receipt(line: Line, name: str) -> bool:
    return line.what == RECEIVED and line.facts.get("site") == name


def last_received(config: ServerConfig) -> dict[str, str]:
    """When the newest answer of each hospital arrived."""
    lines = read_ledger(server_ledger(config).path)
    return {str(line.facts["site"]): line.time for line in lines if line.what == RECEIVED}


def in_words(line: Line) -> str:
    """A line for people."""
    facts = {key: str(value) for key, value in line.facts.items()}
    facts["short"] = facts.get("digest", facts.get("sha256", ""))[:16]
    try:
        said = WORDS[line.what].format(**facts).replace("statistics 0", "statistics")
    except KeyError:
        said = f"{line.what} {facts}"
    return f"{line.number:>5}  {line.time}  {facts.get('site', ''):<16}  {said}"
