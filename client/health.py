"""``ghanet-client health``: whether ``start`` goes on, is connected, and its certificates hold.

For container engines and monitors: fast, reads a few small files, opens no connection.
"""

import datetime as dt

from ghanet_model.errors import DeploymentError
from ghanet_model.heartbeat import certificate_lines, require_heartbeat, spelt_time

from .config import SiteConfig

AWAY = dt.timedelta(minutes=30)  # twice the longest pause between two tries


def health_lines(config: SiteConfig, now: dt.datetime) -> list[str]:
    """What is well, and certificates that end soon.

    Raises:
        DeploymentError: nothing runs, or it has not been connected for long.
        KeysError: a certificate has ended.
    """
    found = require_heartbeat(config.folder / "state", now)
    lines, span = certificate_lines(config.folder / "keys", now), spelt_time(now - found.since)
    if found.working:
        return [f"connected to {config.server} for {span}", *lines]
    if now - found.since > AWAY:
        raise DeploymentError(
            f"not connected to {config.server} for {span}",
            hint="is the coordinator's server running? logs/supernode.log says what was tried",
        )
    return [f"not connected to {config.server} for {span}, still trying", *lines]
