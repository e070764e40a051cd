"""Calls that must be refused, by name; run as a script, it prints what each one says as JSON.

It runs as a script because a user has no runtime type checker, and wrong types must be refused
with a sentence all the same. The messages stand in mistakes.txt.
"""

import json

import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxconv as jc


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


IMAGE, KERNEL = zeros(1, 8, 8, 3), zeros(3, 3, 3, 64)

MISTAKES = {
    "an NCHW image": lambda: jc.conv(zeros(1, 3, 224, 224), KERNEL),
    "an NHWC image read as NCHW": lambda: jc.conv(IMAGE, KERNEL, layout="NCHW"),
    "a kernel larger than the image": lambda: jc.conv(
        zeros(1, 5, 5, 3), zeros(7, 7, 3, 8), padding="VALID"
    ),
    "an empty map along one axis": lambda: jc.conv(
        zeros(1, 5, 9, 3), zeros(3, 3, 3, 8), padding=((0, 1), (0, 0)), dilation=(3, 1)
    ),
    "no batch axis": lambda: jc.conv(zeros(224, 224, 3), KERNEL),
    "a rank of another layout": lambda: jc.conv(zeros(1, 4, 4, 4, 3), KERNEL),
    "a rank of no layout": lambda: jc.conv(zeros(1, 1, 1, 4, 4, 3), KERNEL),
    "an int as kernel": lambda: jc.conv(IMAGE, 3),
    "a list as image": lambda: jc.conv([[1.0]], KERNEL),
    "None as image": lambda: jc.conv(None, KERNEL),
    "a kernel of another rank": lambda: jc.conv(IMAGE, zeros(3, 3, 64)),
    "OIHW weights": lambda: jc.conv(zeros(1, 8, 8, 512), zeros(64, 512, 3, 3)),
    "OIHW weights that fit by accident": lambda: jc.conv(IMAGE, zeros(64, 3, 3, 3)),
    "OIDHW weights that fit by accident": lambda: jc.conv(
        zeros(1, 4, 4, 4, 3), zeros(16, 3, 3, 3, 3), layout="NDHWC"
    ),
    "OIW weights that fit by accident": lambda: jc.conv(
        zeros(1, 600, 1), zeros(512, 1, 10), layout="NWC"
    ),
    "IOHW weights that fit by accident": lambda: jc.conv_transpose(IMAGE, zeros(3, 64, 3, 3)),
    "IOHW weights in groups": lambda: jc.conv_transpose(
        zeros(1, 8, 8, 64), zeros(64, 16, 2, 2), stride=2, groups=2
    ),
    "HWOI weights": lambda: jc.conv_transpose(zeros(1, 8, 8, 64), zeros(3, 3, 32, 64)),
    "depthwise weights of Keras": lambda: jc.conv(
        zeros(1, 8, 8, 64), zeros(3, 3, 64, 1), groups=64
    ),
    "another number of channels": lambda: jc.conv(zeros(1, 8, 8, 5), KERNEL),
    "a grey kernel on a colour image": lambda: jc.conv(IMAGE, zeros(3, 3, 1, 64)),
    "a sequence read as an image": lambda: jc.conv(zeros(8, 100, 3), zeros(5, 3, 4)),
    "an array as padding": lambda: jc.conv(IMAGE, KERNEL, padding=np.array([1, 1])),
    "a list as layout": lambda: jc.conv(IMAGE, KERNEL, layout=["N"]),
    "words as numbers": lambda: jc.conv(np.full((1, 8, 8, 3), "a"), KERNEL),
    "a stride beyond all memory": lambda: jc.conv_transpose(IMAGE, KERNEL, stride=2**30),
    "all at once": lambda: jc.conv(
        zeros(1, 8, 8, 5), KERNEL, zeros(7), stride=0, dilation=(1, 2, 3), padding="full"
    ),
    "stride 0": lambda: jc.conv(IMAGE, KERNEL, stride=0),
    "a stride for each of three axes": lambda: jc.conv(IMAGE, KERNEL, stride=(1, 2, 3)),
    "half a stride": lambda: jc.conv(IMAGE, KERNEL, stride=1.5),
    "dilation 0": lambda: jc.conv(IMAGE, KERNEL, dilation=(1, 0)),
    "padding in lower case": lambda: jc.conv(IMAGE, KERNEL, padding="same"),
    "padding for three axes": lambda: jc.conv(IMAGE, KERNEL, padding=(1, 2, 3)),
    "padding with three sides": lambda: jc.conv(IMAGE, KERNEL, padding=((1, 2, 3), (0, 0))),
    "negative padding": lambda: jc.conv(IMAGE, KERNEL, padding=-1),
    "CAUSAL in 2-D": lambda: jc.conv(IMAGE, KERNEL, padding="CAUSAL"),
    "a reflection wider than the image": lambda: jc.conv(
        zeros(1, 4, 9, 3), zeros(9, 9, 3, 4), padding="REFLECT"
    ),
    "a repetition wider than the image": lambda: jc.conv(
        zeros(1, 2, 9, 3), zeros(9, 1, 3, 4), padding="CIRCULAR"
    ),
    "an unknown layout": lambda: jc.conv(IMAGE, KERNEL, layout="HWC"),
    "groups that do not divide c_in": lambda: jc.conv(IMAGE, KERNEL, groups=2),
    "groups that do not divide c_out": lambda: jc.conv(
        zeros(1, 8, 8, 4), zeros(3, 3, 2, 3), groups=2
    ),
    "a kernel with all channels for groups": lambda: jc.conv(
        zeros(1, 9, 9, 4), zeros(3, 3, 4, 8), groups=2
    ),
    "groups 0": lambda: jc.conv(IMAGE, KERNEL, groups=0),
    "groups as a tuple": lambda: jc.conv(IMAGE, KERNEL, groups=(1, 1)),
    "raw pixels": lambda: jc.conv(zeros(1, 8, 8, 3, dtype=np.uint8), KERNEL),
    "integers": lambda: jc.conv(zeros(1, 8, 8, 3, dtype=np.int32), KERNEL),
    "two kinds of floats": lambda: jc.conv(jnp.zeros((1, 8, 8, 3), jnp.bfloat16), KERNEL),
    "a bias of another type": lambda: jc.conv(IMAGE, KERNEL, jnp.zeros(64, jnp.float16)),
    "a bias of another size": lambda: jc.conv(IMAGE, KERNEL, zeros(3)),
    "pixels and weights in 8 bits": lambda: jc.conv(
        zeros(1, 8, 8, 3, dtype=np.uint8), zeros(3, 3, 3, 4, dtype=np.uint8)
    ),
    "sums of floats in integers": lambda: jc.conv(IMAGE, KERNEL, preferred_element_type=jnp.int32),
    "a precision in bits": lambda: jc.conv(IMAGE, KERNEL, precision=32),
    "a stride of 64 bits": lambda: jc.conv(IMAGE, KERNEL, stride=2**63, padding=2**63),
    "too much output padding": lambda: jc.conv_transpose(
        IMAGE, KERNEL, stride=2, padding=1, output_padding=2
    ),
    "output padding of a SAME result": lambda: jc.conv_transpose(
        IMAGE, KERNEL, stride=2, output_padding=1
    ),
    "negative padding transposed": lambda: jc.conv_transpose(IMAGE, KERNEL, padding=-1),
    "an image without rows": lambda: jc.conv(zeros(1, 0, 8, 3), KERNEL),
    "a kernel without filters": lambda: jc.conv(IMAGE, zeros(3, 3, 3, 0)),
    "a transposed map that vanishes": lambda: jc.conv_transpose(
        zeros(1, 1, 4, 3), KERNEL, padding=2
    ),
    "CAUSAL transposed": lambda: jc.conv_transpose(IMAGE, KERNEL, padding="CAUSAL"),
    "a shape that is a number": lambda: jc.conv_shape(224, (3, 3, 3, 64)),
    "a shape with half a pixel": lambda: jc.conv_shape((1, 8.5, 8, 3), (3, 3, 3, 64)),
    "a negative shape": lambda: jc.pool_shape((-1, 8, 8, 3)),
    "an array as shape": lambda: jc.conv_shape(IMAGE, KERNEL.shape),
    "a shape that does not fit": lambda: jc.conv_shape((1, 8, 8, 4), (3, 3, 3, 64)),
    "a pool larger than the map": lambda: jc.max_pool(zeros(1, 1, 7, 3)),
    "a pool with wide padding": lambda: jc.max_pool(IMAGE, padding=(2, 0)),
    "a pool with unknown padding": lambda: jc.avg_pool(IMAGE, padding="REFLECT"),
    "a pool with window 0": lambda: jc.pool_shape((1, 8, 8, 3), 0),
    "a pool with stride 0": lambda: jc.max_pool(IMAGE, 2, stride=(1, 0)),
    "a pool without batch axis": lambda: jc.max_pool(zeros(8, 8, 3)),
    "a pool of truth values": lambda: jc.max_pool(zeros(1, 8, 8, 3, dtype=bool)),
    "a pool of 8-bit floats": lambda: jc.max_pool(jnp.ones((1, 4, 4, 1), jnp.float8_e4m3fn)),
    "a mean of pixels": lambda: jc.avg_pool(zeros(1, 8, 8, 3, dtype=np.uint8)),
    "a global mean of no pixels": lambda: jc.global_avg_pool(zeros(1, 0, 8, 3)),
    "a global mean without batch axis": lambda: jc.global_avg_pool(zeros(8, 8, 3)),
    "flatten without batch axis": lambda: jc.flatten(zeros(10)),
    "flatten of a number": lambda: jc.flatten(np.float32(1)),
    "flatten of nothing": lambda: jc.flatten(zeros(2, 0, 3)),
    "dense after a flatten of another size": lambda: jc.dense(zeros(1, 32768), zeros(25088, 10)),
    "dense without flatten": lambda: jc.dense(zeros(1, 7, 7, 512), zeros(25088, 10)),
    "dense of other features": lambda: jc.dense(zeros(8, 64), zeros(256, 10)),
    "dense of other maps": lambda: jc.dense(zeros(2, 3, 4), zeros(8, 5)),
    "dense transposed": lambda: jc.dense(zeros(1, 10), zeros(11, 10)),
    "dense of another width": lambda: jc.dense(zeros(1, 12), zeros(11, 10), zeros(3)),
    "dense with a convolution's kernel": lambda: jc.dense(zeros(1, 3), KERNEL),
    "dense of a number": lambda: jc.dense(np.float32(1), zeros(1, 10)),
    "VGG without stages": lambda: jc.VGG([], rngs=nnx.Rngs(0)),
    "VGG of widths only": lambda: jc.VGG([64, 128], rngs=nnx.Rngs(0)),
    "VGG by name": lambda: jc.VGG("vgg16", rngs=nnx.Rngs(0)),
    "VGG without filters": lambda: jc.VGG(
        [(0,)], classes=0, channels=-1, dropout=2, rngs=nnx.Rngs(0)
    ),
    "VGG on None": lambda: jc.VGG([(2,)], head=None, rngs=nnx.Rngs(0))(None),
    "VGG on NCHW images": lambda: jc.VGG([(2,)], head=None, rngs=nnx.Rngs(0))(zeros(1, 3, 32, 32)),
    "an unknown head": lambda: jc.VGG([(8,)], head="Dense", rngs=nnx.Rngs(0)),
    "dense of nothing": lambda: jc.dense(zeros(2, 0), zeros(0, 10)),
}


def said(mistake):
    try:
        return f"no error, but {mistake()}"
    except jc.ShapeError as error:
        return str(error)


if __name__ == "__main__":
    print(json.dumps({name: said(mistake) for name, mistake in MISTAKES.items()}))
