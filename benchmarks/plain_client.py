"""What a Flower user writes first: a ClientApp that takes a state dict and gives one back.

Part of the comparison in exchange.py. In place of training, every parameter moves a little.
"""

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from plain_model import make_model

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Load the weights, move them, send them back."""
    model = make_model(context.run_config)
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.rand_like(parameter), alpha=1e-3)
    arrays = ArrayRecord(model.state_dict())
    metrics = MetricRecord({"num-examples": 20})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)
