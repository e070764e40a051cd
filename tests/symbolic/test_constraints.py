"""Sets of sizes in the languages of ``where=`` and of ``jax.export``: each text is read back."""

import itertools

import jax
import pytest

from jaxconv.symbolic.constraints import InexpressibleError, export_constraints, where_text
from jaxconv.symbolic.domains import domain_of
from jaxconv.symbolic.sets import SizeSet

NAMES = ("b", "h", "w")
TEXTS = {
    "h >= 32 and w >= 32": ("h >= 32 and w >= 32", ["h >= 32", "w >= 32"]),
    "h % 16 == 0": ("h % 16 == 0", ["mod(h, 16) == 0"]),
    "h == w": ("w == h", ["w == h"]),
    "w == 2*h": ("w == 2*h", ["w == 2*h"]),
    "w == h + 1": ("w == h + 1", ["w == h + 1"]),
    "h % 4 == 3": ("h % 4 == 3", ["mod(h, 4) == 3"]),
    "h != 7": ("h >= 8 or h <= 6", ["max(h - 8, -h + 6) >= 0"]),
    "2*h > w + 7": ("w + 8 <= 2*h", ["w + 8 <= 2*h"]),
}
OTHERS = (
    "",
    "2*h == 3*w",
    "h//2 == w//2",
    "h % 16 >= 8 and w <= 9",
    "h < 5 or w > 9 and h == w",
    "h % 2 == 0 or w % 3 == 0",
    "(h + w) % 3 == 1 and (b + 2*h) % 5 == 0",
    "(h - w) % 4 == 2",
    "h % 4 != 0 and w % 4 != 0",
    "b*3 + h == 2*w + 1",
    "h//8 == b and (w == h or w == 1)",
    "b == 1 and h == w and w >= 3",
)


@pytest.mark.parametrize("condition", TEXTS)
def test_common_sets_read_well(condition):
    sizes = SizeSet(domain_of(NAMES, condition))
    assert (where_text(sizes), export_constraints(sizes)) == TEXTS[condition]


@pytest.mark.parametrize("condition", [*TEXTS, *OTHERS])
def test_the_text_of_a_condition_gives_the_same_set(condition):
    sizes = SizeSet(domain_of(NAMES, condition))
    assert SizeSet(domain_of(NAMES, where_text(sizes))) == sizes


@pytest.mark.parametrize("condition", [*TEXTS, *OTHERS])
def test_jax_accepts_the_same_sizes(condition):
    sizes = SizeSet(domain_of(NAMES, condition))
    shape = jax.export.symbolic_shape("b, h, w", constraints=export_constraints(sizes))
    exported = jax.export.export(jax.jit(lambda x: x + 1))(jax.ShapeDtypeStruct(shape, "int8"))
    outcomes = {}
    for point in itertools.product((1, 2), (1, 7, 16), (2, 7)):
        outcomes[point] = is_accepted(exported, point)
        assert outcomes[point] == sizes.contains(**dict(zip(NAMES, point, strict=True))), point
    reloaded = jax.export.deserialize(exported.serialize())  # which checks when it is compiled
    for point in [*outcomes][::5]:
        assert is_accepted(reloaded, point, compiles=True) == outcomes[point], point


def is_accepted(exported, point, *, compiles=False):
    argument = jax.ShapeDtypeStruct(point, "int8")
    try:
        jax.eval_shape(exported.call, argument)
        if compiles:
            jax.jit(exported.call).lower(argument).compile()
    except ValueError as error:
        texts = [str(one) for one in (error, error.__cause__) if one is not None]
        assert any(text in one for one in texts for text in REFUSED), texts
        return False
    return True


REFUSED = ("Input shapes do not match", "expected same constant")


def test_a_set_of_many_cases_has_a_part_that_can_be_written():
    squares = " or ".join(f"h == {n * n}" for n in range(1, 40))
    with pytest.raises(InexpressibleError) as raised:
        export_constraints(SizeSet(domain_of(NAMES, squares)))
    part = raised.value.part
    assert export_constraints(part)
    assert part <= SizeSet(domain_of(NAMES, squares))
