"""What do jaxconv and other tools report for the same networks?

    python -m experiments.comparison

Ten mistakes and six correct networks that look suspicious are given to each tool, with the same
contract for inputs and outputs. Writes ``docs/comparison.md``.
Expected: jaxconv's layers reject all ten mistakes, and ``jc.check`` proves all six networks.
"""

import argparse
import platform
import re
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import beartype
import chex
import jax
import jaxtyping
from flax import nnx
from jax import export

import jaxconv as jc
from experiments.networks import conv, ones, pool, u_net

OUT = Path("docs/comparison.md")
MAX_MESSAGE = 90  # characters of a message in the table
OTHER_SECTIONS = "<!-- annotated functions -->"
PACKAGES = ("jax", "flax", "jaxtyping", "beartype", "chex")


class Case(NamedTuple):
    """A network with its contract.

    Attributes:
        name: name of the row.
        plain: the function in plain JAX or Flax.
        layers: the same with jaxconv's layers.
        takes: shape of the argument in the contract, float32.
        returns: shape of the result in the contract.
        at: sizes for the tools that need concrete ones; for a mistake, sizes at which it matters.
        given: shape of the actual argument, if it differs from the contract.
        where: condition on the sizes, for jaxconv.
        stands_for: replacements of names for jax.export.
        constraints: conditions on the sizes for jax.export.
    """

    name: str
    plain: Callable[[Any], Any]
    layers: Callable[[Any], Any]
    takes: str
    returns: str
    at: dict[str, int]
    given: str = ""
    where: str | None = None
    stands_for: Mapping[str, str] = {}
    constraints: Sequence[str] = ()


class Cell(NamedTuple):
    """The answer of a tool.

    Attributes:
        accepts: whether it accepted the network.
        sizes: the sizes for which it accepted the network.
        line: the message in short.
        message: the complete message.
    """

    accepts: bool
    sizes: str
    line: str
    message: str


def five_pools(x: Any) -> Any:
    """Run a small trunk of five convolutions and pools.

    Args:
        x: float32 (b, h, w, 3).

    Returns:
        float32 (b, h//32, w//32, 8).
    """
    for _ in range(5):
        x = pool(jax.nn.relu(conv(x, ones(3, 3, x.shape[-1], 8))))
    return x


def five_jaxconv_pools(x: Any) -> Any:
    """Run the trunk of :func:`five_pools` with jaxconv's layers.

    Args:
        x: float32 (b, h, w, 3).

    Returns:
        float32 (b, h//32, w//32, 8).
    """
    for _ in range(5):
        x = jc.max_pool(jax.nn.relu(jc.conv(x, ones(3, 3, x.shape[-1], 8))))
    return x


def one_axis(x: Any) -> Any:
    """Run a Flax layer whose kernel size is an int, which means a kernel with one axis.

    Args:
        x: float32 (b, h, w, 3).
    """
    ones_init = nnx.initializers.ones
    return nnx.Conv(3, 8, kernel_size=3, kernel_init=ones_init, rngs=nnx.Rngs(0))(x)


def dense_head(x: Any) -> Any:
    """Run the trunk, flatten its maps, and apply a dense layer for maps of 7x7 only.

    Args:
        x: float32 (b, h, w, 3).

    Returns:
        float32 (b, 10).
    """
    x = five_pools(x)
    return x.reshape(x.shape[0], -1) @ ones(392, 10)


def jaxconv_dense_head(x: Any) -> Any:
    """Run the network of :func:`dense_head` with jaxconv's layers.

    Args:
        x: float32 (b, h, w, 3).

    Returns:
        float32 (b, 10).
    """
    return jc.dense(jc.flatten(five_jaxconv_pools(x)), ones(392, 10))


def mean(layer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Add the global mean of a classifier.

    Args:
        layer: returns maps (b, h, w, c).

    Returns:
        The function that returns their means, (b, c).
    """
    return lambda x: layer(x).mean((1, 2))


def merge(conv: Callable[..., Any]) -> Callable[[Any], Any]:
    """Make a sum of two branches of stride 2 with different padding, as in ResNets.

    Args:
        conv: a convolution that takes image, kernel, stride and padding.

    Returns:
        The function of the image, (b, h, w, 3).
    """
    kernel = ones(3, 3, 3, 8)

    def network(x: Any) -> Any:
        return conv(x, kernel, 2, "SAME") + conv(x, kernel, 2, ((1, 1), (1, 1)))

    return network


def jaxconv_conv(x: Any, kernel: Any, stride: int, padding: Any) -> Any:
    """Call jc.conv with the arguments in the order of :func:`experiments.networks.conv`.

    Args:
        x: (b, h, w, c_in).
        kernel: (kh, kw, c_in, c_out).
        stride: pixels from one position to the next.
        padding: a name, or (low, high) pixels for each spatial axis.
    """
    return jc.conv(x, kernel, stride=stride, padding=padding)


def patchify(x: Any) -> Any:
    """Cut images into patches of 2x2 pixels.

    Args:
        x: (b, h, w, c).

    Returns:
        (b, h//2, w//2, 4*c).
    """
    b, h, w, c = x.shape
    patches = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return patches.reshape(b, h // 2, w // 2, 4 * c)


def gradient(layer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Make the gradient of a layer with respect to the image.

    Args:
        layer: a function of the image.

    Returns:
        The function that returns the gradient of the sum of squares, of the image's shape.
    """
    return jax.grad(lambda x: (layer(x) ** 2).sum())


def make_conv(convolve: Callable[..., Any], *kernel: int, **options: Any) -> Callable[[Any], Any]:
    """Make a convolution with a kernel of ones.

    Args:
        convolve: takes image and kernel, and the options.
        *kernel: shape of the kernel.
        **options: such as ``stride``.

    Returns:
        The function of the image.
    """
    return lambda x: convolve(x, ones(*kernel), **options)


def case(name: str, settings: tuple[Any, ...], **options: Any) -> Case:
    """Describe a mistake in one convolution, which both ways of writing share.

    Args:
        name: name of the row.
        settings: the shape of the kernel, and the options of the convolution.
        **options: the other fields of :class:`Case`.
    """
    kernel, more = settings
    end = mean if options["returns"] == "b 8" else lambda layer: layer
    return Case(
        name,
        end(make_conv(conv, *kernel, **more)),
        end(make_conv(jc.conv, *kernel, **more)),
        **options,
    )


ANY_IMAGE = {"b": 2, "h": 17, "w": 32}
MISTAKES = [
    case("an NCHW image", ((3, 3, 3, 8), {}), takes="b h w 3", returns="b h w 8", at=ANY_IMAGE,
         given="b 3 h w"),
    Case("a map that would be empty", mean(five_pools), mean(five_jaxconv_pools),
         takes="b h w 3", returns="b 8", at=ANY_IMAGE),
    case("a kernel larger than the image", ((7, 7, 3, 8), {"padding": "VALID"}),
         takes="b h w 3", returns="b 8", at={"b": 2, "h": 5, "w": 5}),
    case("a missing batch axis", ((3, 3, 3, 8), {}), takes="b h w 3", returns="_ h w 8",
         at={"h": 17, "w": 32}, given="h w 3"),
    Case("a kernel size that is an int", one_axis, make_conv(jc.conv, 3, 3, 8),
         takes="b h w 3", returns="b h w 8", at=ANY_IMAGE),
    case("OIHW weights read as HWIO", ((64, 3, 3, 3), {}), takes="b h w 3", returns="b h w 64",
         at=ANY_IMAGE),
    case("stride 0", ((3, 3, 3, 8), {"stride": 0}), takes="b h w 3", returns="b 8", at=ANY_IMAGE),
    case("groups that do not divide", ((3, 3, 3, 8), {"groups": 2}), takes="b h w 3",
         returns="b h w 8", at=ANY_IMAGE),
    case("uint8 images into a float kernel", ((3, 3, 3, 8), {}), takes="b h w 3",
         returns="b h w 8", at=ANY_IMAGE, given="b h w 3:uint8"),
    Case("a flatten before a dense layer of another width", dense_head, jaxconv_dense_head,
         takes="b h w 3", returns="b 10", at={"b": 2, "h": 256, "w": 256},
         where="h >= 224, w >= 224", constraints=("h >= 224", "w >= 224")),
]  # fmt: skip
RIGHT = [
    Case("the join of a ResNet: SAME and pads of 1, both stride 2", merge(conv),
         merge(jaxconv_conv), takes="b h w 3", returns="b (h+1)//2 (w+1)//2 8", at=ANY_IMAGE),
    Case("a U-Net of 4 levels, for multiples of 16", u_net, u_net,
         takes="b h w 3", returns="b h w 2", at={"b": 2, "h": 48, "w": 80},
         where="h % 16 == 0, w % 16 == 0", stands_for={"h": "16*m", "w": "16*n"}),
    Case("five pools, promised as h//32", five_pools, five_jaxconv_pools,
         takes="b h w 3", returns="b h//32 w//32 8", at={"b": 2, "h": 70, "w": 100},
         where="h >= 32, w >= 32", constraints=("h >= 32", "w >= 32")),
    Case("patches of 2x2, for even sizes", patchify, patchify,
         takes="b h w 3", returns="b h//2 w//2 12", at={"b": 2, "h": 6, "w": 10},
         where="h % 2 == 0, w % 2 == 0", stands_for={"h": "2*m", "w": "2*n"}),
    Case("the gradient of a convolution of stride 2",
         gradient(make_conv(conv, 3, 3, 3, 8, stride=2)),
         gradient(make_conv(jc.conv, 3, 3, 3, 8, stride=2)),
         takes="b h w 3", returns="b h w 3", at=ANY_IMAGE),
    Case("a dense head after a flatten, for 224 to 255", dense_head, jaxconv_dense_head,
         takes="b h w 3", returns="b 10", at={"b": 2, "h": 224, "w": 255},
         where="224 <= h <= 255, 224 <= w <= 255",
         constraints=("h >= 224", "h <= 255", "w >= 224", "w <= 255")),
]  # fmt: skip


# The tools: each takes a case, and is used as its documentation describes.


def by_check(given: Case, function: Callable[[Any], Any]) -> Cell:
    """Run jc.check with the contract.

    Args:
        given: the contract.
        function: the network.

    Returns:
        The answer.
    """
    verdict = jc.check(
        function, given.given or given.takes, returns=given.returns, where=given.where
    )
    line = verdict.failures[0].message if verdict.failures else verdict.status
    return Cell(verdict.ok, str(verdict.accepts), line, str(verdict))


def by_check_of_layers(given: Case) -> Cell:
    """Run jc.check on the network with jaxconv's layers.

    Args:
        given: the network, its contract and its sizes.

    Returns:
        The answer.
    """
    return by_check(given, given.layers)


def by_check_of_plain(given: Case) -> Cell:
    """Run jc.check on the network in plain JAX or Flax.

    Args:
        given: the network, its contract and its sizes.

    Returns:
        The answer.
    """
    return by_check(given, given.plain)


def _value(axis: str, sizes: Mapping[str, Any]) -> Any:
    return eval(axis, {"max": max}, dict(sizes))


def by_export(given: Case) -> Cell:
    """Run jax.export with symbolic shapes, and compare the result with the contract.

    Args:
        given: the network, its contract and its sizes.

    Returns:
        The answer.
    """
    shape, _, dtype = (given.given or given.takes).partition(":")
    names = list(dict.fromkeys(re.findall(r"[a-z]\w*", shape)))
    written = [given.stands_for.get(name, name) for name in names]
    try:
        dims = export.symbolic_shape(", ".join(written), constraints=given.constraints)
        sizes = dict(zip(names, dims, strict=True))
        x = jax.ShapeDtypeStruct(
            tuple(_value(axis, sizes) for axis in shape.split()), dtype or "float32"
        )
        exported = export.export(jax.jit(given.plain), platforms=["cpu"])(x)
        result = exported.out_avals[0].shape
        wanted = [size if a == "_" else _value(a, sizes) for a, size in _axes(given, result)]
        assert tuple(wanted) == result, f"the result is {result}, not {tuple(wanted)}"
    except Exception as error:
        return _refused(error)
    text = f"exported, with the result {result}"
    return Cell(True, ", ".join(written), text, text)


def _axes(given: Case, shape: Sequence[Any]) -> list[tuple[str, Any]]:
    axes = given.returns.split()
    assert len(axes) == len(shape), f"the result {shape} has {len(shape)} axes, not {len(axes)}"
    return list(zip(axes, shape, strict=True))


def _example(given: Case) -> jax.ShapeDtypeStruct:
    shape, _, dtype = (given.given or given.takes).partition(":")
    return jax.ShapeDtypeStruct([_value(a, given.at) for a in shape.split()], dtype or "float32")


def by_jaxtyping(given: Case) -> Cell:
    """Annotate argument and result, and let beartype check them at the sizes of one run.

    Args:
        given: the network, its contract and its sizes.

    Returns:
        The answer.
    """
    takes = jaxtyping.Float[jax.Array, given.takes]
    returns = jaxtyping.Float[jax.Array, given.returns]

    @jaxtyping.jaxtyped(typechecker=beartype.beartype)
    def network(x: takes) -> returns:  # pyright: ignore[reportInvalidTypeForm]
        return given.plain(x)

    return _at_one_size(given, network)


def by_chex(given: Case) -> Cell:
    """Assert the shapes of argument and result at the sizes of one run.

    Args:
        given: the network, its contract and its sizes.

    Returns:
        The answer.
    """

    def network(x: Any) -> Any:
        axes = given.takes.split()
        chex.assert_shape(x, tuple(int(a) if a.isdigit() else None for a in axes))
        chex.assert_type(x, float)
        sizes = {a: n for a, n in zip(axes, x.shape, strict=True) if not a.isdigit()}
        y = given.plain(x)
        chex.assert_shape(
            y, tuple(None if a == "_" else _value(a, sizes) for a in given.returns.split())
        )
        chex.assert_type(y, float)
        return y

    return _at_one_size(given, network)


def _at_one_size(given: Case, network: Callable[[Any], Any]) -> Cell:
    try:
        result = jax.eval_shape(network, _example(given))
    except Exception as error:
        return _refused(error)
    sizes = ", ".join(f"{name} = {size}" for name, size in given.at.items())
    text = f"ran for {sizes}, with the result {result.shape}"
    return Cell(True, sizes, text, text)


def _refused(error: Exception) -> Cell:
    text = f"{type(error).__name__}: {str(error).strip()}"
    return Cell(False, "", text.partition("\n")[0], text)


TOOLS: dict[str, Callable[[Case], Cell]] = {
    "jaxconv, its layers": by_check_of_layers,
    "jaxconv, plain JAX": by_check_of_plain,
    "jax.export": by_export,
    "jaxtyping + beartype": by_jaxtyping,
    "chex": by_chex,
}
ONE_SIZE_TOOLS = ("jaxtyping + beartype", "chex")


# The page.

TOOL_DESCRIPTIONS = {
    "jaxconv, its layers": "`jc.check` of the network written with `jc.conv`, `jc.max_pool` and "
    "`jc.dense`, with `returns=` and `where=`.",
    "jaxconv, plain JAX": "`jc.check` of the same function that the other tools get.",
    "jax.export": "exported with symbolic shapes and constraints; the shape of the result is "
    "compared with the contract.",
    "jaxtyping + beartype": "argument and result annotated, traced for the sizes of one run.",
    "chex": "`assert_shape` and `assert_type` on argument and result, traced for the sizes of one "
    "run.",
}
PAGE_HEAD = """\
# What other tools say

This page was generated by `python -m experiments.comparison` with Python {python},
{versions}.

Ten mistakes and six correct networks are given to each tool, with the same contract for inputs and
outputs. All answers and messages are from this run.

{asked}

The last two tools check the sizes of one run and report nothing about others. For a mistake they
are given sizes at which it matters, which a user would first have to think of; for a correct
network, sizes that it accepts. A rejection counts whatever its reason: `jax.export` also rejects
the flatten before a dense layer for sizes that fit.

## Ten mistakes that should be rejected

{mistakes}

## Six correct networks that should be accepted

{right}

## Messages
"""


def compare() -> dict[str, dict[str, Cell]]:
    """Return the answer of each tool to each case."""
    with warnings.catch_warnings(action="ignore"):  # NumPy warns where a stride is 0
        return {
            case.name: {tool: call(case) for tool, call in TOOLS.items()}
            for case in MISTAKES + RIGHT
        }


def page(cells: Mapping[str, Mapping[str, Cell]]) -> str:
    """Write the page.

    Args:
        cells: the answer of each tool, by case and tool.

    Returns:
        Markdown.
    """
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    head = PAGE_HEAD.format(
        python=platform.python_version(),
        versions=versions,
        asked="\n".join(
            textwrap.fill(f"- *{tool}*: {how}", 100, subsequent_indent="  ")
            for tool, how in TOOL_DESCRIPTIONS.items()
        ),
        mistakes=table(MISTAKES, cells, accept=False),
        right=table(RIGHT, cells, accept=True),
    )
    return "\n".join([head, *(_details(case, cells[case.name]) for case in MISTAKES + RIGHT)])


def table(cases: Sequence[Case], cells: Mapping[str, Mapping[str, Cell]], *, accept: bool) -> str:
    """Write a table with a row per case, a column per tool, and the number of right answers.

    Args:
        cases: the rows.
        cells: the answer of each tool, by case and tool.
        accept: whether the right answer is to accept.

    Returns:
        Markdown.
    """
    lines = [["", *TOOLS], ["---"] * (1 + len(TOOLS))]
    lines += [[case.name, *map(_cell_text, cells[case.name].values())] for case in cases]
    lines.append(
        ["**right answers**", *(_count_text(tool, cases, cells, accept) for tool in TOOLS)]
    )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _count_text(
    tool: str, cases: Sequence[Case], cells: Mapping[str, Mapping[str, Cell]], accept: bool
) -> str:
    right = sum(cells[case.name][tool].accepts == accept for case in cases)
    only = ", each for one size" if accept and tool in ONE_SIZE_TOOLS else ""
    return f"**{right} of {len(cases)}**{only}"


def _cell_text(cell: Cell) -> str:
    line = cell.line if len(cell.line) <= MAX_MESSAGE else cell.line[: MAX_MESSAGE - 3] + "..."
    text = f"accepts {cell.sizes}" if cell.accepts else f"refuses: {line}"
    return re.sub(r"[|*_\[\]]", r"\\\g<0>", text).replace("<", "&lt;")  # as it is, in Markdown


def _details(case: Case, row: Mapping[str, Cell]) -> str:
    settings = {
        "takes": case.takes,
        "given": case.given,
        "returns": case.returns,
        "where": case.where,
        "for jax.export": ", ".join(
            [*(f"{k} written as {v}" for k, v in case.stands_for.items()), *case.constraints]
        ),
        "sizes of one run": ", ".join(f"{name} = {size}" for name, size in case.at.items()),
    }
    lines = [f"### {case.name[0].upper()}{case.name[1:]}", ""]
    lines += [f"- {name}: `{text}`" for name, text in settings.items() if text]
    for tool, cell in row.items():
        lines += ["", f"{tool}:", "", "```text", cell.message, "```"]
    return "\n".join([*lines, ""])


def verdicts(text: str) -> dict[str, list[str]]:
    """Read from a page whether each tool accepts or refuses each case.

    Args:
        text: the page, in Markdown.

    Returns:
        For each case the words "accepts" or "refuses", in the order of the tools.
    """
    names = {case.name for case in MISTAKES + RIGHT}
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {
        row[0]: [cell.split(":")[0].split()[0] for cell in row[1:]]
        for row in rows
        if row[0] in names
    }


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.comparison", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    text = page(compare())
    old = options.out.read_text() if options.out.exists() else ""
    kept = "".join(old.partition(OTHER_SECTIONS)[1:])  # which another program writes
    options.out.write_text(text + kept)
    print(text.partition("## Messages")[0])


if __name__ == "__main__":
    main()
