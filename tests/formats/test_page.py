"""docs/files.md says what the models say."""

from __future__ import annotations

from formats.page import page, page_path


def test_the_page_is_that_of_the_models() -> None:
    assert page_path().read_text(encoding="utf-8") == page(), "python -m formats.page writes it anew"
