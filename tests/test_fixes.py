"""The advice in messages, followed: it must lead to a call that works, with the meant result."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from tests.support.mistakes import IMAGE, KERNEL, MISTAKES, zeros

RNG = np.random.default_rng(0)
OIHW = RNG.normal(size=(64, 3, 3, 3)).astype(np.float32)

# By mistake: the call as its fix says, and the shape that was meant.
FOLLOWED = {
    "an NCHW image": (
        lambda: jc.conv(zeros(1, 3, 224, 224), KERNEL, layout="NCHW"),
        (1, 64, 224, 224),
    ),
    "an NHWC image read as NCHW": (
        lambda: jc.conv(IMAGE.transpose(0, 3, 1, 2), KERNEL, layout="NCHW"),
        (1, 64, 8, 8),
    ),
    "a kernel larger than the image": (
        lambda: jc.conv(zeros(1, 5, 5, 3), zeros(7, 7, 3, 8), padding="SAME"),
        (1, 5, 5, 8),
    ),
    "no batch axis": (lambda: jc.conv(zeros(224, 224, 3)[None], KERNEL)[0], (224, 224, 64)),
    "a sequence read as an image": (
        lambda: jc.conv(zeros(8, 100, 3), zeros(5, 3, 4), layout="NWC"),
        (8, 100, 4),
    ),
    "an int as kernel": (lambda: jc.conv(IMAGE, zeros(3, 3, 3, 4)), (1, 8, 8, 4)),
    "a list as image": (
        lambda: jc.conv(jnp.asarray(IMAGE.tolist()), KERNEL),
        (1, 8, 8, 64),
    ),
    "OIHW weights": (
        lambda: jc.conv(zeros(1, 8, 8, 512), zeros(64, 512, 3, 3).transpose(2, 3, 1, 0)),
        (1, 8, 8, 64),
    ),
    "OIHW weights that fit by accident": (
        lambda: jc.conv(IMAGE, OIHW.transpose(2, 3, 1, 0)),
        (1, 8, 8, 64),
    ),
    "OIW weights that fit by accident": (
        lambda: jc.conv(zeros(1, 600, 1), zeros(512, 1, 10).transpose(2, 1, 0), layout="NWC"),
        (1, 600, 512),
    ),
    "IOHW weights that fit by accident": (
        lambda: jc.conv_transpose(IMAGE, zeros(3, 64, 3, 3).transpose(2, 3, 0, 1)),
        (1, 8, 8, 64),
    ),
    "HWOI weights": (
        lambda: jc.conv_transpose(zeros(1, 8, 8, 64), zeros(3, 3, 32, 64).transpose(0, 1, 3, 2)),
        (1, 8, 8, 32),
    ),
    "depthwise weights of Keras": (
        lambda: jc.conv(zeros(1, 8, 8, 64), zeros(3, 3, 64, 1).reshape(3, 3, 1, 64), groups=64),
        (1, 8, 8, 64),
    ),
    "pixels and weights in 8 bits": (
        lambda: jc.conv(
            zeros(1, 8, 8, 3, dtype=np.uint8),
            zeros(3, 3, 3, 4, dtype=np.uint8),
            preferred_element_type=jnp.int32,
        ),
        (1, 8, 8, 4),
    ),
    "negative padding transposed": (
        lambda: jc.conv_transpose(IMAGE, KERNEL, stride=2, padding=1, output_padding=1),
        (1, 16, 16, 64),
    ),
    "another number of channels": (
        lambda: jc.conv(zeros(1, 8, 8, 5), zeros(3, 3, 5, 64)),
        (1, 8, 8, 64),
    ),
    "a grey kernel on a colour image": (
        lambda: jc.conv(IMAGE, zeros(3, 3, 3, 64)),
        (1, 8, 8, 64),
    ),
    "CAUSAL in 2-D": (
        lambda: jc.conv(IMAGE, KERNEL, padding=((2, 0), (2, 0))),
        (1, 8, 8, 64),
    ),
    "a kernel with all channels for groups": (
        lambda: jc.conv(zeros(1, 9, 9, 4), zeros(3, 3, 2, 8), groups=2),
        (1, 9, 9, 8),
    ),
    "raw pixels": (
        lambda: jc.conv(zeros(1, 8, 8, 3, dtype=np.uint8).astype(jnp.float32) / 255, KERNEL),
        (1, 8, 8, 64),
    ),
    "two kinds of floats": (
        lambda: jc.conv(jnp.zeros((1, 8, 8, 3), jnp.bfloat16), KERNEL.astype(jnp.bfloat16)),
        (1, 8, 8, 64),
    ),
    "a bias of another size": (lambda: jc.conv(IMAGE, KERNEL, zeros(64)), (1, 8, 8, 64)),
    "dense after a flatten of another size": (
        lambda: jc.dense(zeros(1, 32768), zeros(32768, 10)),
        (1, 10),
    ),
    "dense without flatten": (
        lambda: jc.dense(jc.flatten(zeros(1, 7, 7, 512)), zeros(25088, 10)),
        (1, 10),
    ),
    "dense transposed": (lambda: jc.dense(zeros(1, 10), zeros(11, 10).T), (1, 11)),
    "dense of other maps": (lambda: jc.dense(zeros(2, 3, 4), zeros(4, 5)), (2, 3, 5)),
    "flatten without batch axis": (lambda: jc.flatten(zeros(10)[None]), (1, 10)),
}


@pytest.mark.parametrize("mistake", FOLLOWED)
def test_the_fix_works(mistake):
    call, shape = FOLLOWED[mistake]
    assert mistake in MISTAKES
    assert call().shape == shape
