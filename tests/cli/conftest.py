"""Working folders for the commands: a project of models, and a photo."""

import sys

import pytest
from PIL import Image

SAME = "import jaxconv as jc\n\n\n@jc.contract('b -> b')\ndef f(x):\n    return x\n"

CHAINED = """import jaxconv as jc

try:
    jc.conv_shape((1, 8, 8), 3)
except jc.ShapeError as error:
    raise KeyError("chained") from error
"""

FILES = {
    "nets.py": """
import jax
import jax.numpy as jnp
from flax import nnx

import jaxconv as jc


class Net(nnx.Module):
    def __init__(self, width: int = 8, *, rngs):
        self.conv = nnx.Conv(3, width, (3, 3), rngs=rngs)

    @jc.contract("b h w 3 -> b h w 8")
    def __call__(self, x):
        return self.conv(x)

    def encode(self, x):
        return self.conv(x).mean((1, 2))

    @staticmethod
    def half(x):
        return x[:, ::2]

    @classmethod
    def wide(cls):
        return cls(32, rngs=nnx.Rngs(0))


@jax.jit
@jc.contract("b h w c -> b h w+1 c")
def padded(x):
    return jnp.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))


def make(classes):
    return lambda x: x.reshape(x.shape[0], -1) @ jnp.ones((12, classes))


def drawn(key):
    kernel = jax.random.normal(key, (3, 3, 3, 4))
    return lambda x: jc.conv(x, kernel)


def number(x):
    return jnp.ones(x.shape[0] ** 3 % 1009 + 1)


def loud(x):
    print("tracing")
    return x


def keyed(key="tanh"):
    return getattr(jnp, key)


size = 3
""",
    "held.py": """
import jax.numpy as jnp
import nets
from flax import nnx
from nets import Net, padded

import jaxconv as jc

net = Net(rngs=nnx.Rngs(0))


class Plain:
    def __init__(self, width):
        self.width = width

    @jc.contract("b -> b 4")
    def ready(self, x):
        return x[:, None] * jnp.ones(self.width)

    @jc.contract("b -> b 5", self=lambda: Plain(5))
    def given(self, x):
        return x[:, None] * jnp.ones(self.width)

    @staticmethod
    @jc.contract("b -> b")
    def static(x):
        return x

    @classmethod
    @jc.contract("b -> b")
    def of_class(cls, x):
        return x


@jc.contract("b h w 3 -> b h w 4", kernel=lambda: jnp.ones((3, 3, 3, 4)))
def filtered(kernel, x):
    return jc.conv(x, kernel)


plain = Plain(4)
again = plain.static
""",
    "needy.py": """
import jaxconv as jc


class Needy:
    def __init__(self, width):
        self.width = width

    @jc.contract("b -> b")
    def call(self, x):
        return x
""",
    "gives.py": """
import jaxconv as jc


def init():
    raise KeyError("conv1")


@jc.contract("b -> b", params=init)
def apply(params, x):
    return x


@jc.contract("b -> b")
def lacking(params, x):
    return x
""",
    "bad/__init__.py": "",
    "bad/lacks.py": "import a_module_of_nobody\n",
    "bad/raises.py": "def f():\n    return {}['a']\n\n\nf()\n",
    "bad/shapes.py": "import jaxconv as jc\n\njc.conv_shape((1, 8, 8), 3)\n",
    "bad/chained.py": CHAINED,
    "bad/syntax.py": "x = (\n",
    "bad/leaves.py": "raise SystemExit('no arguments')\n",
    "pack/__init__.py": "",
    "pack/__main__.py": "raise SystemExit('a program')\n",
    "pack/inner/__init__.py": "from . import deep\n",
    "pack/inner/deep.py": SAME,
    "sub/my-net.py": SAME,
    "sub/json.py": "",
    "sub/eqx_model.py": """
import equinox as eqx
import jax


class Model(eqx.Module):
    conv: eqx.nn.Conv2d

    def __init__(self, width=4, *, key):
        self.conv = eqx.nn.Conv2d(3, width, 3, padding=1, key=key)

    def __call__(self, x):
        return jax.nn.relu(self.conv(x))
""",
    "lazy.py": "def __getattr__(name):\n    return abs if name == 'later' else 1 / 0\n",
    "empty.py": "from nets import padded\n",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def project(written, monkeypatch):
    """A working folder with modules, which are forgotten afterwards."""
    monkeypatch.chdir(written)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = {*sys.modules}
    yield written
    for name in {*sys.modules} - before:
        if str(written) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


NETS = """
import equinox as eqx, jax, jax.numpy as jnp, jaxconv as jc
from flax import nnx

class Net(nnx.Module):
    def __init__(self, width, rngs):
        self.stem = nnx.Conv(3, width, (5, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.deep = nnx.Conv(width, 6, (3, 3), rngs=rngs)
        self.head = nnx.Linear(6, 4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        x = jax.nn.relu(self.norm(self.stem(x)))
        return self.head(self.dropout(nnx.relu(self.deep(x)).mean((1, 2))))

def net():
    return Net(8, nnx.Rngs(3))

trunk = eqx.nn.Conv2d(3, 5, 3, key=jax.random.key(0))

def first(x):
    assert x.shape[::3] == (1, 3) and x.dtype == jnp.float32
    return jax.nn.relu(trunk(x[0].transpose(2, 0, 1)))

def head(x):
    return x.mean((1, 2)) @ jnp.ones((3, 2))

def broken(x):
    return jc.conv(x, jnp.ones((3, 3, 4, 2)))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch, hopper):
    """A working folder with a small photo in it."""
    monkeypatch.chdir(tmp_path)
    with Image.open(hopper) as photo:
        photo.resize((64, 75)).save("photo.jpg")
    return tmp_path


@pytest.fixture
def nets(folder, hopper):
    """The same folder with one more photo, and a module of networks."""
    with Image.open(hopper) as photo:
        photo.transpose(Image.Transpose.ROTATE_90).resize((70, 60)).save("other.png")
    (folder / "lookednets.py").write_text(NETS)
    return folder
