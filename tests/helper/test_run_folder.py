"""Logs of any version are read as they are written today."""

from __future__ import annotations

import json

from helper.run_folder import LOG_SCHEMA, read_log


def test_a_log_is_in_per_cent_whoever_wrote_its_lines(tmp_path):
    earlier = {"epoch": 1, "loss": 0.5, "accuracy_adv": 0.25, "mask_distance": 0.125, "TA": {"0": 80.0}}
    later = {"schema": LOG_SCHEMA, "epoch": 2, "loss": 0.5, "accuracy_adv": 0.5, "TA": {"0": 81.0}}
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in (earlier, later)))
    assert read_log(tmp_path) == [earlier | {"accuracy_adv": 25.0, "mask_distance": 12.5}, later]
