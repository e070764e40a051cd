"""Shapes without a contract. ``pytest --contracts`` proves the contracts."""

import jax
from flax import nnx

from shapes_example.classifier import Classifier
from shapes_example.unet import init, segment


def test_the_classifier_takes_half_precision(prove):
    model = nnx.eval_shape(lambda: Classifier(rngs=nnx.Rngs(0)))
    verdict = prove(model, "b h w 3:bfloat16", returns="b 10")
    assert str(verdict.accepts) == "every size"


def test_the_gradient_of_the_unet_has_the_shapes_of_its_kernels(prove):
    params = jax.eval_shape(init)
    kernels = {name: " ".join(map(str, kernel.shape)) for name, kernel in params.items()}

    def gradient(params, x):
        return jax.grad(lambda p: segment(p, x).sum())(params)

    prove(gradient, params, "b h w 1", returns=kernels, where="h % 4 == 0 and w % 4 == 0")
