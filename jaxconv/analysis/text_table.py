"""A table as text, no wider than a terminal."""

import textwrap
from collections.abc import Collection, Iterator, Sequence

GAP = "  "
NARROWEST = 20  # columns of a terminal that a name gets, however long the rest is


def text_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    words: Collection[str],
    keys: int = 1,
    width: int | None = None,
) -> str:
    """Write a table.

    Args:
        headings: one for each column.
        rows: the cells.
        words: headings of the columns that are aligned on the left.
        keys: how many columns, from the first, name a row; the last of them may be folded.
        width: of a line. A table that is wider is split into several, of some columns each, which
            all have the names; a cell that is still wider is folded. None is any width.

    Returns:
        Lines, with a rule below the headings and one at the end of each table.
    """
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    if width is not None and sum(widths) + len(GAP) * (len(widths) - 1) > width:
        left = width - sum(widths[: keys - 1]) - len(GAP) * keys
        most = min(left - max(widths[keys:]), width // 2)  # so that a table has several columns
        names = min(widths[keys - 1], max(most, NARROWEST))
        widths[keys - 1 :] = [names, *(min(one, left - names) for one in widths[keys:])]
    start = sum(widths[:keys]) + len(GAP) * (keys - 1)
    groups: list[list[int]] = [[]]  # the columns of each table, besides the names
    taken = start
    for i in range(keys, len(widths)):
        needed = len(GAP) + widths[i]
        if groups[-1] and width is not None and taken + needed > width:
            groups.append([])
            taken = start
        groups[-1].append(i)
        taken += needed
    tables = []
    for group in groups:
        columns = [*range(keys), *group]
        texts = [
            GAP.join(
                cell.ljust(widths[i]) if headings[i] in words else cell.rjust(widths[i])
                for i, cell in zip(columns, cells, strict=True)
            ).rstrip()
            for line in (headings, *rows)
            for cells in _folded([line[i] for i in columns], [widths[i] for i in columns])
        ]
        rule = "-" * max(map(len, texts))
        first = len([*_folded([headings[i] for i in columns], [widths[i] for i in columns])])
        tables.append("\n".join([*texts[:first], rule, *texts[first:], rule]))
    return "\n\n".join(tables)


def _folded(cells: Sequence[str], widths: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """The lines that a row takes."""
    folded = [
        textwrap.wrap(cell, width, break_on_hyphens=False) if len(cell) > width else [cell]
        for cell, width in zip(cells, widths, strict=True)
    ]
    for number in range(max(map(len, folded))):
        yield tuple(lines[number] if number < len(lines) else "" for lines in folded)
