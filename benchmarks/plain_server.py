"""What a Flower user writes first: a ServerApp with FedAvg over the whole state dict.

Part of the comparison in exchange.py; it writes down when each round ended.
"""

import json
import time
from pathlib import Path

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from plain_model import make_model

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Average the weights of all nodes, round after round."""
    nodes, rounds = int(context.run_config["nodes"]), int(context.run_config["rounds"])
    strategy = FedAvg(fraction_evaluate=0.0, min_available_nodes=nodes, min_train_nodes=nodes)

    def tick(_: int, arrays: ArrayRecord) -> MetricRecord:
        line = json.dumps({"time": time.time(), "bytes": arrays.count_bytes()})
        with Path(str(context.run_config["ticks"])).open("a") as file:
            file.write(line + "\n")
        return MetricRecord()

    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(make_model(context.run_config).state_dict()),
        num_rounds=rounds,
        evaluate_fn=tick,
    )
