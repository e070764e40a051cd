"""Questions about flattened images: those of public networks, and none too many."""

from types import SimpleNamespace

import numpy as np
import pytest
from flax import nnx

from jaxconv.models.image_borders import open_questions
from jaxconv.models.tensor_orders import Layer, Orders
from tests.support.pytorch import import_timm, import_torch, import_torchvision


def asked(*layers, **answers):
    """The layers that are asked about: each has a name and the shape of its kernel or vectors."""
    made = [layer(*one) for one in layers]
    orders = Orders(**({"flattened": {}, "unflattened": {}, "transposed": {}} | answers))
    text = open_questions(made, orders).partition("(h, w, c): ")[2].partition(". Fix: ")[0]
    return text.split("; ") if text else []


def layer(name, shape, kind="kernel", groups=1):
    variables = {kind: nnx.Param(np.broadcast_to(np.float32(0), shape))}
    return Layer(name, SimpleNamespace(feature_group_count=groups), variables)


def convolution(name, c_in, c_out):
    return name, (3, 3, c_in, c_out)


def gate(width, name="se"):
    return (f"{name}.down", (width, 4)), (f"{name}.up", (4, width))


def test_gates_of_channels_are_no_images():
    before, after = convolution("a", 16, 64), convolution("shortcut", 16, 64)
    assert asked(before, *gate(64), after) == []
    assert asked(before, *gate(64), convolution("spatial", 2, 1)) == []
    decoder = convolution("decoder", 16, 8)
    encoder = [before, ("mean", (256, 10)), ("up", (10, 64)), decoder]
    assert asked(*encoder) == ["the 256 inputs of mean", "the 64 outputs of up"]


def test_each_of_several_layers_that_read_one_image_is_asked_about():
    net = [convolution("a", 3, 8), ("mean", (72, 10)), ("var", (72, 10)), ("up", (10, 72))]
    assert asked(*net, flattened={"mean": 8}) == ["the 72 inputs of var"]
    open_ones = ["the 72 outputs of label", "the 10 inputs of z", "the 72 outputs of z"]
    generator = [("label", (5, 72)), ("z", (10, 72)), convolution("a", 8, 3)]
    assert asked(*generator, flattened={"label": 1}) == open_ones
    assert asked(*generator, flattened={"label": 1, "z": 1}) == open_ones[::2]


def test_widths_of_earlier_convolutions_are_not_usual():
    net = [convolution("a", 3, 64), convolution("b", 64, 16)]
    assert asked(*net, *gate(16), ("head", (64, 5))) == ["the 64 inputs of head"]
    assert asked(*net, ("norm", (64,), "scale")) == ["the 64 values of norm"]
    assert asked(*net, ("branch", (16, 7)), ("head", (64, 5))) == ["the 64 inputs of head"]


def test_norms_may_follow_all_convolutions():
    net = [convolution("a", 3, 32), convolution("b", 32, 64)]
    norms = [("norm a", (32,), "scale"), ("norm b", (64,), "scale")]
    assert asked(("of the model", (32,), "scale"), *net, *norms, ("head", (64, 5))) == []


def test_networks_without_convolutions_and_parameters_of_no_image_are_not_asked_about():
    assert asked(("a", (8, 9)), ("b", (7, 9)), ("norm", (5,), "scale")) == []
    assert asked(convolution("a", 3, 8), ("positions", (1, 9, 8), "scale")) == []
    assert asked(("names", (8, 8), "embedding")) == []


def layers_of(net):
    """The layers of a network of PyTorch, as :func:`asked` takes them."""
    nn = import_torch().nn
    for name, module in net.named_modules():
        own = [*module.named_parameters(recurse=False)]
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            c_out, c_in, *window = module.weight.shape
            yield name, (*window, c_in, c_out), "kernel", getattr(module, "groups", 1)
        elif own and len({value.shape for _, value in own}) == 1:
            kind = "embedding" if isinstance(module, nn.Embedding) else own[0][0]
            yield name, tuple(own[0][1].shape), kind


PUBLIC = {
    "torchvision vit_b_16": [],
    "torchvision swin_t": [],
    "torchvision convnext_tiny": [],
    "torchvision mobilenet_v3_small": [],
    "torchvision efficientnet_b0": [],
    "torchvision resnet50": [],
    "torchvision vgg11": ["the 25088 inputs of classifier.0"],
    "torchvision googlenet": ["the 2048 inputs of aux1.fc1", "the 2048 inputs of aux2.fc1"],
    "timm seresnet50": [],
    "timm maxvit_tiny_rw_224": [],
    "timm hiera_tiny_224": [],
    "timm mixer_b16_224": ["the 196 inputs of blocks.0.mlp_tokens.fc1"],
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The default weight initialization:FutureWarning")
@pytest.mark.parametrize("name", PUBLIC)
def test_public_networks_are_asked_about_only_where_shapes_do_not_say(name):
    torch, (library, model) = import_torch(), name.split()
    torchvision = import_torchvision()
    with torch.device("meta"):
        if library == "timm":
            net = import_timm().create_model(model)
        else:
            net = torchvision.models.get_model(model, weights=None)
    assert asked(*layers_of(net)) == PUBLIC[name]
