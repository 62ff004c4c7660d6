"""Private inference between two processes, with the real engine and real images, as users run it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.running import finish, start
from support.secure_runs import EMPTY, LOGIT_ERROR, PATIENCE, SCRIPT, measure, needs_engine, read

from masks.counting import relu_counts
from private_inference.engine.cost import Cost

pytestmark = [needs_engine, pytest.mark.slow]

IMAGES = 2


@pytest.fixture(scope="module")
def together(files, tmp_path_factory) -> tuple[str, Path]:
    """The options of a comparison that was run, and its folder."""
    folder = tmp_path_factory.mktemp("together")
    options = f"--protocol semi2k --images {IMAGES} --network wan --save_dir {folder} --run_name one"
    options = f"--path {files['full']} {files['masked']} {options}"
    measure(options)
    return options, folder / "private_inference" / "one"


def test_both_networks_agree_with_plaintext(together) -> None:
    for record in read(together[1])["measured"]:
        assert record["agreement"]["images"] == record["agreement"]["same_class"] == IMAGES
        assert record["agreement"]["largest_logit_error"] < LOGIT_ERROR


def test_relus_cost_what_is_kept_and_empty_layers_nothing(together, files) -> None:
    full, masked = read(together[1])["measured"]
    for name, record in (("full", full), ("masked", masked)):
        kept = {count.layer: count.kept for count in relu_counts(files.models[name]) if count.kept}
        relus = {step["layer"]: step for step in record["costs"]["layers"] if step["part"] == "relu"}
        assert {layer: step["comparisons"] for layer, step in relus.items()} == kept
        assert record["relus"]["kept"] == sum(kept.values())
        for state in ("cold", "warm"):
            for layer, step in relus.items():
                assert step[state]["upload"] + step[state]["download"] == 96 * kept[layer]
                assert step[state]["rounds"] == 7
            part = record["costs"]["parts"][state]["relu"]
            assert part["upload"] + part["download"] == 96 * sum(kept.values())
            assert part["rounds"] == 7 * len(kept)
    assert len(relu_counts(files.models["full"])) == 7
    assert EMPTY not in [step["layer"] for step in masked["costs"]["layers"]]
    assert masked["costs"]["total"]["warm"]["rounds"] <= full["costs"]["total"]["warm"]["rounds"] - 7


def test_layers_and_parts_add_up_to_the_total(together) -> None:
    for record in read(together[1])["measured"]:
        costs = record["costs"]
        for state in ("cold", "warm"):
            for key, value in costs["total"][state].items():
                assert sum(part[key] for part in costs["parts"][state].values()) == pytest.approx(value)
                assert sum(step[state][key] for step in costs["layers"]) == pytest.approx(value)
            (estimate,) = record["estimates"]
            wire = costs["total"][state]["rounds"] * estimate["rtt"] / 2
            assert estimate["seconds"][state] > costs["total"][state]["seconds"] + wire
        assert record["setup_seconds"] > 0


def test_tables_and_figures_tell_the_same(together) -> None:
    folder, results = together[1], read(together[1])
    with open(folder / "private_inference.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for record in results["measured"]:
        total = record["costs"]["total"]["warm"]
        mine = [row for row in rows if row["file"] == record["file"] and row["state"] == "warm"]
        assert [row["layer"] for row in mine] == [step["layer"] for step in record["costs"]["layers"]]
        assert sum(float(row["upload_bytes"]) for row in mine) == total["upload"]
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert figures == {f"{name}.{kind}" for name in ("costs", "layers_1", "layers_2") for kind in ("pdf", "png")}


def test_nothing_is_measured_twice_unless_asked(together, files, tmp_path) -> None:
    options, folder = together
    before = read(folder)
    copy = tmp_path / "private_inference" / "one"
    shutil.copytree(folder, copy)
    options = options.replace(str(folder.parent.parent), str(tmp_path))
    measure(options)
    assert read(copy)["measured"] == before["measured"]
    assert not list(copy.glob("*.old*"))
    measure(f"{options.replace(str(files['full']), '')} --again")
    (again,) = read(copy)["measured"]
    masked = before["measured"][1]
    assert again["digest"] == masked["digest"]
    assert again["costs"]["total"]["warm"]["upload"] == masked["costs"]["total"]["warm"]["upload"]
    seconds = [[step["warm"]["seconds"] for step in each["costs"]["layers"]] for each in (again, masked)]
    assert seconds[0] != seconds[1]
    assert json.loads((copy / "private_inference.old1.json").read_text())["measured"] == before["measured"]


# --- A slow network -------------------------------------------------------------------------------------------------


@pytest.fixture
def namespaces() -> Iterator[None]:
    if os.geteuid() != 0 or shutil.which("ip") is None or not os.access("/dev/net/tun", os.W_OK):
        pytest.skip("needs root, the ip command and /dev/net/tun")
    name = f"rlnet-test-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no network namespaces: {tried.stderr.strip()}")


def test_an_emulated_network_costs_its_round_trips(files, tmp_path, namespaces) -> None:
    process = start(
        f"{SCRIPT} --path {files['masked']} --protocol semi2k --images 1 --network 1000,20 "
        f"--emulate --save_dir {tmp_path} --run_name slow"
    )
    finish(process, timeout=PATIENCE)
    results = read(tmp_path / "private_inference" / "slow")
    assert results["link"] == {"kind": "emulated", "name": "1000,20", "bandwidth": 1e9, "rtt": 0.02}
    (record,) = results["measured"]
    assert record["agreement"]["same_class"] == 1
    assert record["estimates"] == []  # it was measured
    total = Cost(**record["costs"]["total"]["cold"])
    assert total.rounds > 50
    # The server may be ahead by one crossing when the client's clock starts.
    assert total.seconds >= (total.rounds - 1) * 0.010
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert str(process.pid) not in left
