"""The largest batch and the largest image: at the limit, and not above it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv as jc
from jaxconv.analysis.memory_plan import MemoryNeed, bytes_of_text

KERNEL = jnp.ones((3, 3, 3, 64))


@pytest.fixture(scope="module")
def table():
    return jc.summary(jc.conv, "b h w 3", KERNEL)


@pytest.mark.parametrize(
    ("text", "count"),
    [("16GB", 16 * 10**9), (" 1.5 GiB", 1.5 * 2**30), ("80kB", 80_000), (12, 12), ("7", 7)],
)
def test_amounts_of_memory(text, count):
    assert bytes_of_text(text) == count


def test_the_largest_batch_fits_and_the_next_does_not(table):
    plan = table.largest("1GB")
    assert plan.sizes == {"b": 74, "h": 224, "w": 224}
    assert plan.total <= 1e9 < table.memory({"b": 75, "h": 224, "w": 224}).total
    assert plan == table.memory(plan.sizes)


def test_the_largest_image_is_square(table):
    plan = table.largest("1GB", at={"b": 1})
    side = plan.sizes["h"]
    assert plan.sizes == {"b": 1, "h": side, "w": side}
    assert plan.total <= 1e9 < table.memory({"b": 1, "h": side + 1, "w": side + 1}).total


def test_only_sizes_that_are_accepted_are_found():
    def levels(x):
        small = jc.max_pool(jc.conv(x, KERNEL[..., :3]))
        return jnp.concatenate([x, jnp.repeat(jnp.repeat(small, 2, 1), 2, 2)], -1)

    table = jc.summary(levels, "b h w 3")
    side = table.largest("10MB", at={"b": 1}).sizes["h"]
    assert side % 2 == 0
    assert table.memory({"b": 1, "h": side + 2, "w": side + 2}).total > 1e7
    dense = jc.summary(lambda x: jc.flatten(jc.max_pool(x, 32)) @ jnp.ones((147, 5)), "b h w 3")
    assert dense.largest("1GB", at={"b": 1}).sizes["h"] == 255


def test_training_needs_gradients_and_what_they_read():
    model = jc.VGG([(8, 8), (16,)], head=None, rngs=nnx.Rngs(0))
    table = jc.summary(model, "b h w 3", at={"b": 2, "h": 32, "w": 32})
    inference, training = table.memory(), table.memory(train=True)
    assert training.gradients == inference.parameters == training.optimizer // 2
    assert training.activations > inference.activations
    assert table.memory(train=True, optimizer_arrays=0).optimizer == 0
    assert table.memory(train=True, remat=True).activations <= training.activations
    text = str(training)
    assert text.startswith("b = 2, h = 32, w = 32: ")
    assert "optimizer" in text


BAD = [
    ({"memory": "lots"}, "memory is 'lots', which is not an amount"),
    ({"memory": -1}, "memory is -1"),
    ({"memory": "1kB"}, "the smallest sizes need more: b = 1, h = 224, w = 224"),
    ({"memory": "1GB", "at": 3}, "at= is 3, but must be a dict of sizes"),
    ({"memory": "1GB", "train": "yes"}, "train is 'yes', but must be True or False"),
    ({"memory": "1GB", "remat": 2}, "remat is 2, but must be True or False"),
    ({"memory": "1GB", "optimizer_arrays": -3}, "optimizer_arrays is -3"),
    ({"memory": "1GB", "optimizer_arrays": 1.5}, "optimizer_arrays is 1.5, but must be an int"),
    ({"memory": "1GB", "at": {"q": 1}}, "the sizes are b, h, w, each at least 1"),
    ({"memory": "1GB", "at": {"b": 1, "h": 2, "w": 3}}, "at= gives all sizes, b, h, w"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD)
def test_bad_arguments_are_explained(table, arguments, said):
    with pytest.raises(jc.ShapeError, match=r"(?s)Fix: ") as error:
        table.largest(**arguments)
    assert said in str(error.value)


def test_numbers_of_numpy_are_sizes(table):
    assert table.largest("1GB", at={"b": np.int64(1)}) == table.largest("1GB", at={"b": 1})
    sizes = {"b": 2, "h": 32, "w": 40}
    assert table.memory({name: np.int32(n) for name, n in sizes.items()}) == table.memory(sizes)


def test_the_image_is_square_where_squares_are_accepted():
    """A head after a flatten takes all maps of as many numbers, such as 8 x 32."""
    head = jnp.ones((16 * 16 * 2, 3))
    table = jc.summary(lambda x: jc.flatten(jc.max_pool(jc.max_pool(x))) @ head, "b h w 2")
    sizes = table.largest("1GB").sizes
    assert sizes["h"] == sizes["w"]


@pytest.mark.parametrize(
    ("count", "text"), [(999.4e6, "999 MB"), (999.6e6, "1 GB"), (7, "7 bytes")]
)
def test_amounts_have_three_digits(count, text):
    need = MemoryNeed({"b": 1}, int(count), 0, 0, 0, 0)
    assert str(need) == f"b = 1: {text} (parameters {text})"


def test_sizes_outside_the_table_are_refused(table):
    with pytest.raises(jc.ShapeError, match="but the table is for every size"):
        table.memory({"b": 1})


def test_nothing_to_train_is_said():
    with pytest.raises(jc.ShapeError, match="has no parameters to train"):
        jc.summary(jc.max_pool, "b h w 3", where="h >= 2 and w >= 2").largest("1GB", train=True)


def test_the_model_keeps_its_state():
    class Remembers:
        seen = ()

        def __call__(self, x):
            self.seen = x.shape
            return x @ jnp.ones((3, 3))

    model = Remembers()
    jc.summary(model, "b 3").largest("1MB", at={})
    assert model.seen == ()
    assert jax.numpy.ones(1).shape == (1,)
