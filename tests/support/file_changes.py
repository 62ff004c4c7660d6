"""Changes to what a file says, and to its bytes, as Hypothesis draws them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

DEEP: Any = []
for _ in range(60):
    DEEP = [DEEP]
WAYS = ("remove", "replace", "nest", "repeat")
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.sampled_from([0, 1, -1, 3, 10**6, 10**400, 2**63, -(10**6)]),
    st.floats(),
    st.sampled_from([0.0, -0.5, 1e308, float("nan"), float("inf"), -float("inf")]),
    st.text(max_size=8),
    st.sampled_from(["", "x", "..", "../x", "a/b", "\0", "\ud800", "1e999", "0" * 64, "x" * 10_000]),
    st.sampled_from([[], {}, [5], [[]], {"a": 1}, DEEP, [None] * 3]).map(copy.deepcopy),
)


def paths(content: Any, before: tuple = ()) -> Iterator[tuple]:
    """Where every value lies, from the outside in."""
    if before:
        yield before
    items = content.items() if isinstance(content, dict) else enumerate(content) if is_list(content) else ()
    for key, value in items:
        yield from paths(value, (*before, key))


def is_list(content: Any) -> bool:
    return isinstance(content, list | tuple)


def copied(content: Any) -> Any:
    """With lists for tuples, and the same tensors."""
    if isinstance(content, dict):
        return {key: copied(value) for key, value in content.items()}
    return [copied(value) for value in content] if is_list(content) else copy.copy(content)


@st.composite
def changed(draw: st.DrawFn, content: Any) -> Any:
    """The content with one to three values removed, or others in their place."""
    content = copied(content)
    for _ in range(draw(st.integers(1, 3))):
        places = list(paths(content))
        if not places:
            break
        *above, last = draw(st.sampled_from(places))
        parent = content
        for key in above:
            parent = parent[key]
        way = draw(st.sampled_from(WAYS))
        if way == "remove":
            del parent[last]
        elif way == "replace":
            parent[last] = draw(ODD)
        elif way == "nest":
            parent[last] = draw(st.sampled_from([[parent[last]], {"a": parent[last]}]))
        elif isinstance(parent, list):
            parent *= draw(st.integers(2, 50))
        else:
            parent[draw(st.text(max_size=5))] = draw(ODD)
    return content


class Bytes(bytes):
    """Of a file: too many to be shown where a test fails."""

    def __repr__(self) -> str:
        return f"{len(self)} bytes"


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The bytes cut short, with some of them changed, or with others between them."""
    way = draw(st.sampled_from(["cut", "flip", "insert"]))
    place = draw(st.integers(0, max(0, len(content) - 1)))
    if way == "cut":
        return Bytes(content[:place])
    if way == "insert":
        return Bytes(content[:place] + draw(st.binary(min_size=1, max_size=40)) + content[place:])
    found = bytearray(content)
    for place in draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        found[place] ^= 1 << draw(st.integers(0, 7))
    return Bytes(found)
