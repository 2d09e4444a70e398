"""A model that this hospital trains alone, beside the common one, so that both can be compared.

It has the same first weights, the same gene panel and as many epochs; nothing of it leaves but sums
over what it says of cases that no training sees.
"""

from pathlib import Path

import torch

from ghanet_model.errors import WeightsError
from ghanet_model.files import write_atomic
from ghanet_model.genes import GenePanel
from ghanet_model.network import new_model
from ghanet_model.release import model_config
from ghanet_model.study import StudyConfig
from ghanet_model.training import TrainingSettings, round_seed, train
from ghanet_model.weights import (
    Arrays,
    from_safetensors,
    load_weights,
    metadata_of,
    to_safetensors,
    weights_of,
)

from .bags import SiteBags
from .site import Site
from .watched import Watched

ALONE_FILE = "alone.safetensors"


def train_alone(
    site: Site, panel: GenePanel, bags: SiteBags, *, number: int, use_genes: bool
) -> None:
    """Train this hospital's own model as long as round ``number`` trains the common one.

    A round that is asked again trains it once; a study that starts anew begins it anew.
    """
    study, path = site.study, _path(site)
    done, weights = _read(path, study)
    if done == number:
        return
    model = new_model(model_config(study, panel), seed=study.seed)
    if weights is not None and done < number:
        load_weights(model, weights)
    train(
        model,
        Watched(bags, site.require_wanted),
        TrainingSettings.from_study(study),
        outcomes=[outcome for outcome in bags.outcomes if outcome is not None],
        use_genes=use_genes,
        seed=round_seed(study, number, f"{site.config.name} alone"),
        device=torch.device(site.config.device),
    )
    facts = {"number": str(number), "study": study.digest}
    write_atomic(path, to_safetensors(weights_of(model), facts), private=True)


def alone_weights(site: Site) -> Arrays | None:
    """The weights of this hospital's own model; None where it has none."""
    return _read(_path(site), site.study)[1]


def _path(site: Site) -> Path:
    return site.config.folder / "state" / ALONE_FILE


def _read(path: Path, study: StudyConfig) -> tuple[int, Arrays | None]:
    """How many rounds it is trained, and its weights; 0 and None where it is not there."""
    try:
        content = path.read_bytes()
        weights, facts = from_safetensors(content, where=path.name), metadata_of(content)
    except (OSError, WeightsError):
        return 0, None
    if facts.get("study") != study.digest:
        return 0, None
    return int(facts["number"]), weights
