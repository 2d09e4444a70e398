"""What a hospital's training changed, as it travels."""

from ghanet_model.change import change_of
from ghanet_model.network import DECODERS, Network
from ghanet_model.study import BFLOAT16, StudyConfig
from ghanet_model.weights import Arrays, Update, weights_of


def update_of(study: StudyConfig, model: Network, base: Arrays, *, decoders: bool) -> Update:
    """What training changed, as the study sends it; gene decoders only where they were trained."""
    trained = {
        name: array
        for name, array in weights_of(model).items()
        if decoders or not name.startswith(DECODERS)
    }
    return change_of(trained, base) if study.exchange_precision == BFLOAT16 else trained
