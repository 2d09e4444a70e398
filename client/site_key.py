"""This hospital's key, made anew: the old pair stays beside it, and is never sent."""

from pathlib import Path

from ghanet_model.errors import KeysError
from ghanet_model.files import write_atomic
from ghanet_model.keys import make_site_key

from .certificate import replace_door_key

ACCEPTED = Path("state") / "accepted"  # says that the coordinator knows the key


def renew_key(folder: Path) -> str:
    """Write a new key pair and keep the old one as ``site_key.old``; the public half as one line.

    The key for the door lay beside it, so that is made anew too, with a request.

    Raises:
        KeysError: there is no key yet.
    """
    key = folder / "keys" / "site_key"
    try:
        old, old_public = key.read_bytes(), key.with_suffix(".pub").read_bytes()
    except FileNotFoundError as error:
        raise KeysError(
            f"keys/{Path(error.filename).name} is missing",
            hint="run 'ghanet-client init' with your invitation: it makes a key",
        ) from None
    write_atomic(key.with_name("site_key.old.pub"), old_public)
    write_atomic(key.with_name("site_key.old"), old, private=True)
    replace_door_key(folder)
    public = make_site_key(key)
    (folder / ACCEPTED).unlink(missing_ok=True)
    return public
