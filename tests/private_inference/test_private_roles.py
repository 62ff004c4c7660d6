"""Private inference with a command for each party, everything that they say to each other overheard.

Neither may send what only it may know: not by promise, but by what is found in the bytes of a whole run.
"""

from __future__ import annotations

import io
import subprocess
import zipfile
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from support.relay import Relay, stretches_found
from support.running import ROOT, finish
from support.secure_runs import (
    BRANCH,
    DIGITS,
    LOGIT_ERROR,
    PATIENCE,
    both_parties,
    needs_engine,
    read,
)

from masks.counting import relu_counts
from models.layers import Network, use_branch
from private_inference.costs.measurement import compared_in, first_images, free_ports, images_to_try, load_subject
from private_inference.engine.cost import Cost
from private_inference.engine.parties import ENGINE_PYTHON
from private_inference.program.npz_file import load_program, write_program
from private_inference.program.public import digest, read_served, secrets
from private_inference.program.steps import Program, comparisons

pytestmark = [needs_engine, pytest.mark.slow]

IMAGES = 2


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return first_images(DIGITS, IMAGES, "data", download=False)[0]


@dataclass(frozen=True, eq=False)
class Apart:
    said: dict[str, str]  # by role, what its command printed
    results: dict[str, dict]
    sent: dict[str, list[bytes]]
    program: Program
    digest: str


@pytest.fixture(scope="module")
def apart(files, tmp_path_factory) -> Apart:
    """CHEETAH, through a branch that is not the default; the client demands the very program."""
    folder = tmp_path_factory.mktemp("apart")
    subject = load_subject(files["masked"], BRANCH, fused=True, save_dir="save")
    subject = compared_in(subject, 32, images_to_try(DIGITS, 256, "data", download=False))
    ports = dict(zip(("client", "server"), free_ports(2), strict=True))
    own = {
        "client": f"--dataset digits --images {IMAGES} --digest {subject.digest}",
        "server": f"--path {files['masked']} --branch {BRANCH}",
    }
    with Relay(ports["client"]) as to_client, Relay(ports["server"]) as to_server:
        with both_parties(folder, own, ports, {"client": to_server.port, "server": to_client.port}) as processes:
            said = {role: finish(process, timeout=PATIENCE) for role, process in processes.items()}
        sent = {"client": to_server.received, "server": to_client.received}
    results = {role: read(folder / "private_inference" / role) for role in own}
    return Apart(said, results, sent, subject.program, subject.digest)


@torch.no_grad()
def logits(model: Network, branch: int, images: np.ndarray) -> np.ndarray:
    with use_branch(model, branch):
        return model(torch.from_numpy(images)).numpy()


def test_the_client_learns_what_pytorch_says(apart, files, images) -> None:
    expected = logits(files.models["masked"], BRANCH, images)
    assert np.abs(logits(files.models["masked"], 0, images).max(1) - expected.max(1)).min() > 2 * LOGIT_ERROR
    rows = [line.split() for line in apart.said["client"].splitlines()[-IMAGES:]]
    assert [int(row[2]) for row in rows] == expected.argmax(1).tolist()
    assert [float(row[3]) for row in rows] == pytest.approx(expected.max(1).tolist(), abs=LOGIT_ERROR)
    (record,) = apart.results["server"]["measured"]
    # In the client's four decimals, which the server's figures do not have: two could be those of a time.
    assert [row[3] for row in rows if row[3] in apart.said["server"]] == []
    assert record["agreement"] is None
    assert record["costs"]["total"]["cold"]["download"] > 0


def test_both_name_one_program_and_one_cost(apart) -> None:
    records = {role: results["measured"][0] for role, results in apart.results.items()}
    assert {record["digest"] for record in records.values()} == {apart.digest}
    assert apart.digest in apart.said["server"]
    assert records["client"]["file"].startswith("a network of 127.0.0.1:")
    assert {results["link"]["kind"] for results in apart.results.values()} == {"own_machine"}
    for key in ("upload", "download", "rounds"):
        mine, theirs = (records[role]["costs"]["total"]["warm"][key] for role in ("client", "server"))
        assert mine == pytest.approx(theirs, rel=0.02)


def test_cheetah_pays_its_setup_once(apart, files) -> None:
    (record,) = apart.results["client"]["measured"]
    costs = record["costs"]
    cold, warm = (Cost(**costs["total"][state]) for state in ("cold", "warm"))
    assert cold.bytes > 1.5 * warm.bytes
    relus = [step for step in costs["layers"] if step["part"] == "relu"]
    assert len(relus) == 6
    assert {step["warm"]["rounds"] for step in relus} == {15}
    # Two bursts, however many ciphertexts a convolution takes: the first ones take three each way.
    assert {step["warm"]["rounds"] for step in costs["layers"] if step["part"] == "linear"} == {2}
    for step in relus:
        if step["comparisons"] > 1000:
            assert 55 < Cost(**step["warm"]).bytes / step["comparisons"] < 60
    kept = sum(count.kept for count in relu_counts(files.models["masked"]))
    assert 55 < Cost(**costs["parts"]["warm"]["relu"]).bytes / kept < 60


# The very bytes by which the engine works: its own private shares of these arrays, at the owner and at the other.
IN_ENGINE = """
import sys
import numpy as np
import spu
from spu import libspu
from private_inference.engine.spu_runtime import PARTIES, Party
from private_inference.engine.protocols import FRACTION_BITS

class Values(dict):
    set_var = dict.__setitem__

given = np.load(sys.argv[1])
found = {}
for rank in range(2):
    config = libspu.RuntimeConfig(libspu.ProtocolKind.CHEETAH, libspu.FieldType.FM64, FRACTION_BITS)
    config.experimental_enable_colocated_optimization = True
    party = object.__new__(Party)
    party.rank, party._io, party._runtimes = rank, spu.Io(2, config), {64: Values()}
    for name in given:
        party.own(name, given[name], 1)
        content = b"".join(party._runtimes[64][name].share_chunks)
        found[f"{rank}.{name}"] = np.frombuffer(content[-8 * given[name].size :], "<i8").reshape(given[name].shape)
np.savez(sys.argv[2], **found)
"""


@pytest.fixture(scope="module")
def fixed_point(apart, images, tmp_path_factory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("fixed_point")
    (mean,) = apart.program.steps[0].arrays.values()
    np.savez(folder / "given.npz", **secrets(apart.program), raw=images, images=images + mean)
    words = [str(ENGINE_PYTHON), "-c", IN_ENGINE, str(folder / "given.npz"), str(folder / "found.npz")]
    subprocess.run(words, cwd=ROOT, check=True, timeout=120)
    with np.load(folder / "given.npz") as given, np.load(folder / "found.npz") as found:
        for name, array in given.items():
            assert np.abs(found[f"1.{name}"] - array.astype(np.float64) * 2**18).max() <= 1
            assert not found[f"0.{name}"].any()  # who does not own it holds nothing of it
        return {name: found[f"1.{name}"] for name in given.files}


def laid_out(array: np.ndarray) -> list[np.ndarray]:
    """As it is, and with its channels last, as engines like it."""
    return [array, *([array.transpose(2, 3, 1, 0), array.transpose(0, 2, 3, 1)] if array.ndim == 4 else [])]


def unpacked(streams: list[bytes]) -> list[bytes]:
    """The one compressed file that was sent, and all that is in it."""
    (stream,) = [stream for stream in streams if b"PK\x03\x04" in stream]
    begin = stream.index(b"PK\x03\x04")
    content = stream[begin : stream.index(b"PK\x05\x06", begin) + 22]
    with zipfile.ZipFile(io.BytesIO(content)) as members:
        return [content, *map(members.read, members.namelist())]


def test_the_program_that_was_sent_is_the_public_one(apart) -> None:
    sent, *_ = unpacked(apart.sent["server"])
    program, about = read_served(io.BytesIO(sent))
    assert digest(program, about) == apart.digest
    assert not any(array.any() for array in secrets(program).values())
    assert about.relus.kept == sum(count for _, _, count in comparisons(program))


def test_no_weight_leaves_the_server(apart, fixed_point) -> None:
    sent = [*apart.sent["server"], *unpacked(apart.sent["server"])]
    assert sum(map(len, sent)) > apart.results["client"]["measured"][0]["costs"]["total"]["cold"]["download"]
    assert any(apart.digest.encode() in stream for stream in sent)  # so what is said in the clear is seen
    weights = secrets(apart.program)
    held = [layout for name in weights for array in (weights[name], fixed_point[name]) for layout in laid_out(array)]
    assert stretches_found(sent, *held) == 0


def test_no_image_leaves_the_client(apart, fixed_point, images) -> None:
    sent = apart.sent["client"]
    assert sum(map(len, sent)) > apart.results["client"]["measured"][0]["costs"]["total"]["cold"]["upload"]
    assert any(apart.digest.encode() in stream for stream in sent)
    (mean,) = apart.program.steps[0].arrays.values()
    held = (images, images + mean, fixed_point["raw"], fixed_point["images"])
    assert stretches_found(sent, *(layout for array in held for layout in laid_out(array))) == 0


def test_the_search_finds_a_secret_where_there_is_one(apart, fixed_point, tmp_path) -> None:
    path = tmp_path / "program.npz"
    with open(path, "wb") as file:
        write_program(file, apart.program, {})
    weight = secrets(load_program(path)[0])
    name = max(weight, key=lambda name: weight[name].size)
    stream = apart.sent["server"][0]
    assert stretches_found([stream, path.read_bytes()], weight[name]) > 1000
    middle = len(stream) // 2
    leak = fixed_point[name].ravel()[100:102].tobytes()
    assert stretches_found([stream[:middle] + leak + stream[middle:]], fixed_point[name]) == 1
