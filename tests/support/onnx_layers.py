"""The layers by onnxruntime: values only. ONNX has its channels first and explicit pads."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from tests.support import reference


def run(operator, arrays, **attributes):
    """The result of one operator of ONNX."""
    names = [f"input{i}" for i in range(len(arrays))]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, a.shape)
        for name, a in zip(names, arrays, strict=True)
    ]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    node = helper.make_node(operator, names, ["output"], **attributes)
    graph = helper.make_graph([node], "layer", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, dict(zip(names, map(np.ascontiguousarray, arrays), strict=True)))[0]


def channels_first(case, x):
    return x if case.first else np.moveaxis(x, -1, 1)


def layout_of(case, y):
    """Move the channels to where the layout of the case has them."""
    return y if case.first else np.moveaxis(y, 1, -1)


def conv(case, x, kernel, bias):
    around = reference.axis_pads(case.padding, case.sizes, case.kernel, case.stride, case.dilation)
    padded = np.pad(
        channels_first(case, x), [(0, 0), (0, 0), *around], reference.pad_mode(case.padding)
    )
    y = run(
        "Conv",
        [padded, np.moveaxis(kernel, (-1, -2), (0, 1)), bias],
        strides=case.stride,
        dilations=case.dilation,
        group=case.groups,
    )
    return layout_of(case, y)


def conv_transpose(case, x, kernel, bias):
    # ONNX has the weights (c_in, c_out/groups, ...); ours are (..., c_in/groups, c_out).
    split = np.split(kernel, case.groups, -1)
    weights = np.concatenate([np.moveaxis(part, (-2, -1), (0, 1)) for part in split])
    y = run(
        "ConvTranspose",
        [channels_first(case, x), weights],
        strides=case.stride,
        dilations=case.dilation,
        group=case.groups,
    )
    around = reference.transposed_pads(
        case.padding, case.kernel, case.stride, case.dilation, case.output_padding
    )
    y = reference.cut(np.moveaxis(y, 1, -1), around) + bias
    return np.moveaxis(y, -1, 1) if case.first else y


def pool(operator, case, x, **attributes):
    ones = (1,) * len(case.sizes)
    around = reference.axis_pads(case.padding, case.sizes, case.window, case.stride, ones)
    sides = [low for low, _ in around] + [high for _, high in around]
    y = run(
        operator,
        [channels_first(case, x)],
        kernel_shape=case.window,
        strides=case.stride,
        pads=sides,
        **attributes,
    )
    return layout_of(case, y)


def global_avg_pool(case, x):
    y = run("GlobalAveragePool", [channels_first(case, x)])
    return y.reshape(y.shape[:2])


LAYERS = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "max_pool": lambda case, x: pool("MaxPool", case, x),
    "avg_pool": lambda case, x: pool(
        "AveragePool", case, x, count_include_pad=int(case.count_padding)
    ),
    "global_avg_pool": global_avg_pool,
    "flatten": lambda case, x: run("Flatten", [x]),
    "dense": lambda case, x, kernel, bias: run("MatMul", [x, kernel]) + bias,
}
