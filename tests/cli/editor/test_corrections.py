"""Corrections: the word that is wrong, in contracts and annotations as people write them."""

import pytest

from jaxconv.cli.editor.corrections import correction


def corrected(source, *arguments):
    edit = correction(source, *arguments)
    if edit is None:
        return None
    lines = source.splitlines()
    old = lines[edit.line].encode()
    return (old[: edit.start] + edit.text.encode() + old[edit.end :]).decode()


@pytest.mark.parametrize(
    ("source", "arguments", "line"),
    [
        (
            'def f(x: Float[Array, "b h"]) -> Float[Array, "b h//2"]:\n    return x',
            (0, "axis 1", "h//2", "(h + 1)//2"),
            'def f(x: Float[Array, "b h"]) -> Float[Array, "b (h+1)//2"]:',
        ),
        (
            'def f(x) -> tuple[Float[Array, "h"], Int[Array, "h w"]]:\n    return x',
            (1, "axis 0 of result[1]", "h", "w"),
            'def f(x) -> tuple[Float[Array, "h"], Int[Array, "w w"]]:',
        ),
        (
            '@jc.contract("b h -> b h//2")\ndef f(x):\n    return x',
            (1, "axis 1", "h//2", "h"),
            '@jc.contract("b h -> b h")',
        ),
        (
            'class A:\n    @jc.contract("h, h -> h, h h", where="h > 1")\n    def f(x): pass\n',
            (2, "axis 1 of result 1", "h", "h + 1"),
            '    @jc.contract("h, h -> h, h h+1", where="h > 1")',
        ),
        (
            'def f(x) -> Float[Array, "... dim=h"]:\n    return x',
            (0, "axis 4", "h", "w"),
            'def f(x) -> Float[Array, "... dim=w"]:',
        ),
        (
            'é = "->"; f = 3\n@jc.contract("é -> é")\ndef f(x):\n    return x',
            (2, "axis 0", "é", "é + 1"),
            '@jc.contract("é -> é+1")',
        ),
    ],
)
def test_the_wrong_word_is_replaced(source, arguments, line):
    assert corrected(source, *arguments) == line


@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        ("def f(x:\n", (0, "axis 0", "h", "w")),
        ("x = 3\n", (0, "axis 0", "h", "w")),
        ("def f(x):\n    return x\n", (0, "axis 0", "h", "w")),
        ('def f(x) -> Float[Array, "... h h"]:\n    return x', (0, "axis 3", "h", "w")),
        ('def f(x) -> tuple[F[Array, "h"], F[Array, "h"]]:\n    return x', (0, "axis 0", "h", "w")),
        ('def f(x) -> Float[Array, "b"]:\n    return x', (0, "axis 0", "h", "w")),
        ('@jc.contract(r"b h -> b hh")\ndef f(x):\n    return x', (1, "axis 1", "hh", "w")),
        ('@jc.contract("b\\x20h -> b h")\ndef f(x):\n    return x', (1, "axis 1", "h", "w")),
    ],
)
def test_what_is_not_certain_is_left_alone(source, arguments):
    assert corrected(source, *arguments) is None
