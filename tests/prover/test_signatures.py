"""jaxtyping annotations as contracts: functions of which each is right, or wrong for a reason."""

import dataclasses
import enum
from collections.abc import Callable, Iterator, Mapping
from typing import (
    Annotated,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Self,
    TypedDict,
    TypeVar,
)

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from beartype import beartype
from flax import linen as nn
from flax import nnx
from jaxtyping import (
    Array,
    ArrayLike,
    Bool,
    Float,
    Float32,
    Int,
    Key,
    Num,
    PRNGKeyArray,
    PyTree,
    Scalar,
    Shaped,
    UInt8,
    jaxtyped,
)

import jaxconv as jc
from jaxconv.prover.annotations import AnnotationError
from jaxconv.prover.contract import proofs_of
from jaxconv.prover.signatures import Annotations, evaluated

RIGHT, WRONG = [], []
Images = NewType("Images", Float[Array, "b h w 3"])
Kind = TypeVar("Kind")
Bounded = TypeVar("Bounded", bound=Float[Array, "n"])


def right(fn):
    RIGHT.append(pytest.param(fn, id=fn.__name__))
    return fn


def wrong(accepts, message):
    """What is refuted: the sizes that are accepted, and a part of the reason."""

    def mark(fn):
        WRONG.append(pytest.param(fn, accepts, message, id=fn.__name__))
        return fn

    return mark


@right
def names_and_numbers(x: Float[Array, "b h w 3"]) -> Float[Array, "b (h+1)//2 (w+1)//2 3"]:
    return x[:, ::2, ::2]


@wrong("h a multiple of 2", "for h = 1 the function returns 1 row, but the contract says 0")
def rounded_down(x: Float[Array, "b h"]) -> Float[Array, "b h//2"]:
    return x[:, ::2]


@right
def several_axes(
    x: Float[Array, "*batch h"], y: Float[Array, "*batch w"]
) -> Float[Array, "*batch h+w"]:
    return jnp.concatenate([x, y], axis=-1)


@wrong("no size", "it returns shape (1, h)")
def not_of_every_rank(x: Float[Array, "*batch h"]) -> Float[Array, "*batch h"]:
    return x.reshape(-1, x.shape[-1])


@right
def any_rank(x: Float[Array, "..."]) -> Float[Array, ""]:
    return x.sum()


@right
def rest_in_the_middle(x: Float[Array, "b ... c"]) -> Float[Array, "b c"]:
    return x.sum(axis=tuple(range(1, x.ndim - 1)))


@right
def broadcast(x: Float[Array, "#n"], y: Float[Array, "#n"]) -> Float[Array, "#n"]:
    return x + y


@wrong("no size", "incompatible shapes")
def not_broadcast(x: Float[Array, "n"], y: Float[Array, "n+1"]) -> Float[Array, "n"]:
    return x + y


@right
def documented_size(x: Float[Array, "b channels=3"]) -> Float[Array, "b 3"]:
    return x


@right
def anonymous(x: Float[Array, "_ h"], y: Float[Array, "_rows h"]) -> Float[Array, "_ h"]:
    return jnp.concatenate([x, y])


@right
def words_of_python(x: Float[Array, "in is"], w: Float[Array, "out in"]) -> Float[Array, "out is"]:
    return w @ x


@wrong("x_0 >= 2", "empty")
def a_name_that_is_made_up_is_no_other(
    x: Float[Array, "_ n"], y: Float[Array, "x_0"]
) -> Float[Array, "n"]:
    return x[0] * y[1:].sum()


@wrong("in_ = 1", "")
def a_word_of_python_is_no_other_name(
    x: Float[Array, "in"], y: Float[Array, "in_"]
) -> Float[Array, "in"]:
    return x + y


@wrong("x_1", "")
def names_that_are_made_up_differ(
    x: Float[Array, "_ _"], y: Float[Array, "*x_"]
) -> Float[Array, "..."]:
    return x[0] + y


@right
def broadcast_axes(x: Float[Array, "*#b c"], y: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
    return x + y


@right
def broadcast_axes_of_both(x: Float[Array, "*#b"], y: Float[Array, "*#b"]) -> Float[Array, "*b"]:
    return x + y


@wrong("b1 = 1", "")
def axes_of_size_1_are_not_broadcast(
    x: Float[Array, "*#b"], y: Float[Array, "*b"]
) -> Float[Array, "*b"]:
    return x if x.ndim == y.ndim else x + y


@wrong("", "")
def leaves_of_other_sizes(x: PyTree[Float[Array, "?n"], "T"]) -> Float[Array, ""]:
    first, second = jax.tree.leaves(x)
    return (first + second).sum()


@right
def leaves_of_their_own_sizes(
    x: PyTree[Float[Array, "?n"], "T"],
) -> PyTree[Float[Array, "?n"], "T"]:
    return jax.tree.map(jnp.sin, x)


@right
def told_apart_by_size(x: Float[Array, "n"]) -> Float[Array, "n"] | Float[Array, "n+1"]:
    return jnp.pad(x, (0, 1))


@right
def arguments_told_apart_by_size(
    x: Float[Array, "1"] | Float[Array, "n"], y: Float[Array, "n"]
) -> Float[Array, "n"]:
    return x + y


@wrong("no size", "the contract says 1")
def of_none_of_the_sizes(x: Float[Array, "n"]) -> Float[Array, "n"] | Float[Array, "n+1"]:
    return jnp.pad(x, (0, 2))


@dataclasses.dataclass
class Box(Generic[Kind]):
    a: Kind
    b: list[Kind]


@right
def generic(box: Box[Float[Array, "n"]]) -> Float[Array, "n"]:
    return box.a + box.b[0]


@wrong("n = 1", "")
def generic_result(x: Float[Array, "n"]) -> Box[Float[Array, "n"]]:
    return Box(x[:1], [x])


class Partly(TypedDict):
    a: Float[Array, "n"]
    b: NotRequired[Float[Array, "n"]]


@right
def items_left_out(x: Partly) -> Partly:
    return {"a": x["a"] + x.get("b", 0)}


@wrong("no size", "KeyError")
def items_that_may_be_left_out(x: Partly) -> Float[Array, "n"]:
    return x["a"] + x["b"]


@wrong("n = 1", "")
def an_item_that_may_be_left_out_is_wrong(x: Float[Array, "n"]) -> Partly:
    return {"a": x, "b": x[:1]}


@dataclasses.dataclass
class Doubled:
    x: Float[Array, "n"]

    def __post_init__(self):
        self.twice = jnp.concatenate([self.x, self.x])


@right
def computed_after_init(x: Doubled) -> Float[Array, "2*n"]:
    return x.twice


@right
def the_smaller(x: Float[Array, "a"], y: Float[Array, "b"]) -> Float[Array, "min(a,b)"]:
    return x[: min(len(x), len(y))] + y[: min(len(x), len(y))]


@right
def scalars(x: Scalar, y: Float[Array, ""]) -> Float[Array, ""]:
    return x * y


@right
def dtypes(x: Int[Array, "n"], y: UInt8[Array, "n"], z: Bool[Array, "n"]) -> Bool[Array, "n"]:
    assert (x.dtype, y.dtype, z.dtype) == (jnp.int32, jnp.uint8, bool)
    return (x > y) & z


@wrong("no size", 'it returns float32, but the contract says Int[Array, "n"]')
def another_dtype(x: Int[Array, "n"]) -> Int[Array, "n"]:
    return x / 2


@right
def every_dtype(x: Shaped[Array, "n"], y: Num[Array, "n"]) -> Float32[Array, "n"]:
    return jnp.asarray(x, "float32") + jnp.asarray(y, "float32")


@right
def keys(key: PRNGKeyArray, other: Key[Array, ""], x: Float[Array, "n"]) -> Float[Array, "n"]:
    return x * jax.random.bernoulli(key, 0.5, x.shape) * jax.random.normal(other, x.shape)


@right
def optional(x: Float[Array, "n"], y: Float[Array, "n"] | None = None) -> Float[Array, "n"]:
    return x if y is None else x + y


@wrong("n = 1", "")
def wrong_only_where_it_is_given(
    x: Float[Array, "n"], y: Float[Array, ""] | None = None
) -> Float[Array, ""]:
    return x.sum() if y is None else (x + y).reshape(())


@wrong("no size", "the result is of type NoneType")
def nothing_at_times(x: Float[Array, "n"], flag: bool) -> Float[Array, "n"]:
    return x if flag else None


@right
def flags(x: Float[Array, "n"], how: Literal["sum", "mean"], keep: bool = True) -> Float[Array, ""]:
    return getattr(x, how)() if keep else x[0]


class Mode(enum.Enum):
    ROWS = 0
    COLUMNS = 1


@wrong("w = h", "returns 2 rows")
def one_member_is_wrong(x: Float[Array, "h w"], mode: Mode) -> Float[Array, "h"]:
    return x.sum(axis=1 - mode.value)


class Pair(NamedTuple):
    a: Float[Array, "b h"]
    b: Float[Array, "b w"]


@right
def named_tuple(pair: Pair) -> Pair:
    return Pair(pair.b[:, :1] + pair.a, pair.b)


class Sizes(TypedDict):
    image: Float[Array, "b h w"]
    label: Int[Array, "b"]


@right
def typed_dict(batch: Sizes) -> tuple[Float[Array, "b"], Int[Array, "b"]]:
    return batch["image"].sum((1, 2)), batch["label"]


@dataclasses.dataclass
class Batch:
    images: UInt8[Array, "b h w 3"]
    labels: Int[Array, "b"]
    scale: float = 255.0


@right
def dataclass(batch: Batch) -> Float[Array, "b"]:
    return batch.images.mean((1, 2, 3)) / batch.scale + batch.labels


@right
def trees(x: PyTree[Float[Array, "n"]]) -> PyTree[Float[Array, "n+1"]]:
    return jax.tree.map(lambda leaf: jnp.pad(leaf, (0, 1)), x)


@right
def containers(
    x: list[Float[Array, "n"]], y: Mapping[str, Float[Array, "n"]]
) -> dict[str, Float[Array, "n"]]:
    return {"x": sum(x), "y": sum(y.values())}


@wrong("no size", "the result is an array, but the contract says tuple")
def another_container(x: Float[Array, "n"]) -> tuple[Float[Array, "n"], Float[Array, "n"]]:
    return x


@wrong("n = 1", "for m = 2 the function returns 1 on axis 0 of result[1]")
def sizes_of_the_result_alone(x: Float[Array, "n"]) -> tuple[Float[Array, "m"], Float[Array, "m"]]:
    return x, x[:1]


@right
def like_arrays(x: PyTree[ArrayLike], y: Float[Array, "n"]) -> Float[Array, "n"]:
    assert len({jnp.asarray(leaf).dtype for leaf in jax.tree.leaves(x)}) == 1
    return y


@right
def maybe_like_an_array(x: float | Array | None, y: Float[Array, "n"]) -> Float[Array, "n"]:
    return y if x is None else y + jnp.sum(x)


@wrong("no size", "it returns complex64, but the contract says float32")
def like_a_complex_number(x: Array | complex, y: Float32[Array, "n"]) -> Float32[Array, "n"]:
    return y * jnp.sum(x)


@wrong("no size", "it returns int32, but the contract says float32")
def like_a_whole_number(x: ArrayLike, y: Float32[Array, "n"]) -> Float32[Array, ""]:
    return jnp.sum(x) if jnp.issubdtype(jnp.result_type(x), jnp.integer) else jnp.sum(y)


@wrong("no size", "tuple index out of range")
def like_an_array_with_axes(x: ArrayLike, y: Float[Array, "n"]) -> Float[Array, "n"]:
    return y + jnp.shape(x)[0]


@right
def starred(*xs: Float[Array, "n"], scale: Float[Array, ""]) -> Float[Array, "n"]:
    return sum(xs) * scale


@right
def starred_with_a_choice_each(*xs: Float[Array, "n"] | None) -> Float[Array, ""]:
    return sum((x.sum() for x in xs if x is not None), jnp.zeros(()))


@right
def a_value_in_a_size(x: Float[Array, "n"], k: int = 3) -> Float[Array, "n*{k}"]:
    return jnp.tile(x, k)


@right
def other_names_of_types(
    x: Images, y: Annotated[Float[Array, "b"], "labels"], z: Bounded
) -> Float[Array, "b n"]:
    return x.sum((1, 2, 3))[:, None] + y[:, None] + z


@right
def in_quotes(x: "Float[Array, 'b h']") -> "Float[Array, 'b']":
    return x[:, 0]


@right
@jax.jit
def compiled(x: Float[Array, "n"]) -> Float[Array, "n"]:
    return x * 2


@right
@jaxtyped(typechecker=beartype)
def checked_by_others(x: Float[Array, "b h"], y: Float[Array, "h k"]) -> Float[Array, "b k"]:
    return x @ y


@wrong("k <= 7", "")
@jaxtyped(typechecker=beartype)
def refused_by_others(x: Float[Array, "b h"], y: Float[Array, "h k"]) -> Float[Array, "b k"]:
    return (x @ y)[:, :7]


@pytest.mark.parametrize("fn", RIGHT)
def test_a_right_function_is_proven(fn):
    verdict = jc.check(fn)
    assert verdict.ok, verdict
    assert not verdict.accepts.is_empty()


@pytest.mark.parametrize(("fn", "accepts", "message"), WRONG)
def test_a_wrong_function_is_refuted_for_its_reason(fn, accepts, message):
    verdict = jc.check(fn)
    assert verdict.status == "refuted", verdict
    assert accepts in str(verdict).partition("\n")[0], verdict
    assert message in str(verdict), verdict


class Linear(eqx.Module):
    weight: Float[Array, "out in"]
    bias: Float[Array, "out"] | None

    def __call__(self, x: Float[Array, "in"]) -> Float[Array, "out"]:
        y = self.weight @ x
        return y if self.bias is None else y + self.bias


class Conv(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), strides=2, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b (h+1)//2 (w+1)//2 4"]:
        return self.conv(x)


def test_fields_of_a_model_bind_the_names_of_its_methods():
    key = jax.random.key(0)
    layer = Linear(jax.random.normal(key, (4, 3)), None)
    assert jc.check(layer).outputs == (4,)
    assert jc.check(layer.__call__).ok
    wide = Linear(jax.random.normal(key, (4, 3)), jax.random.normal(key, (5,)))
    assert jc.check(wide).status == "refuted"
    assert jc.check(Conv(nnx.Rngs(0))).ok


@dataclasses.dataclass
class Scaled:
    x: Float[Array, "n"]

    def by(self, y: Float[Array, "n"]) -> Self:
        return Scaled(self.x * y)

    def other(self, y: Float[Array, "m"]) -> Self:
        return Scaled(y)


def test_self_is_the_class_of_a_method():
    assert jc.check(Scaled(jnp.ones(3)).by).ok
    assert jc.check(Scaled(jnp.ones(3)).other).status == "refuted"


def test_arguments_of_any_number_may_be_given():
    def added(*xs: Float[Array, "n"]) -> Float[Array, "n"]:
        return sum(xs)

    assert jc.check(added, xs=(jnp.ones(4), jnp.ones(4), jnp.ones(4))).outputs == (4,)


def test_members_of_array_like_are_named():
    (note,) = jc.check(like_arrays).notes
    assert note.startswith("proven for 16 calls")
    members = ["0 axes for ... of x[0]", "2 axes for ... of x[1]", "x[0] = True"]
    for said in (*members, *(f"x as {kind}" for kind in ("Array", "bool", "int", "complex"))):
        assert said in note


def test_numbers_of_axes_that_a_proof_chose_are_named():
    note = jc.check(several_axes).notes[-1]
    assert note.startswith("proven for 3 calls: with 0 axes for *batch, 1 axis for *batch, 2 axes")


def test_where_and_values_reach_a_proof():
    @jc.contract(where="h >= 2")
    def halved(x: Float[Array, "b h"]) -> Float[Array, "b h//2"]:
        return jc.max_pool(x[:, :, None, None], (2, 1))[:, :, 0, 0]

    assert jc.check(halved).ok
    with pytest.raises(jc.ShapeError, match="the contract is for h >= 2 only"):
        halved(jnp.ones((2, 1)))

    @jc.contract(k=2)
    def tiled(x: Float[Array, "n"], k: int) -> Float[Array, "2*n"]:
        return jnp.tile(x, k)

    assert jc.check(tiled).ok


REFUSED = {
    "a size": (
        (jnp.ones((2, 3)), jnp.ones((4, 4))),
        "axis 0 of w is 4, but the contract says h = 3.",
    ),
    "a dtype": (
        (jnp.ones((2, 3), int), jnp.ones((3, 4))),
        'x is int32, but the contract says Float[Array, "b h"].',
    ),
    "a rank": ((jnp.ones(2), jnp.ones((3, 4))), "x has 1 axes, but the contract says"),
    "no array": ((3, jnp.ones((3, 4))), "x is of type int, but the contract says Float[Array"),
}


@pytest.mark.parametrize(("args", "message"), REFUSED.values(), ids=REFUSED)
def test_a_call_that_does_not_fit_is_refused(args, message):
    @jc.contract
    def product(x: Float[Array, "b h"], w: Float[Array, "h k"]) -> Float[Array, "b k"]:
        return x @ w

    assert product(jnp.ones((2, 3)), w=jnp.ones((3, 4))).shape == (2, 4)
    with pytest.raises(jc.ShapeError) as refused:
        product(*args)
    assert message in str(refused.value)


SQUARE = Float[Array, "n n"]


@pytest.mark.parametrize(
    ("hint", "fitting", "other"),
    [
        # A type that says nothing of shapes does not take an array.
        (SQUARE | Callable, [jnp.ones((2, 2)), abs], None),
        (SQUARE | Literal["none"], [jnp.ones((2, 2)), "none"], "some"),
        # The type with the dtype of the array gives the sizes.
        (Int[Array, "a b"] | SQUARE, [jnp.ones((2, 3), int), jnp.ones((2, 2))], 3.0),
        (tuple[SQUARE, SQUARE] | SQUARE, [(jnp.ones((2, 2)),) * 2], (jnp.ones((2, 2)),) * 3),
    ],
)
def test_a_call_fits_one_of_several_types(hint, fitting, other):
    @jc.contract
    def identity(x: hint):
        return x

    for value in fitting:
        assert identity(value) is value
    with pytest.raises(jc.ShapeError, match="axis 1 of x is 3, but the contract says n = 2"):
        identity(jnp.ones((2, 3)))
    if other is not None:
        with pytest.raises(jc.ShapeError, match="x is of type"):
            identity(other)


def test_broadcast_sizes_may_be_one_in_a_call():
    held = jc.contract(broadcast)
    assert held(jnp.ones(1), jnp.ones(3)).shape == (3,)
    with pytest.raises(jc.ShapeError, match="axis 0 of y is 4, but the contract says n = 3"):
        held(jnp.ones(3), jnp.ones(4))


def no_value(x: Float[Array, "n"], k: int) -> Float[Array, "n"]:
    return x * k


def no_formula(x: Float[Array, "h"]) -> Float[Array, "h**2"]:
    return jnp.outer(x, x).ravel()


def no_size(x: Float[Array, "h"]) -> Float[Array, "2*k"]:
    return x


def no_import(x: "Nothing[Array, 'h']", y: Float[Array, "h"]) -> Float[Array, "h"]:
    return y


def later(x: Float[Array, "h"]) -> Iterator[Float[Array, "h"]]:
    yield x[:1]


async def awaited(x: Float[Array, "h"]) -> Float[Array, "h"]:
    return x


def computed(x: Float[Array, "n"], ks: tuple = (1, 2)) -> Float[Array, "n*{sum(ks)}"]:
    return jnp.tile(x, 3)


def no_number(x: Float[Array, "n"], k: float = 2.5) -> Float[Array, "n*{k}"]:
    return x


BAD = {
    computed: "the size n*{sum(ks)} in an annotation cannot be decided",
    no_number: "the size n*{k} in an annotation cannot be decided",
    later: "later is a generator or async, and what it gives later is not decided.",
    awaited: "awaited is a generator or async, and what it gives later is not decided.",
    no_value: "k is annotated int, of which no value is known.\n  Fix: give k a default, or",
    no_formula: "the size h**2 in an annotation cannot be decided.\n  Fix: write it with names",
    no_size: "the size 2*k uses k, which is the size of no argument.\n  Fix: use k alone as a size",
    no_import: "the annotation of x, Nothing[Array, 'h'], cannot be read: name 'Nothing' is not",
}


@pytest.mark.parametrize(
    ("fn", "message"), BAD.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_what_cannot_be_proven_is_a_sentence(fn, message):
    with pytest.raises(AnnotationError) as refused:
        jc.check(fn)
    assert message in str(refused.value)


def test_one_unreadable_annotation_leaves_the_others():
    hints = evaluated({"x": "Float[Array, 'n']", "y": "Nothing"}, globals())
    assert hints["x"].dim_str == "n"
    assert hints["y"].text == "Nothing"


def test_functions_without_shapes_say_none():
    assert not Annotations(lambda x: x).says_shapes()
    assert not Annotations(len).says_shapes()


def test_a_function_may_call_itself():
    @jc.contract
    def halved(x: Float[Array, "n"], times: int = 2) -> Float[Array, "n"]:
        return x / 2 if times == 1 else halved(x, times - 1)

    assert jc.check(halved).ok


def test_axes_of_arrays_that_are_given_are_known():
    def added(x: Float[Array, "*b h"], y: Float[Array, "*b"]) -> Float[Array, "*b h"]:
        return x + y[..., None]

    assert jc.check(added, y=jnp.ones((2, 3))).outputs[:2] == (2, 3)


def test_a_function_that_needs_arguments_is_one_itself():
    def applied(f: Callable, x: Float[Array, "n"]) -> Float[Array, "n"]:
        return f(x)

    assert jc.check(applied, f=lambda x: 2 * x).ok
    assert jc.check(applied, f=lambda x: x[:1]).status == "refuted"


@dataclasses.dataclass
class Node:
    x: Float[Array, "n"]
    rest: "Node | None" = None


def test_what_a_proof_does_not_make_is_named():
    def first(node: Node) -> Float[Array, "n"]:
        return node.x if node.rest is None else node.x[:1]

    verdict = jc.check(first)
    assert "no node.rest as Node" in str(verdict)


class Dense(nn.Module):
    @nn.compact
    def __call__(self, x: Float[Array, "b c"]) -> Float[Array, "b 8"]:
        return nn.Dense(8)(x)


def test_a_model_without_parameters_needs_specs():
    with pytest.raises(AnnotationError, match="Fix: pass specs of its arguments"):
        jc.check(Dense())
    assert jc.check(Dense(), "b c").outputs[1] == 8


def linear(
    x: Float[Array, "batch seq d_in"], w: Float[Array, "d_in d_out"]
) -> Float[Array, "batch seq d_out"]:
    return jnp.matmul(x, w.T)


def test_the_example_of_another_checker_is_refuted_at_its_line():
    """The README of jaxtyc 0.7.2 shows this function, whose weights are transposed by mistake."""
    verdict = jc.check(linear)
    (failure,) = verdict.failures
    assert verdict.status == "refuted"
    assert str(verdict.accepts) == "d_out = d_in"
    assert failure.smallest == {"batch": 1, "seq": 1, "d_in": 1, "d_out": 2}
    wrong = linear.__code__.co_firstlineno + 3
    assert failure.where == f"test_signatures.py:{wrong}"
    assert "dot_general requires contracting dimensions" in failure.message


class AnyMultiple(eqx.Module):
    x: Float[Array, "n"]
    scale: eqx.AbstractClassVar[float]

    def __call__(self) -> Float[Array, "n"]:
        return self.x * self.scale


class Double(AnyMultiple):
    scale = 2.0


def test_no_instance_of_an_abstract_class_is_made():
    def of_any(multiple: AnyMultiple) -> Float[Array, "n"]:
        return multiple()

    def of_one(double: Double) -> Float[Array, "n"]:
        return double()

    with pytest.raises(AnnotationError, match="AnyMultiple, of which no value is known"):
        jc.check(of_any)
    assert jc.check(of_one).ok


class Boxed(eqx.Module):
    x: Float[Array, "n"]
    unknown: object

    def first(self) -> Float[Array, "n"]:
        return self.x


def test_the_fix_names_an_argument_that_can_be_passed():
    def of_box(box: Boxed) -> Float[Array, "n"]:
        return box.first()

    with pytest.raises(AnnotationError, match=r"give box\.unknown a default, or pass box="):
        jc.check(of_box)
    assert jc.check(of_box, box=Boxed(jnp.ones(3), 1)).ok
    assert jc.check(Boxed(jnp.ones(3), 1).first).ok


def test_a_field_of_self_cannot_be_passed():
    with pytest.raises(AnnotationError, match="a default, or check a method of an instance"):
        proofs_of(Boxed.first, {}, Boxed)
