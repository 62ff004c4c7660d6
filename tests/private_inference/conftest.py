"""The checkpoints that tests of private inference share."""

from __future__ import annotations

import pytest
from support.secure_runs import Files, make_files


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Files:
    return make_files(tmp_path_factory.mktemp("checkpoints"))
