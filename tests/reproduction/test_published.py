"""A published table keeps the rows of other runs."""

from __future__ import annotations

import pytest

from helper.errors import UserError
from reproduction.published import put_into

HEAD = "| network | ReLUs | CA | seed |\n| --- | --- | --- | --- |"


def test_a_table_takes_the_place_of_the_one_before(tmp_path):
    path = tmp_path / "results.md"
    path.write_text("Before.\n")
    put_into(path, "one", "first")
    put_into(path, "two", "other")
    put_into(path, "one", "second")
    content = path.read_text()
    assert content.startswith("Before.\n")
    assert "first" not in content
    assert content.index("second") < content.index("other")


def test_rows_of_other_runs_stay_in_a_published_table(tmp_path):
    path = tmp_path / "results.md"
    teacher, old, seed = (
        "| t | 1,000 (100 %) | 9 | 0 |\n|  |  | 8 |  |",
        "| s | 90 (9 %) | 5 | 0 |",
        "| s | 90 (9 %) | 7 | 1 |",
    )
    put_into(path, "one", f"{HEAD}\n{old}\n{teacher}")
    new, half = "| s | 90 (9 %) | 6 | 0 |", "| s | 500 (50 %) | 8 | 0 |"
    table = put_into(path, "one", f"{HEAD}\n{new}\n{seed}\n{half}")
    assert table == f"{HEAD}\n{teacher}\n{half}\n{new}\n{seed}"
    assert table in path.read_text()
    other = HEAD.replace("CA", "NPA")
    assert put_into(path, "one", f"{other}\n{new}") == f"{other}\n{new}", "columns of another kind cannot be joined"
    path.write_text(path.read_text().replace(new, "by hand"))
    with pytest.raises(UserError, match=r"results\.md: between the marks of .*, 'by hand' is no row"):
        put_into(path, "one", f"{other}\n{new}")
