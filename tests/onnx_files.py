"""Small ONNX encoders for tests, made here: no weights of anybody."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = ["batch", 3, "height", "width"]


def write_encoder(path: Path, *, width: int = 8, inputs: int = 1, outside: str = "") -> Path:
    """Mean colour of a patch times a fixed (3, width) matrix.

    Args:
        path: the .onnx file.
        width: numbers per patch.
        inputs: how many it asks for.
        outside: name of a file for its weights, in place of the model itself.
    """
    weights = np.random.default_rng(3).standard_normal((3, width)).astype(np.float32)
    matrix = numpy_helper.from_array(weights, "matrix")
    if outside:
        (path.parent / outside).write_bytes(weights.tobytes())
        matrix.ClearField("raw_data")
        matrix.data_location = TensorProto.EXTERNAL
        matrix.external_data.add(key="location", value=outside)
    named = ["patches", *(f"more{number}" for number in range(1, inputs))]
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["patches"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "matrix"], ["features"]),
        ],
        "encoder",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, SIZE) for name in named],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", width])],
        [matrix],
    )
    opset = helper.make_opsetid("", 17)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()
    )
    return path


def write_tokens(path: Path) -> Path:
    """An encoder that forgot to pool: it gives (batch, 3, height, width)."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["patches"], ["features"])],
        "encoder",
        [helper.make_tensor_value_info("patches", TensorProto.FLOAT, SIZE)],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, SIZE)],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path
    )
    return path
