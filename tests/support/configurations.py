"""Tables and generators of configurations: every seed gives another one."""

from dataclasses import asdict, dataclass, replace

import numpy as np

CHANNELS_LAST = {1: "NWC", 2: "NHWC", 3: "NDHWC"}
CHANNELS_FIRST = {1: "NCW", 2: "NCHW", 3: "NCDHW"}


@dataclass(frozen=True)
class ConvCase:
    """One call of conv; sizes and options are tuples, one entry a spatial axis."""

    batch: int
    sizes: tuple
    c_in: int
    c_out: int
    kernel: tuple
    stride: tuple
    padding: object
    dilation: tuple
    groups: int
    first: bool  # channels first
    output_padding: tuple | None = None  # of a transposed convolution

    @property
    def layout(self):
        return (CHANNELS_FIRST if self.first else CHANNELS_LAST)[len(self.sizes)]

    @property
    def options(self):
        names = ["stride", "padding", "dilation", "groups", "layout"]
        names += [] if self.output_padding is None else ["output_padding"]
        return {name: getattr(self, name) for name in names}

    @property
    def x_shape(self):
        c = (self.c_in,)
        return (self.batch, *(c + self.sizes if self.first else self.sizes + c))

    @property
    def kernel_shape(self):
        return (*self.kernel, max(self.c_in // max(self.groups, 1), 1), self.c_out)

    def arrays(self, seed):
        rng = np.random.default_rng(seed)
        shapes = self.x_shape, self.kernel_shape, (self.c_out,)
        return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def _axes(rng, rank, low, high):
    return tuple(int(n) for n in rng.integers(low, high, rank))


def _padding(rng, rank, names, widest):
    kind = rng.integers(4)
    if kind < 2:
        return str(rng.choice(names))
    if kind == 2:
        return int(rng.integers(0, widest))
    return tuple(tuple(int(n) for n in rng.integers(0, widest, 2)) for _ in range(rank))


def conv_case(seed, transposed=False):
    """A random configuration; about one in five is invalid."""
    rng = np.random.default_rng([seed, int(transposed)])
    rank = int(rng.choice([1, 2, 2, 2, 3]))
    groups = int(rng.choice([1, 1, 1, 2, 3]))
    names = ["SAME", "SAME_LOWER", "VALID"]
    if not transposed:
        names += ["CIRCULAR", "REFLECT"] + (["CAUSAL"] if rank == 1 else [])
    case = ConvCase(
        batch=int(rng.integers(1, 4)),
        sizes=_axes(rng, rank, 1, 6 if rank == 3 else 12),
        c_in=groups * int(rng.integers(1, 4)),
        c_out=groups * int(rng.integers(1, 4)),
        kernel=_axes(rng, rank, 1, 4 if rank == 3 else 6),
        stride=_axes(rng, rank, 1, 4),
        padding=_padding(rng, rank, names, 4),
        dilation=_axes(rng, rank, 1, 3),
        groups=groups,
        first=bool(rng.integers(2)),
    )
    return replace(case, output_padding=_output_padding(rng, case)) if transposed else case


def _output_padding(rng, case):
    """None added in most cases; else some pixels, which may be too many."""
    if rng.integers(3):
        return (0,) * len(case.sizes)
    is_same = str(case.padding).startswith("SAME")
    return tuple(int(rng.integers(1 - s, 1) if is_same else rng.integers(3)) for s in case.stride)


def broken(case, seed):
    """The same configuration with one number made wrong, or left as it is."""
    rng = np.random.default_rng([seed, 7])
    rank = len(case.sizes)
    wrong = [
        {},
        {"stride": (0,) * rank},
        {"dilation": (0, *case.dilation[1:])},
        {"groups": 0},
        {"groups": case.groups + 1},
        {"c_in": case.c_in + 1},
        {"sizes": (0, *case.sizes[1:])},
        {"padding": -1},
        {"kernel": (14, *case.kernel[1:])},
    ]
    return replace(case, **wrong[rng.integers(len(wrong))])


@dataclass(frozen=True)
class PoolCase:
    """One call of max_pool or avg_pool."""

    batch: int
    sizes: tuple
    channels: int
    window: tuple
    stride: tuple
    padding: object
    count_padding: bool
    first: bool

    @property
    def layout(self):
        return (CHANNELS_FIRST if self.first else CHANNELS_LAST)[len(self.sizes)]

    @property
    def options(self):
        return {name: asdict(self)[name] for name in ("stride", "padding")} | {
            "layout": self.layout
        }

    @property
    def x_shape(self):
        c = (self.channels,)
        return (self.batch, *(c + self.sizes if self.first else self.sizes + c))

    def array(self, seed):
        return np.random.default_rng(seed).normal(size=self.x_shape).astype(np.float32)

    def arrays(self, seed):
        return [self.array(seed)]


def pool_case(seed):
    """A random configuration; some are invalid."""
    rng = np.random.default_rng([seed, 2])
    rank = int(rng.choice([1, 2, 2, 2, 3]))
    return PoolCase(
        batch=int(rng.integers(1, 4)),
        sizes=_axes(rng, rank, 1, 6 if rank == 3 else 12),
        channels=int(rng.integers(1, 5)),
        window=_axes(rng, rank, 1, 5),
        stride=_axes(rng, rank, 1, 4),
        padding=_padding(rng, rank, ["SAME", "SAME_LOWER", "VALID"], 3),
        count_padding=bool(rng.integers(2)),
        first=bool(rng.integers(2)),
    )


@dataclass(frozen=True)
class DenseCase:
    """One call of dense: the shape of the images, and the number of outputs."""

    shape: tuple
    outputs: int

    def arrays(self, seed):
        rng = np.random.default_rng(seed)
        shapes = self.shape, (self.shape[-1], self.outputs), (self.outputs,)
        return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def dense_case(seed):
    """A random configuration: a single image, a batch, or the pixels of a batch of images."""
    rng = np.random.default_rng([seed, 3])
    return DenseCase(_axes(rng, int(rng.integers(1, 5)), 1, 6), int(rng.integers(1, 6)))


def channels_last(x, first):
    """Move axis 1 to the end where the layout is channels first."""
    return np.moveaxis(x, 1, -1) if first else x
