"""A table of results in a Markdown file: rows of this run take the place of the same ones, those of other runs stay.

So networks that were trained on several machines, or round by round, stand in one table.
"""

from __future__ import annotations

import re
from pathlib import Path

from helper.errors import UserError
from helper.files import read_text, replace_file

# A network has a line for each branch; the first says which it is.
Rows = dict[tuple[str, ...], list[str]]


def put_into(path: Path, name: str, table: str) -> str:
    """Put a table between the marks of `name` in a Markdown file, at its end where there are none; return what stands
    there then. Raises UserError where a mark has no end, or a line between the marks is no row.
    """
    begin, end = f"<!-- {name}: written by reproduce.py -->", f"<!-- end of {name} -->"
    content = read_text(path) if path.exists() else ""
    if begin in content:
        before, _, rest = content.partition(begin)
        published, found, after = rest.partition(end)
        if not found:
            raise UserError(f"{path}: the mark '{end}' is missing")
        table = joined(published.strip(), table, str(path))
        content = f"{before}{begin}\n{table}\n{end}{after}"
    else:
        table = joined("", table, str(path))
        content = f"{content.rstrip()}\n\n{begin}\n{table}\n{end}\n".lstrip()
    replace_file(path, lambda file: file.write(content.encode()))
    return table


def joined(published: str, table: str, where: str) -> str:
    """Both tables as one, from many ReLUs to few; `table` alone where the columns are others."""
    head, rows = table.splitlines()[:2], _rows(table, where)
    if published.splitlines()[:2] == head:
        rows = _rows(published, where) | rows
    groups = sorted(rows.items(), key=lambda row: -_relus(row[0]))
    return "\n".join([*head, *(line for _, lines in groups for line in lines)])


def _rows(table: str, where: str) -> Rows:
    """The lines of each network by its name, ReLUs and seed."""
    head, rows = table.splitlines()[:1], Rows()
    for line in table.splitlines()[2:]:
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) != head[0].count("|") - 1 or not (cells[0] or rows):
            raise UserError(f"{where}: between the marks of reproduce.py, '{line}' is no row of the table; remove it")
        if cells[0]:
            lines = rows.setdefault((cells[0], cells[1], cells[-1]), [])
        lines.append(line)
    return rows


def _relus(key: tuple[str, ...]) -> int:
    """'47,104 (25 %)' -> 47104"""
    found = re.match(r"[\d,]+", key[1])
    return int(found[0].replace(",", "")) if found else 0
