"""Programs as ONNX models, operator set 17. `onnx` and `onnxruntime` are optional: requirements-export.txt.

Input 'images' (batch, 3, S, S), float32 in [0, 1]; output 'logits' (batch, classes). A masked ReLU is
Where(mask, Relu(x), x): one byte a position, and no infinities, which a floor of 0 and -inf would bring into engines
that quantise their constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from helper.errors import UserError
from private_inference.program.steps import INPUT, Program, Step

OPSET = 17
IR_VERSION = 8  # the one that came with operator set 17: older engines read it too
OUTPUT = "logits"


def require_onnx() -> None:
    """Raise UserError where the optional packages are missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UserError(f"ONNX needs a package more ({error}): pip install -r requirements-export.txt") from error


def to_onnx(program: Program, about: Mapping[str, object], batch: int | None = None) -> bytes:
    """The serialised model, checked by onnx.checker; for batches of any size, or of `batch` images."""
    import onnx
    from onnx import TensorProto, helper

    nodes, constants = [], {}
    for step in program.steps:
        for name, array in step.arrays.items():
            constants[f"{step.output}.{name}"] = array[None] if name == "mask" else array
        nodes += _nodes(step, OUTPUT if step.output == program.output else step.output)
    classes = program.steps[-1].arrays["bias"].shape[0] if program.steps[-1].kind == "linear" else None
    rows = batch or "batch"
    graph = helper.make_graph(
        nodes,
        str(about.get("model", "network")),
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [rows, *program.input_shape])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [rows, classes])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="rlnet"
    )
    helper.set_model_props(model, {key: str(value) for key, value in about.items()})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _nodes(step: Step, output: str) -> list:
    from onnx.helper import make_node

    settings, x = step.settings, step.inputs[0]
    constant = {name: f"{step.output}.{name}" for name in step.arrays}
    windows: dict[str, Any] = {"strides": settings["stride"]} if "stride" in settings else {}
    if "padding" in settings:
        windows["pads"] = settings["padding"] * 2  # top, left, bottom, right
    if "kernel" in settings:
        windows["kernel_shape"] = settings["kernel"]

    def node(operator: str, inputs: list[str], to: str = output, **attributes: Any):
        return make_node(operator, inputs, [to], f"{step.layer}/{operator}/{to}", **attributes)

    match step.kind:
        case "conv":
            return [node("Conv", [x, constant["weight"], constant["bias"]], group=settings["groups"], **windows)]
        case "linear":
            return [node("Gemm", [x, constant["weight"], constant["bias"]], transB=1)]
        case "affine":
            scaled = f"{output}.scaled"
            return [node("Mul", [x, constant["scale"]], scaled), node("Add", [scaled, constant["bias"]])]
        case "shift":
            return [node("Add", [x, constant["bias"]])]
        case "add":
            return [node("Add", list(step.inputs))]
        case "relu" if "mask" in constant:
            rectified = f"{output}.rectified"
            return [node("Relu", [x], rectified), node("Where", [constant["mask"], rectified, x])]
        case "relu":
            return [node("Relu", [x])]
        case "average_pool":
            return [node("AveragePool", [x], **windows)]
        case "max_pool":
            return [node("MaxPool", [x], **windows)]
        case "flatten":
            return [node("Flatten", [x], axis=1)]
    raise ValueError(f"no step is called '{step.kind}'")


def run_onnx(model: bytes, images: np.ndarray) -> np.ndarray:
    """Logits (B, classes) by onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run([OUTPUT], {INPUT: images})[0]
