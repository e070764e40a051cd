"""Corrections of contracts and annotations: the word that is wrong, and what to write there."""

import ast
import io
import re
from collections.abc import Iterator
from typing import NamedTuple


class Edit(NamedTuple):
    """A change within one line.

    Attributes:
        line: counted from 0.
        start: where the old text begins, in bytes of UTF-8 as Python's parser counts.
        end: where it ends.
        text: what to write there.
    """

    line: int
    start: int
    end: int
    text: str


def split_lines(source: str) -> list[str]:
    """Split a source where Python's parser and editors do, and not at a form feed.

    Args:
        source: of a file.

    Returns:
        The lines, with their ends.
    """
    return [*io.StringIO(source, newline="")]


def correction(source: str, line: int, axis: str, expected: str, returned: str) -> Edit | None:
    """Find the word of a contract or an annotation that is wrong, and what to write there.

    Args:
        source: of the file.
        line: a line of the function, counted from 0.
        axis: which axis of the result it is, such as "axis 1 of result 0".
        expected: the wrong formula, as the contract says it.
        returned: the right one.

    Returns:
        The edit; None where the word is not found, or there are several.
    """
    numbers = [int(number) for number in re.findall(r"\d+", axis)]
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return None
    functions = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and any(one.lineno - 1 <= line for one in (node, *node.decorator_list))
        and line < (node.end_lineno or 0)
    ]
    if not functions:
        return None
    function = max(functions, key=lambda node: node.lineno)
    specs = [*_result_specs(function)]
    if len(specs) > 1:
        specs = specs[numbers[1] : numbers[1] + 1] if len(numbers) > 1 else []
    for node, value, start, text in specs:
        words = [*re.finditer(r"\S+", text)]
        right = [word for word in words if word[0].rpartition("=")[2].strip(",") == expected]
        at_axis = [word for word in right if words.index(word) == numbers[0]]
        chosen = at_axis or right
        if len(chosen) == 1 and node.lineno == node.end_lineno:
            word = chosen[0]
            before = value[: start + word.end()].encode()
            end = node.col_offset + len(b'"' + before)
            begin = end - len(expected.encode())
            line_of_node = split_lines(source)[node.lineno - 1].encode()
            if line_of_node[begin:end] == expected.encode():  # not so after r" or an escape
                return Edit(node.lineno - 1, begin, end, returned.replace(" ", ""))
    return None


def _result_specs(function: ast.FunctionDef) -> Iterator[tuple[ast.expr, str, int, str]]:
    """The shapes of results: a string, its value, and where in it each shape begins, and that."""
    for decorator in function.decorator_list:
        for node, value in _strings(decorator):
            if "->" in value:
                start = value.index("->") + 2
                for part in value[start:].split(","):
                    yield node, value, start, part
                    start += len(part) + 1
                return
    for node, value in _strings(function.returns) if function.returns else ():
        yield node, value, 0, value


def _strings(tree: ast.expr) -> Iterator[tuple[ast.expr, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node, node.value
