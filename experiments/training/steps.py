"""A training step and a test step: pure functions of a state and a batch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxconv as jc
from experiments.training.augment import augment
from experiments.training.net import Classifier
from experiments.training.recipes import Optimiser, Recipe, Schedule

Array = jax.Array | np.ndarray
Batch = dict[str, jax.Array]  # image: (b, h, w, c) uint8; label: (b,) int32
Metrics = dict[str, jax.Array]  # scalars


@partial(jax.tree_util.register_dataclass, data_fields=["step", "key", "model", "optimiser"],
         meta_fields=[])  # fmt: skip
@dataclass(frozen=True)
class State:
    """Everything that changes during training.

    Attributes:
        step: number of completed steps.
        key: random key of the run; a step combines it with its number.
        model: parameters and batch statistics, float32.
        optimiser: state of the optimiser.
    """

    step: jax.Array
    key: jax.Array
    model: nnx.State
    optimiser: optax.OptState


@dataclass(frozen=True)
class Steps:
    """The functions of a recipe.

    Attributes:
        start: makes the first state.
        train: takes a state and a batch; returns the next state, the loss and the share of
            pictures that were classified right.
        test: takes a state and a batch; returns logits (b, classes).
        rate: the learning rate of a step.
    """

    start: Callable[[], State]
    train: Callable[[State, Batch], tuple[State, Metrics]]
    test: Callable[[State, Batch], jax.Array]
    rate: Callable[[Any], Any]


def steps_of(recipe: Recipe, model: Classifier, total: int) -> Steps:
    """The steps of a recipe.

    Args:
        recipe: what to do.
        model: with its first parameters, and ``preprocessing``.
        total: steps of the whole run.
    """
    graph, first, streams = nnx.split(model, nnx.Any(nnx.Param, nnx.BatchStat), ...)
    rate = _rate(recipe.schedule, recipe.optimiser.learning_rate, total)
    optimiser = _optimiser(recipe.optimiser, rate)
    classes = model.bias.shape[0]

    def start() -> State:
        params = nnx.filter_state(first, nnx.Param)
        key = jax.random.key_data(jax.random.key(recipe.seed))
        return State(jnp.zeros((), jnp.int32), key, first, optimiser.init(params))

    def logits(state: nnx.State, x: jax.Array, key: jax.Array | None) -> tuple[jax.Array, Any]:
        net = nnx.merge(graph, state, streams, copy=True)
        if key is not None:
            net.train()
            nnx.reseed(net, dropout=key)
        outputs = net(x)
        chex.assert_shape(outputs, (x.shape[0], classes))
        return outputs, nnx.state(net, nnx.BatchStat)

    def train(state: State, batch: Batch) -> tuple[State, Metrics]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        changes, drops = jax.random.split(key)
        x = augment(changes, prepared(model, batch["image"]), recipe.augmentation)
        params, statistics = nnx.split_state(state.model, nnx.Param, ...)

        def loss(params: nnx.State) -> tuple[jax.Array, Any]:
            outputs, new = logits(nnx.merge_state(params, statistics), x, drops)
            smoothing = recipe.optimiser.label_smoothing
            return smoothed(outputs, batch["label"], smoothing), (outputs, new)

        (mean_loss, (outputs, new)), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, momenta = optimiser.update(gradients, state.optimiser, params)
        params = optax.apply_updates(params, updates)
        right = jnp.mean(outputs.argmax(-1) == batch["label"])
        after = State(state.step + 1, state.key, nnx.merge_state(params, new), momenta)  # type: ignore[arg-type]
        chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
        return after, {"loss": mean_loss, "accuracy": right}

    def test(state: State, batch: Batch) -> jax.Array:
        return logits(state.model, prepared(model, batch["image"]), None)[0]

    return Steps(start, train, test, rate)


def prepared(model: Classifier, image: Array) -> jax.Array:
    """Preprocess pictures (b, h, w, c) of 0 to 255 for the network; float32.

    Args:
        model: has the preprocessing.
        image: uint8 (b, h, w, c).

    Returns:
        Normalised images, float32 (b, h, w, c).
    """
    how = model.preprocessing
    assert how
    scaled = jnp.asarray(image, jnp.float32) * how.scale
    return (scaled - jnp.asarray(how.mean)) / jnp.asarray(how.std)


@jc.contract("b classes, b:int32 -> :float32", smoothing=0.1)
def smoothed(logits: Array, labels: Array, smoothing: float) -> jax.Array:
    """Return the mean cross entropy of logits (b, classes) and smoothed labels (b,).

    Args:
        logits: (b, classes).
        labels: int32 (b,).
        smoothing: the share of the target that is spread over all classes.

    Returns:
        The mean loss, float32 ().
    """
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(logits, targets).mean()


def _rate(schedule: Schedule, peak: float, total: int) -> optax.Schedule:
    warm = round(schedule.warmup * total)
    rise = optax.linear_schedule(0.0, peak, warm)
    tenths = {round(total * share) - warm: 0.1 for share in (1 / 2, 3 / 4, 7 / 8)}
    fall = {
        "cosine": lambda: optax.cosine_decay_schedule(peak, max(total - warm, 1)),
        "steps": lambda: optax.piecewise_constant_schedule(peak, tenths),
    }[schedule.decay]()
    return optax.join_schedules([rise, fall], [warm])


def _optimiser(options: Optimiser, rate: optax.Schedule) -> optax.GradientTransformation:
    parts = [optax.clip_by_global_norm(options.clip)] if options.clip else []
    if options.name == "adamw":
        decay = options.weight_decay
        parts.append(optax.adamw(rate, b1=options.momentum, weight_decay=decay, mask=_kernels))
    else:
        parts.append(optax.add_decayed_weights(options.weight_decay, mask=_kernels))
        parts.append(optax.sgd(rate, momentum=options.momentum, nesterov=True))
    return optax.chain(*parts)


def _kernels(params: Any) -> Any:
    """Return which parameters decay: those with more than one axis."""
    return jax.tree.map(lambda p: p.ndim > 1, params)
