"""Making and changing the coordinator's folder: init, invitation, enrol."""

from pathlib import Path

from ghanet_model.certificates import (
    make_authority,
    make_server_certificate,
    server_certificate_serves,
)
from ghanet_model.door import AUTHORITY, make_door_authority
from ghanet_model.errors import SettingsError
from ghanet_model.files import write_atomic
from ghanet_model.invitation import INVITATION_FILE, make_invitation, write_invitation
from ghanet_model.keys import make_release_key
from ghanet_model.study import STUDY_FILE, StudyConfig, read_study

from .card_file import CARD_FILE, CARD_TEMPLATE, read_card_file
from .config import SERVER_FILE, ServerConfig, read_server
from .control import build_bundle

RENEW_DAYS = 30  # before its end the server certificate is replaced at the next start
SERVER_TEMPLATE = """\
format: 1
host: {host}    # name or address that hospitals use to reach this server
port: {port}
listen: 127.0.0.1    # interface; 0.0.0.0 for hospitals elsewhere, behind a door only
door: auto    # nginx, which lets in hospitals with a certificate; auto: where it is installed; none
"""
STUDY_TEMPLATE = """\
format: 1
name: first-study             # names the release; small letters, digits, '-'
encoder: uni-v1               # patch encoder of every hospital's features
feature_width: 1024           # numbers per patch
extraction:                   # how slides are cut and encoded; every hospital does it alike
  pixels: 256                 # side of a patch
  mpp: 0.5                    # microns per pixel; never a magnification
  least_tissue: 0.25          # share of a patch that must be tissue
  input_pixels: 224           # what the encoder is given; 0: pixels
  mean: [0.485, 0.456, 0.406] # of red, green, blue; as the encoder was trained
  std: [0.229, 0.224, 0.225]
  sha256: ""                  # of the encoder's file; with it hospitals prove to have the same
  licence: ""                 # of the encoder, in words; the release comes under its terms
time_bin_edges: [12, 36, 60]  # months; survival is estimated at each, never beyond the last
gene_groups: gene_groups.csv  # one column of gene symbols per group; or a GMT file
gene_types: [rnaseq, cnv]     # columns of gene tables are SYMBOL_rnaseq, SYMBOL_cnv
gene_clip: 3.0                # gene values are clipped to -3 ... 3 robust standard deviations
gene_selection: all           # fdr: genes that differ by outcome; top: the best of each group
preset: published             # the paper's widths; compact: narrow; abmil: gated pooling only
width: 0                      # W, numbers per patch inside the network; 0: the preset's
rounds: 20
local_epochs: 1               # passes over a hospital's cases per round
batch_cases: 32               # cases per optimiser step
learning_rate: 0.0002
weight_decay: 0.00001
dropout: 0.25
gene_loss_weight: 0.3
held_out: 0.2                 # share kept for evaluation where a table has no column 'split'
validation: 0.0               # share of the others kept to choose a round and fit the stack
selected_round: last          # the released model; validation: of the best round there
ensemble: 0                   # models of so many last rounds go into the release, for a band
train_alone: false            # true: hospitals also train a model each, to be compared
minimum_cases: 10             # no sum over fewer cases leaves a hospital
minimum_sites: 0              # training hospitals a round needs; 0: all of them
training_precision: float32   # bfloat16: faster, on CPUs and GPUs that compute in it
exchange_precision: float32   # bfloat16: updates as changes of half the bytes, rounded
round_minutes: 60             # a hospital that takes longer is left out of the round
seed: 0
"""
GENE_GROUPS = Path(__file__).with_name("gene_groups.csv")  # of our own choice, a start


def init_folder(folder: Path, *, host: str, port: int) -> ServerConfig:
    """Make a coordinator's folder: settings, keys, certificates, a study to edit.

    Raises:
        SettingsError: host or port cannot be used, a study that is there already is wrong, or
            there are keys, which would be lost.
    """
    for name in ("ca.key", "release.key", f"{AUTHORITY}.key"):
        if (folder / "keys" / name).exists():
            raise SettingsError(
                f"keys/{name} exists in {folder}, but no {SERVER_FILE}",
                hint=f"restore {SERVER_FILE}, or choose another folder with --folder",
            )
    config = ServerConfig(folder=folder.resolve(), host=host, port=port)
    make_authority(config.keys, name=f"G-HANet consortium of {host}")
    make_server_certificate(config.keys, [host])
    make_door_authority(config.keys, name=f"G-HANet consortium of {host}")
    make_release_key(config.keys / "release.key")
    first = {
        STUDY_FILE: STUDY_TEMPLATE.encode(),
        GENE_GROUPS.name: GENE_GROUPS.read_bytes(),
        CARD_FILE: CARD_TEMPLATE.encode(),
    }
    for name, content in first.items():
        if not (folder / name).exists():
            write_atomic(folder / name, content)
    write_atomic(folder / SERVER_FILE, SERVER_TEMPLATE.format(host=host, port=port).encode())
    refresh_invitation(folder)
    return read_server(folder)


def renew_certificate(config: ServerConfig) -> bool:
    """Make a new server certificate if the old one ends soon or lacks a name; whether it did."""
    hosts = [config.host, config.local_host]
    if server_certificate_serves(config.keys, hosts, days=RENEW_DAYS):
        return False
    make_server_certificate(config.keys, hosts)
    return True


def refresh_invitation(folder: Path) -> StudyConfig:
    """Write invitation.json for the study as it stands now; a wrong model_card.yaml is refused."""
    config, study = read_server(folder), read_study(folder)
    read_card_file(folder)  # of no use before the release, but wrong now is better than wrong then
    bundle = build_bundle(config)
    invitation = make_invitation(
        folder, study, server=config.address, keys=config.keys, bundle=bundle
    )
    write_invitation(folder / INVITATION_FILE, invitation)
    return study
