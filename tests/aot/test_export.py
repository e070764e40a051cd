"""A program for every proven size: the same results elsewhere, and no other size is taken."""

import functools
import itertools
import pickle
import re
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax._src.export import shape_poly

import jaxconv as jc
from experiments.networks import ResNet, he_normal, u_net
from jaxconv.aot import export as module
from tests.support.programs import normal

KERNEL = normal(3, 3, 3, 4)


def trunk():
    """All five stages of a VGG, with few filters."""
    return jc.VGG([(4,), (4,), (4,), (8,), (8,)], head=None, rngs=nnx.Rngs(0))


def abstract(make):
    return nnx.eval_shape(lambda: make(nnx.Rngs(0)))


def join(x):
    """Two ways to halve a map, rounded up in other words."""
    y = jc.conv(x, KERNEL, stride=2)
    return y + jc.max_pool(x[..., :1], 1, stride=2)


def five_pools(x):
    for _ in range(5):
        x = jc.max_pool(x)
    return x


def gradient(x):
    return jax.grad(lambda x: jnp.sin(jc.conv(x, KERNEL, stride=2)).sum())(x)


def flat(x):
    return jc.dense(jc.flatten(jc.max_pool(x, 32)), normal(147, 5))


def bands(x):
    """Bands of four rows; JAX divides the numbers by those of the axes to find the last axis."""
    b, h, w, _ = x.shape
    return x.reshape(b, h // 4, 4, w, 3).swapaxes(2, 3).reshape(b, h // 4, -1)


def head(x):
    """What a dense layer for 96 x 96 is as a convolution, for any larger size."""
    return jc.conv(jc.max_pool(x, 32), normal(3, 3, 3, 5), padding="VALID")


def levels(x):
    """A U-Net of two levels."""
    skips = []
    for _ in range(2):
        skips.append(x)
        x = jc.max_pool(jnp.sin(jc.conv(x, KERNEL[..., :3])))
    for skip in reversed(skips):
        x = jc.conv_transpose(x, KERNEL[:2, :2, :, :3], stride=2, padding="VALID")
        x = jc.conv(jnp.concatenate([x, skip], -1), normal(3, 3, 6, 3))
    return x


# Each function, ten sizes that it takes and sizes that it does not.
ACCEPTED = {
    "join": (join, [(b, 7 + 4 * b, w) for b in (1, 2) for w in (1, 2, 5, 8, 13)], []),
    "five pools": (five_pools, [(1, h, 123 - h) for h in range(32, 82, 5)], [(1, 31, 64)]),
    "gradient": (gradient, [(2, h, 21 - 2 * h) for h in range(1, 11)], []),
    "flatten": (flat, [(b, 224 + 3 * b, 255 - b) for b in range(1, 11)], [(1, 256, 224)]),
    "bands": (bands, [(b, 4 * b, 9 - b) for b in range(1, 9)], [(1, 3, 5), (1, 6, 4)]),
    "levels": (levels, [(1, 4 * n, 44 - 4 * n) for n in range(1, 11)], [(1, 6, 8), (1, 3, 4)]),
    "trunk": (trunk(), [(1, 32 + 7 * n, 96 - 5 * n) for n in range(10)], [(1, 31, 40)]),
    "head": (head, [(b, 96 + 9 * b, 130) for b in range(1, 11)], [(2, 95, 130)]),
}

# What a process does that has JAX only.
ELSEWHERE = """
import pickle, sys
import jax, numpy as np
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        name, program, images, refused = pickle.load(file)
    exported = jax.export.deserialize(bytearray(program))
    for image, expected in images:
        result = np.asarray(exported.call(image))
        assert result.shape == expected.shape, (name, result.shape)
        np.testing.assert_allclose(result, expected, rtol=2e-4, atol=2e-4, err_msg=name)
    for shape in refused:
        try:
            exported.call(np.ones((*shape, 3), np.float32))
        except ValueError as error:
            print(name, shape, "refused:", error.__cause__)
        else:
            raise AssertionError((name, shape))
assert not [loaded for loaded in sys.modules if loaded.partition(".")[0] in ("jaxconv", "islpy")]
"""


@pytest.fixture(scope="module")
def programs():
    return {name: jc.export(fn, "b h w 3") for name, (fn, _, _) in ACCEPTED.items()}


def test_a_process_without_jaxconv_computes_the_same_at_each_size(programs, tmp_path, request):
    every = 1 if request.config.getoption("--slow") else 3
    paths = []
    for number, (name, (fn, sizes, refused)) in enumerate(ACCEPTED.items()):
        images = [normal(*size, 3) for size in sizes[::every]]
        compute = jax.jit(lambda x, fn=fn: fn(x))
        cases = [(np.asarray(image), np.asarray(compute(image))) for image in images]
        paths.append(tmp_path / f"{number}.pickle")
        content = name, bytes(programs[name].serialize()), cases, refused
        paths[-1].write_bytes(pickle.dumps(content))
    done = subprocess.run(
        [sys.executable, "-P", "-c", ELSEWHERE, *paths], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    refused = sum(len(shapes) for _, _, shapes in ACCEPTED.values())
    assert done.stdout.count("refused:") == refused
    assert "Input shapes do not match the symbolic shape constraint h >= 32" in done.stdout


@pytest.mark.parametrize("name", ACCEPTED)
def test_jax_names_the_constraint_that_a_size_does_not_meet(programs, name):
    for shape in ACCEPTED[name][2]:
        image = jax.ShapeDtypeStruct((*shape, 3), "float32")
        with pytest.raises(ValueError, match=r"do not match the symbolic shape constraint"):
            jax.eval_shape(programs[name].call, image)


@pytest.mark.parametrize("name", ["join", "five pools", "gradient", "flatten"])
def test_jax_alone_does_not_export_it(name):
    constraints = ["h >= 224", "h <= 255", "w >= 224", "w <= 255"]
    if name == "five pools":  # for these it does; it does not find out that they are needed
        constraints = ["h >= 31"]
    shape = jax.export.symbolic_shape("b, h, w, 3", constraints=constraints)
    fn = ACCEPTED[name][0]
    with pytest.raises((TypeError, ValueError, shape_poly.InconclusiveDimensionOperation)):
        jax.export.export(jax.jit(fn))(jax.ShapeDtypeStruct(shape, "float32"))


LARGE = {
    "trunk": (lambda rngs: jc.vgg16(head=None, rngs=rngs), ["h >= 32", "w >= 32"], (7, 9, 512)),
    "dense": (lambda rngs: jc.vgg16(rngs=rngs), ["h >= 224", "h <= 255"], (1000,)),
    "conv": (lambda rngs: jc.vgg16(head="conv", rngs=rngs), ["h >= 224"], (1, 3, 1000)),
    "ResNet-50": (ResNet, [], (1000,)),
    "U-Net": (u_net, ["mod(h, 16) == 0", "mod(w, 16) == 0"], None),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_networks_are_exported_for_all_platforms_at_once(name):
    make, constraints, returns = LARGE[name]
    exported = jc.export(make if make is u_net else abstract(make), "b h w 3")
    assert exported.platforms == ("cpu", "cuda", "tpu")
    image = exported.in_avals[-1]
    scope = str(image.shape[0].scope)
    assert all(f"\n  {one}" in scope for one in constraints), scope
    again = jax.export.deserialize(exported.serialize())
    size = (224, 240) if name == "dense" else (224, 288)
    parameters = [jax.ShapeDtypeStruct(one.shape, one.dtype) for one in exported.in_avals[:-1]]
    arguments = [[*parameters]] * bool(parameters)
    arguments.append(jax.ShapeDtypeStruct((2, *size, 3), "float32"))
    result = jax.eval_shape(again.call, *arguments)
    assert result.shape == ((2, *size, 2) if returns is None else (2, *returns))


@pytest.mark.parametrize("levels", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_an_exported_u_net_computes_the_same(levels):
    net = functools.partial(u_net, levels=levels, kernel=he_normal)
    exported = jax.export.deserialize(jc.export(net, "b h w 3").serialize())
    for size in ((1, 32, 32), (2, 48, 16), (3, 16, 64)):
        image = normal(*size, 3)
        expected = jax.jit(net)(image)
        assert 0.1 < jnp.std(expected) < 10
        np.testing.assert_allclose(exported.call(image), expected, atol=1e-4)
    with pytest.raises(ValueError, match="mod"):
        exported.call(normal(1, 32, 41, 3))


def test_a_layer_is_the_convolution_of_lax():
    def lax_layer(x):
        order = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, KERNEL, (1, 1), "SAME", dimension_numbers=order)

    def operations(fn):
        return re.findall(r"= (stablehlo\.\w+|call @\w+)", jc.export(fn, "b h w 3").mlir_module())

    assert operations(lambda x: jc.conv(x, KERNEL)) == operations(lax_layer)


def test_sizes_that_are_numbers_need_no_proof_of_dimensions(monkeypatch):
    monkeypatch.setattr(module, "decided_dimensions", None)  # which must not be used
    exported = jc.export(lambda x: jc.conv(x, normal(3, 3, 16, 16)), "1 32 32 16")
    image = normal(1, 32, 32, 16)
    np.testing.assert_allclose(
        exported.call(image), jc.conv(image, normal(3, 3, 16, 16)), atol=1e-3
    )


# Parameters, flags and other arguments.


def test_parameters_without_values_are_the_first_argument():
    model = trunk()
    exported = jc.export(abstract(lambda rngs: trunk()), "b h w 3")
    image = normal(1, 40, 50, 3)
    result = exported.call(jax.tree.leaves(nnx.state(model)), image)
    want = jax.jit(model.__call__)(image)
    np.testing.assert_allclose(result, want, rtol=1e-4, atol=1e-5)
    assert len(exported.in_avals) == 11
    assert len(jc.export(model, "b h w 3").in_avals) == 1  # which has them as constants


def test_parameters_in_dicts_keep_their_structure():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.BatchNorm(use_running_average=not train)(nn.Conv(4, (3, 3))(x))

    image = normal(2, 5, 6, 3)
    variables = Net().init(jax.random.key(0), image, train=False)
    exported = jc.export(Net(), "b h w 3", train=False)
    np.testing.assert_allclose(
        exported.call(variables, image), Net().apply(variables, image, train=False), atol=1e-5
    )


def test_arguments_keep_their_places_and_names():
    def scaled(params, x, mode, *, mask, power=1):
        return (params["scale"] * x * mask) ** power if mode == "scaled" else x

    params = {"scale": jnp.float32(3), "unused": None}
    mask = "b h w 1"
    exported = jc.export(scaled, params, "b h w 3", jc.static("scaled"), mask=mask, power=2)
    image, mask = normal(2, 5, 6, 3), normal(2, 5, 6, 1)
    expected = scaled(params, image, "scaled", mask=mask, power=2)
    np.testing.assert_allclose(exported.call(params, image, mask=mask), expected, rtol=1e-5)


def test_a_module_as_an_argument_is_the_list_of_its_arrays():
    layer = nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))
    exported = jc.export(lambda layer, x: layer(x), layer, "b h w 3")
    image = normal(1, 5, 6, 3)
    leaves = jax.tree.leaves(nnx.state(layer))
    np.testing.assert_allclose(exported.call(leaves, image), layer(image), rtol=1e-4, atol=1e-5)


def test_a_contract_says_what_the_arguments_are():
    @jc.contract("b h w 3 -> b h//2 w//2 3", where="h >= 2 and w >= 2")
    def halve(x):
        return jc.max_pool(x)

    assert jc.export(halve).call(normal(1, 5, 6, 3)).shape == (1, 2, 3, 3)


def test_sizes_may_be_sums_of_names():
    exported = jc.export(lambda x: x[:, ::2], "b 2*h w+1 3", where="w % 3 == 0")
    assert exported.call(normal(1, 8, 4, 3)).shape == (1, 4, 4, 3)
    for shape in ((1, 7, 4, 3), (1, 8, 5, 3)):
        with pytest.raises(ValueError, match="Input shapes do not match"):
            exported.call(normal(*shape))


# Sets of sizes.


@pytest.mark.parametrize(
    "condition", ["h < 5 or w > 9", "h != 7", "h == w", "2*h == 3*w", "h % 16 >= 8 and w <= h"]
)
def test_jax_refuses_exactly_the_sizes_outside_a_set(condition):
    exported = jc.export(lambda x: x + 1, "h w", where=condition)
    for h, w in [(3, 3), (7, 9), (6, 4), (9, 10), (24, 10), (2, 30), (7, 30)]:
        image = jax.ShapeDtypeStruct((h, w), "float32")
        if eval(condition, {"h": h, "w": w}):
            assert jax.eval_shape(exported.call, image).shape == (h, w)
        else:
            with pytest.raises(ValueError, match=r"Input shapes do not match|expected same"):
                jax.eval_shape(exported.call, image)


def points(rng, names):
    """One size for each name, as a condition."""
    return " and ".join(f"{name} == {rng.integers(1, 30)}" for name in names)


def intervals(rng, names):
    lows = rng.integers(1, 30, len(names))
    ends = lows + rng.integers(0, 9, len(names))
    return " and ".join(map("{} <= {} <= {}".format, lows, names, ends))


def sums(rng, names):
    """Sums, quotients and remainders."""
    form = rng.choice(["{}//{} == {}//{}", "{} % {} == {} % {}", "{0} + {1} <= {2} <= {0} + 9"])
    h, w = rng.permutation([*names])
    return form.format(h, rng.integers(2, 7), w, rng.integers(2, 7))


MANY = [(points, 4), (points, 16), (intervals, 5), (intervals, 12), (sums, 4), (sums, 7)]


@pytest.mark.parametrize(
    ("make", "count", "names"), [*((*one, "hw") for one in MANY), (points, 6, "hwd")]
)
def test_jax_refuses_exactly_the_sizes_outside_many_cases(make, count, names):
    rng = np.random.default_rng(count)
    condition = " or ".join(f"({make(rng, names)})" for _ in range(count))
    exported = jc.export(lambda x: x + 1, " ".join(names), where=condition)
    again = jax.export.deserialize(exported.serialize())
    accepted = [
        sizes
        for sizes in itertools.product(range(1, 40), repeat=len(names))
        if eval(condition, dict(zip(names, sizes, strict=True)))
    ]
    near = rng.choice(accepted, 12) + rng.integers(-1, 2, (12, len(names)))
    far = rng.integers(1, 40, (8, len(names)))
    for sizes in np.clip([*rng.choice(accepted, 8), *near, *far], 1, 39).tolist():
        image = jax.ShapeDtypeStruct(tuple(sizes), "float32")
        asks = [lambda image=image: jax.eval_shape(exported.call, image)]
        if sizes[0] % 4 == 0:  # of the program that was read again, which is slower
            asks.append(jax.jit(again.call).lower(image).compile)
        for ask in asks:
            if tuple(sizes) in accepted:
                ask()
            else:
                with pytest.raises(ValueError, match="shapes") as error:
                    ask()
                assert "shapes do not match" in f"{error.value} {error.value.__cause__}"


def test_a_flatten_that_many_sizes_fit_is_exported():
    weights = normal(12, 5)
    exported = jc.export(lambda x: jc.flatten(x) @ weights, "b h w 1")
    for h in range(1, 14):
        for w in {1, 12 // h, 12 // h + 1}:
            image = normal(2, h, w, 1)
            if h * w == 12:
                np.testing.assert_allclose(
                    exported.call(image), image.reshape(2, 12) @ weights, rtol=1e-4, atol=1e-5
                )
            elif w:
                with pytest.raises(ValueError, match="Input shapes do not match"):
                    exported.call(image)


def by_parity(x):
    return x[:, ::2] if x.shape[1] % 2 else x + 1


def by_value(x):
    return x.sum(0) if x.shape[1] == 7 else x * 2


def by_two_sizes(x):
    if x.shape[1] < 5 and x.shape[2] < 7:
        raise ValueError("too small")
    return x


def rows(x):
    return jnp.stack([row.sum() for row in x])


SEVERAL = {
    "parity": (by_parity, ["b h w 3"], "h % 2 == 0; h % 2 == 1"),
    "value": (by_value, ["b h w 3"], "h >= 8 or h <= 6; h == 7"),
    "two sizes": (by_two_sizes, ["b h w 3"], "h >= 5; w >= 7 and h <= 4"),
    "broadcast": (jnp.add, ["b h", "b v"], "v == h; h >= 2 and v == 1; v >= 2 and h == 1"),
    "loop": (rows, ["b h"], "b == 1; b == 2; b == 3; b == 4; ..."),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_several_programs_are_named_and_each_can_be_exported(name):
    fn, specs, listed = SEVERAL[name]
    with pytest.raises(jc.ShapeError) as error:
        jc.export(fn, *specs)
    text = str(error.value)
    assert f"jax.export writes one: {listed}." in text
    assert "different programs for different sizes" in text
    (fix,) = re.findall('pass where="(.*?)"', text)
    assert fix == listed.split("; ")[0]
    for condition in listed.removesuffix("; ...").split("; "):
        jc.export(fn, *specs, where=condition)


def test_a_set_of_too_many_cases_has_a_part_that_can_be_exported():
    squares = " or ".join(f"h == {n * n}" for n in range(1, 30))
    with pytest.raises(jc.ShapeError, match="cannot express the accepted sizes") as error:
        jc.export(lambda x: x, "h", where=squares)
    (fix,) = re.findall('pass where="(.*?)"', str(error.value))
    assert jc.export(lambda x: x, "h", where=fix)


def test_constraints_that_jax_reads_otherwise_are_noticed(monkeypatch):
    monkeypatch.setattr(module, "export_constraints", lambda sizes: ["h >= 31"])
    with pytest.raises(jc.ShapeError, match="cannot express the accepted sizes, h >= 32"):
        jc.export(lambda x: x, "h w", where="h >= 32")


# Soundness: what JAX's trace assumes must be what is proven.


def is_exported(size):
    return type(size).__name__ == "_DimExpr"


@pytest.mark.parametrize(
    "branches",
    [
        lambda h: h == 7,
        lambda h: h != 7,
        lambda h: h in (7, 14),
        lambda h: h % 2,
        lambda h: not h - 1,
    ],
)
def test_a_branch_that_the_proof_has_not_seen_is_an_error(branches):
    def sly(x):
        return x + 1 if is_exported(x.shape[0]) and branches(x.shape[0]) else x

    assert jc.check(sly, "h").ok
    with pytest.raises(jc.ShapeError, match=r"differs from size to size, at test_export.py:"):
        jc.export(sly, "h")
    assert jc.export(sly, "h", where="h >= 15 and h % 2 == 0")


def test_a_branch_whose_error_the_code_catches_is_an_error():
    def sly(x):
        try:
            return x + 1 if is_exported(x.shape[0]) and x.shape[0] == 7 else x
        except TypeError:
            return x

    with pytest.raises(jc.ShapeError, match="branches on what is not proven: whether h - 7 is 0"):
        jc.export(sly, "h")


def test_a_program_that_returns_something_else_than_proven_is_an_error():
    with pytest.raises(jc.ShapeError, match=r"returns \(2,\), which is not what is proven"):
        jc.export(lambda x: x[:2] if is_exported(x.shape[0]) else x, "h", where="h >= 2")


def test_what_is_replaced_in_jax_is_put_back():
    kind = shape_poly._DimExpr
    before = shape_poly._bounds_decision, vars(kind).copy()
    jc.export(join, "b h w 3")
    with pytest.raises(jc.ShapeError):
        jc.export(lambda x: jnp.split(x, x.shape[0]), "h")
    assert (shape_poly._bounds_decision, vars(kind)["__eq__"]) == (before[0], before[1]["__eq__"])
    assert "__bool__" not in vars(kind)
    (h,) = jax.export.symbolic_shape("h")
    assert (h + 1) // 2 != h - h // 2  # as JAX decides it


def test_dimensions_of_other_scopes_are_left_to_jax():
    def mixed(x):
        (other,) = jax.export.symbolic_shape("h")
        assert (other + 1) // 2 != other - other // 2
        assert bool(other % 2)
        return x

    assert jc.export(mixed, "h")


# What cannot be exported.


def test_a_function_that_accepts_nothing_cannot_be_exported():
    with pytest.raises(jc.ShapeError, match=r"no size is proven to be accepted: .*reshape"):
        jc.export(lambda x: x.reshape(7), "8 b")


def test_a_size_that_jax_cannot_compute_from_the_input_is_named():
    with pytest.raises(jc.ShapeError, match=r"(?s)Cannot solve for .*'h'.*Fix: "):
        jc.export(lambda x: x, "b h//2")


def test_a_function_that_calls_python_cannot_be_exported():
    def printed(x):
        jax.debug.print("a step")
        return x * 2

    with pytest.raises(jc.ShapeError, match=r"calls Python while it runs[\s\S]*jax\.debug\.print"):
        jc.export(printed, "b 3")


def test_what_jax_cannot_export_is_named_with_the_line():
    with pytest.raises(jc.ShapeError, match=r"cannot export this \(at test_export.py:\d+\): .*spl"):
        jc.export(lambda x: jnp.split(x, x.shape[0])[0], "h")


@pytest.mark.parametrize("platforms", ["gpu", ("cpu", "metal"), (), 3, ("cpu", 3)])
def test_platforms_are_named(platforms):
    with pytest.raises(jc.ShapeError, match=r"the platforms are cpu, cuda, rocm, tpu"):
        jc.export(lambda x: x, "h", platforms=platforms)


def test_one_platform_may_be_given_as_a_text():
    assert jc.export(lambda x: x, "h", platforms="cpu").platforms == ("cpu",)


def test_a_model_in_training_is_refused():
    with pytest.raises(jc.ShapeError, match=r"Fix: call model.eval\(\) first"):
        jc.export(nnx.BatchNorm(3, rngs=nnx.Rngs(0)), "b h w 3")


def test_a_model_that_remembers_a_shape_keeps_no_dimension():
    class Remembers:
        seen = ()

        def __call__(self, x):
            self.seen = x.shape
            return x

    model = Remembers()
    jc.export(model, "b h")
    assert model.seen == ()


def test_the_files_of_this_package_are_not_among_the_sources():
    assert Path(module.__file__).name == "export.py"
