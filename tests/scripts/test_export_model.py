"""export_model.py: what it writes gives PyTorch's logits, in files that hold no code, and nothing else is written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.networks import randomise_norms
from support.running import fails

import export_model
from formats.checkpoint import Checkpoint
from helper.checkpoint import save_checkpoint
from helper.errors import UserError
from models import build_model
from models.layers import Network, relu_sites, use_branch
from models.restore import describe_model
from private_inference.program.npz_file import load_program
from private_inference.program.plaintext import run


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def checkpoint(tmp_path):
    """checkpoint(name) -> (network of two branches, with a site that keeps none and a random one; its file)."""

    def make(name: str = "resnet8", image_size: int = 32) -> tuple[Network, Path]:
        model = build_model(
            name, num_classes=5, image_size=image_size, branches=2, mean=(0.49, 0.48, 0.45), std=(0.2, 0.25, 0.3)
        )
        randomise_norms(model)
        first, *_, last = relu_sites(model).values()
        first.set_mask(torch.rand(first.map_shape) < 0.3)
        last.set_mask(torch.zeros(last.map_shape, dtype=torch.bool))
        path = tmp_path / f"{name}.pth"
        save_checkpoint(path, Checkpoint(**describe_model(name, model)))
        return model.eval(), path

    return make


def export(checkpoint: Path, kind: str, *options: str) -> Path:
    out = checkpoint.parent / f"out.{kind}"
    export_model.main(export_model.parse_args([str(checkpoint), "--format", kind, "--out", str(out), *options]))
    return out


@torch.no_grad()
def logits(model: Network, branch: int, images: np.ndarray) -> np.ndarray:
    with use_branch(model, branch):
        return model(torch.from_numpy(images)).numpy()


def images(count: int, side: int = 32) -> np.ndarray:
    return np.random.default_rng(3).random((count, 3, side, side), dtype=np.float32)


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


# --- npz ------------------------------------------------------------------------------------------------------------


def test_npz_comes_back_as_the_network(checkpoint, capsys) -> None:
    model, path = checkpoint()
    out = export(path, "npz", "--branch", "1")
    program, about = load_program(out)
    assert same(run(program, images(3)), logits(model, 1, images(3)))
    assert not same(run(program, images(3)), logits(model, 0, images(3)))
    kept = sum(site.kept for site in relu_sites(model).values())
    assert about == {"model": "resnet8", "image_size": 32, "num_classes": 5, "branch": 1, "relus": kept}
    assert {decision.what for decision in program.decisions if decision.done} == {"fold"}
    said = capsys.readouterr().out
    assert f"{kept:,}" in said
    assert "10 of 10 normalisations folded" in said
    assert [path.name for path in out.parent.iterdir() if "out" in path.name] == ["out.npz"]


def test_npz_is_read_as_documented_without_pickles(checkpoint) -> None:
    _, path = checkpoint()
    with np.load(export(path, "npz"), allow_pickle=False) as content:
        description = json.loads(str(content["program"]))
        assert description["input"] == {"name": "images", "shape": [3, 32, 32]}
        assert description["steps"][-1]["output"] == description["output"]
        assert description["steps"][-1]["shape"] == [5]
        keys = [key for step in description["steps"] for key in step["arrays"].values()]
        assert sorted([*keys, "program"]) == sorted(content.files)
        assert {content[key].dtype for key in keys} == {np.dtype(np.float32), np.dtype(bool)}


def test_fusing_can_be_left_out(checkpoint, capsys) -> None:
    _, path = checkpoint("MobileNetV2")
    fused, _ = load_program(export(path, "npz"))
    assert "conv2.conv, fc" in capsys.readouterr().out
    plain, _ = load_program(export(path, "npz", "--no_fuse"))
    assert len(plain.steps) > len(fused.steps)
    assert {decision.what for decision in plain.decisions} == {"fold"}


def rewrite(path: Path, dtype: type = np.float32, **changes) -> None:
    with np.load(path) as content:
        arrays = {key: array.astype(dtype) if array.dtype == np.float32 else array for key, array in content.items()}
    description = json.loads(str(arrays["program"])) | changes
    np.savez(path, **(arrays | {"program": np.array(json.dumps(description))}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version 2, this code reads 1"),
        ({"format": "other"}, "format is .other.; it should be .rlnet-program."),
        ({"input": {"name": "images", "shape": [4, 32, 32]}}, "does not fit"),
        ({"steps": [{"kind": "exec"}]}, "damaged"),
        ({"steps": []}, "damaged"),
        ({"dtype": np.float64}, "is float64"),
    ],
)
def test_other_files_are_refused(checkpoint, changes: dict, message: str) -> None:
    _, path = checkpoint()
    out = export(path, "npz")
    rewrite(out, **changes)
    with pytest.raises(UserError, match=message):
        load_program(out)


def test_damaged_files_are_refused(tmp_path, checkpoint) -> None:
    _, path = checkpoint()
    content = export(path, "npz").read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 255
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, allow_pickle=True, program=np.array([{"a": 1}], dtype=object))
    for damaged in (content[:-50], b"", bytes(flipped), b"no zip at all", pickled.read_bytes()):
        (tmp_path / "damaged.npz").write_bytes(damaged)
        with pytest.raises(UserError, match=r"damaged\.npz: "):
            load_program(tmp_path / "damaged.npz")
    with pytest.raises(UserError, match="no such"):
        load_program(tmp_path / "nowhere.npz")


# --- onnx -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "image_size"), [("resnet8", 224), ("wrn_16_2", 32), ("vgg11", 32), ("MobileNetV2", 64)]
)
def test_onnxruntime_gives_the_same_logits(checkpoint, name: str, image_size: int) -> None:
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    model, path = checkpoint(name, image_size)
    session = onnxruntime.InferenceSession(export(path, "onnx", "--branch", "1"), providers=["CPUExecutionProvider"])
    for count in (1, 3):
        (found,) = session.run(["logits"], {"images": images(count, image_size)})
        assert same(found, logits(model, 1, images(count, image_size)))


def test_onnx_holds_what_every_engine_takes(checkpoint) -> None:
    onnx = pytest.importorskip("onnx")
    model, path = checkpoint()
    written = onnx.load(export(path, "onnx", "--batch", "2"))
    assert [operators.version for operators in written.opset_import] == [17]
    assert [size.dim_value for size in written.graph.input[0].type.tensor_type.shape.dim] == [2, 3, 32, 32]
    constants = {constant.name: onnx.numpy_helper.to_array(constant) for constant in written.graph.initializer}
    assert all(np.isfinite(constant).all() for constant in constants.values())
    operators = [node.op_type for node in written.graph.node]
    assert operators.count("Relu") == 6  # of seven sites, one keeps nothing
    (masked,) = [node for node in written.graph.node if node.op_type == "Where"]
    np.testing.assert_array_equal(constants[masked.input[0]][0], relu_sites(model)["relu"].mask.numpy())


def test_without_onnx_one_line_says_what_to_install(checkpoint, monkeypatch) -> None:
    _, path = checkpoint()
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"requirements-export\.txt"):
        export(path, "onnx")
    export(path, "npz")


# --- What is refused ------------------------------------------------------------------------------------------------


def test_nothing_is_written_that_does_not_agree(checkpoint, monkeypatch) -> None:
    _, path = checkpoint()
    out = export(path, "npz")
    before = out.read_bytes()
    for wrong in (1.001, np.nan):
        monkeypatch.setattr(export_model, "run", lambda *args, wrong=wrong: run(*args) * np.float32(wrong))
        with pytest.raises(UserError, match="differ from PyTorch's"):
            export(path, "npz", "--branch", "1")
    assert out.read_bytes() == before


@pytest.mark.slow
def test_what_the_user_got_wrong_is_one_line(checkpoint, tmp_path) -> None:
    _, path = checkpoint()
    with pytest.raises(UserError, match="branch 2: this network has 2"):
        export(path, "npz", "--branch", "2")
    with pytest.raises(UserError, match="--batch goes with"):
        export(path, "npz", "--batch", "2")
    line = fails(f"export_model.py {tmp_path / 'nowhere.pth'} --format npz --out {tmp_path / 'out'}")
    assert "no such checkpoint" in line
