"""All models of the zoo."""

from experiments.zoo.libraries import (
    equinox_models,
    functions,
    haiku_models,
    keras_models,
    linen_models,
    nnx_models,
)
from experiments.zoo.record import Model

MODELS: tuple[Model, ...] = tuple(
    model
    for module in (
        keras_models,
        haiku_models,
        linen_models,
        nnx_models,
        equinox_models,
        functions,
    )
    for model in module.models()
)
