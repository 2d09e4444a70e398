"""Signed records: small ones, each canonical JSON of its fields with an Ed25519 signature in it."""

from dataclasses import asdict, dataclass

from .files import canonical_json, sha256


@dataclass(frozen=True, slots=True)
class Signed:
    """What records with a field ``signature`` have in common: base64 of it over all the others."""

    @property
    def unsigned(self) -> bytes:
        """What the signature covers."""
        values = asdict(self)
        del values["signature"]
        return canonical_json(values)

    @property
    def content(self) -> bytes:
        """The record as it stands in its file."""
        return canonical_json(asdict(self))

    @property
    def digest(self) -> str:
        """SHA-256 of ``content``, by which others name the record."""
        return sha256(self.content)
