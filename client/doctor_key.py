"""Asks whether the coordinator knows this hospital's key, by Flower's own client; changes nothing.

SuperLink looks for the key first and at the heartbeat interval afterwards. An interval that it
refuses therefore tells a known key from an unknown one, and nobody is activated. Run as a program,
in the environment of SuperNode; it says one line of JSON.
"""

import json
import os
import sys
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.error import FlowerError
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from ghanet_model.door import DOOR_HEADER

from .config import FOLDER_VARIABLE, read_site
from .doctor_tls import believing

NO_INTERVAL = 0.0  # seconds between heartbeats; Flower's least is 10


def asked(folder: Path) -> dict[str, int | str]:
    """HTTP status (0: no answer), Flower's code, a door's word, and why there is no answer."""
    config = read_site(folder)
    keys = config.folder / "keys"
    private = load_ssh_private_key((keys / "site_key").read_bytes(), password=None)
    public = private.public_key()
    signing = NodeAuthHttpInterceptor(private, public)  # type: ignore[arg-type]
    question = ActivateNodeRequest(
        public_key=public_key_to_bytes(public),  # type: ignore[arg-type]
        heartbeat_interval=NO_INTERVAL,
    )
    address, verify = f"https://{config.server}", believing(config)
    said: dict[str, int | str] = {"status": 200, "code": 0, "door": "", "why": ""}
    try:
        with FleetHttpClient(address, interceptors=[signing], verify=verify) as client:
            client.ActivateNode(question)
    except httpx.HTTPStatusError as error:
        flower = FlowerError.from_json(error.response.text)
        said["status"], said["code"] = error.response.status_code, flower.code if flower else 0
        said["door"] = error.response.headers.get(DOOR_HEADER, "")
    except (httpx.HTTPError, ValueError) as error:
        said["status"], said["why"] = 0, str(error)
    return said


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asked(Path(os.environ[FOLDER_VARIABLE]))) + "\n")
