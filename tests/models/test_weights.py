"""Weights: published ones against onnxruntime, every form that is read, every way to be wrong."""

import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save, save_file

import jaxconv as jc
from jaxconv.models import vgg, weights
from jaxconv.models.registry import published_weights
from jaxconv.plotting.photos import open_photo
from tests.support.pytorch import import_torch

SMALL = [(4,), (6, 6), (8,)]


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Heads of few neurons: of 4096 they have 17 million weights."""
    monkeypatch.setattr(vgg, "HIDDEN", 24)


def small(head="conv", **options):
    return jc.VGG(SMALL, head=head, classes=5, rngs=nnx.Rngs(2), **options)


def call(model, x):
    return model(x)


def noise(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def onnx_trunk(path):
    """The part of the ONNX file up to the last pool, for any size; its maps by our names."""
    import onnx

    model = onnx.load(path)
    names = {}
    for node in model.graph.node:
        if node.op_type in ("Relu", "MaxPool") and "block" in node.name:
            block, _, kind = node.name.split("/")[1].removeprefix("block").partition("_")
            kind = kind.split("_")[0]
            names[node.output[0]] = f"pool{block}" if kind == "pool" else f"conv{block}_{kind[4:]}"
    last = next(o for o, name in names.items() if name == "pool5")
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if last in node.output:
            break
    outputs = [onnx.helper.make_tensor_value_info(o, 1, None) for o in names]
    image = onnx.helper.make_tensor_value_info("input", 1, [1, None, None, 3])
    graph = onnx.helper.make_graph(nodes, "trunk", [image], outputs, model.graph.initializer)
    cut = onnx.helper.make_model(graph, opset_imports=model.opset_import)
    cut.ir_version = model.ir_version
    return cut.SerializeToString(), names


def test_the_published_trunk_equals_onnxruntime_on_a_real_photograph(published, hopper):
    import onnxruntime

    content, names = onnx_trunk(published)
    photo = open_photo(hopper, 128)[None]
    bgr = photo[..., ::-1].astype(np.float32) - np.float32([103.939, 116.779, 123.68])
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    want = dict(zip(names.values(), session.run(list(names), {"input": bgr}), strict=True))

    stored = weights.read_weights(published)
    model = jc.vgg16(weights=published, head=None)
    # The model is an argument: XLA would compute what it can of constants.
    maps = jax.jit(jc.feature_maps(call))(model, stored.preprocessing(photo))
    assert list(maps) == list(want)
    assert len(want) == 18
    for name, channels_first in want.items():
        ours, theirs = np.asarray(maps[name]), np.moveaxis(channels_first, 1, -1)
        error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        assert error <= 1e-5, name
        assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max(), name


def timm_tensors(head):
    """Random parameters of a VGG of the SMALL stages, with timm's names and PyTorch's layouts."""
    shapes, channels, number = {}, 3, 0
    for widths in SMALL:
        for width in widths:
            shapes[f"features.{number}"] = width, channels, 3, 3
            channels, number = width, number + 2  # a ReLU follows
        number += 1  # and a pool
    if head:
        shapes["pre_logits.fc1"] = vgg.HIDDEN, channels, 7, 7
        shapes["pre_logits.fc2"] = vgg.HIDDEN, vgg.HIDDEN, 1, 1
        shapes["head.fc"] = 5, vgg.HIDDEN
    rng, tensors = np.random.default_rng(0), {}
    for name, shape in shapes.items():
        bound = np.prod(shape[1:]) ** -0.5
        for kind, size in {"weight": shape, "bias": shape[:1]}.items():
            tensors[f"{name}.{kind}"] = rng.uniform(-bound, bound, size).astype(np.float32)
    return tensors


def torch_vgg(tensors, head):
    """PyTorch's own VGG of the SMALL stages with these parameters, as a function."""
    torch = import_torch()
    layers, channels = [], 3
    for widths in SMALL:
        for width in widths:
            layers += [torch.nn.Conv2d(channels, width, 3, padding=1), torch.nn.ReLU()]
            channels = width
        layers.append(torch.nn.MaxPool2d(2))
    net = torch.nn.Module()
    net.features = torch.nn.Sequential(*layers)
    if head:
        net.pre_logits = torch.nn.Module()
        net.pre_logits.fc1 = torch.nn.Conv2d(channels, vgg.HIDDEN, 7)
        net.pre_logits.fc2 = torch.nn.Conv2d(vgg.HIDDEN, vgg.HIDDEN, 1)
        net.head = torch.nn.Module()
        net.head.fc = torch.nn.Linear(vgg.HIDDEN, 5)
    net.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})

    def run(x):
        with torch.no_grad():
            y = net.features(torch.tensor(x).movedim(-1, 1))
            if head:
                y = torch.relu(net.pre_logits.fc2(torch.relu(net.pre_logits.fc1(y))))
                return net.head.fc(y.flatten(1)).numpy()
            return y.movedim(1, -1).numpy()

    return run


@pytest.mark.parametrize("head", ["dense", "conv", None])
def test_files_with_timms_names_compute_what_pytorch_does(tmp_path, head):
    tensors = timm_tensors(head)
    run = torch_vgg(tensors, head)
    save_file(tensors, tmp_path / "timm.safetensors")
    stored = weights.read_weights(tmp_path / "timm.safetensors")
    model = small(head)
    weights.fill(model, stored)
    x = noise(2, 56, 56, 3)
    want = run(x)
    got = jax.jit(call)(model, x)
    np.testing.assert_allclose(np.reshape(got, want.shape), want, rtol=1e-3, atol=1e-5)
    assert stored.preprocessing == weights.TORCHVISION


@pytest.mark.parametrize("batch_norm", [True, False])
def test_what_is_written_is_read(tmp_path, batch_norm):
    model = small(batch_norm=batch_norm)
    model.preprocessing = weights.TORCHVISION
    path = tmp_path / "ours.safetensors"
    weights.write_weights(model, path)
    assert [p.name for p in tmp_path.iterdir()] == ["ours.safetensors"]
    other = jc.VGG(SMALL, head="dense", classes=5, batch_norm=batch_norm, rngs=nnx.Rngs(9))
    x = noise(1, 56, 56, 3)
    want = np.reshape(jax.jit(call)(model, x), (1, 5))
    assert not np.allclose(jax.jit(call)(other, x), want)
    weights.fill(other, weights.read_weights(path))
    np.testing.assert_allclose(jax.jit(call)(other, x), want, rtol=1e-4, atol=1e-4)
    assert weights.read_weights(path).preprocessing == weights.TORCHVISION


def test_a_model_is_written_as_the_same_bytes_each_time():
    model = small(batch_norm=True)
    assert len({weights.stored_bytes(model) for _ in range(30)}) == 1


def test_the_two_preprocessings_never_mix():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), np.uint8)
    want = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(weights.TORCHVISION(pixels), want, atol=1e-5)
    want = pixels - np.array([123.68, 116.779, 103.939])
    np.testing.assert_allclose(weights.KERAS_PREPROCESSING(pixels), want, atol=1e-4)
    assert len({source.sha256 for source in published_weights("vgg16")["imagenet"]}) == 2


def without(name):
    def change(tensors):
        return {k: v for k, v in tensors.items() if k != name}

    return change


DAMAGE = {
    "a missing tensor": (without("conv2_2.kernel"), "it lacks conv2_2.kernel, and has nothing"),
    "a missing head": (
        lambda t: {k: v for k, v in t.items() if not k.startswith("fc")},
        "it lacks fc6.bias, fc6.kernel, fc7.bias and 3 more, and has nothing",
    ),
    "a tensor too many": (
        lambda t: t | {"conv9_9.bias": noise(3)},
        "it lacks nothing, and has conv9_9.bias without a counterpart",
    ),
    "a name that moves the cursor": (
        lambda t: t | {"\x1b[2J\nFix: ": noise(3)},
        r"it lacks nothing, and has '\x1b[2J\nFix: ' without a counterpart",
    ),
    "another shape": (
        lambda t: t | {"fc8.bias": noise(7)},
        "fc8.bias has shape (7,), but the model has (5,)",
    ),
    "a transposed head": (
        lambda t: t | {"fc8.kernel": noise(5, 24)},
        "fc8.kernel has shape (5, 24), but the model has (1, 1, 24, 5)",
    ),
}


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_file_with_norms_or_without_says_which_model_it_fits(tmp_path, batch_norm):
    path = tmp_path / "w.safetensors"
    weights.write_weights(small(batch_norm=batch_norm), path)
    with pytest.raises(weights.WeightsError, match=rf"Fix: pass batch_norm={batch_norm}\.$"):
        weights.fill(small(batch_norm=not batch_norm), weights.read_weights(path))


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_does_not_fit_is_refused_and_the_model_left_alone(tmp_path, damage):
    change, message = DAMAGE[damage]
    path = tmp_path / "w.safetensors"
    weights.write_weights(small(), path)
    save_file(change(weights.read_weights(path).tensors), path)
    model = jc.VGG(SMALL, head="conv", classes=5, rngs=nnx.Rngs(5))
    before = jax.tree.map(np.array, nnx.state(model, nnx.Param))
    with pytest.raises(weights.WeightsError) as error:
        weights.fill(model, weights.read_weights(path))
    assert f"{path} does not fit the model: {message}" in str(error.value)
    assert "Fix: " in str(error.value)
    jax.tree.map(np.testing.assert_array_equal, before, nnx.state(model, nnx.Param))


def test_a_truncated_file_is_refused(tmp_path):
    whole = save({"conv1_1.kernel": noise(3, 3, 3, 4)})
    for length in (0, 4, 60, len(whole) - 1):
        (tmp_path / "cut.safetensors").write_bytes(whole[:length])
        with pytest.raises(weights.WeightsError, match="truncated or not a file of weights"):
            weights.read_weights(tmp_path / "cut.safetensors")


def test_a_file_is_recognised_whatever_the_length_of_its_header(tmp_path):
    """The length comes first: of one in 32, its first byte is that of a pickle."""
    tensors = {"conv1_1.kernel": noise(3, 3, 3, 4)}
    sizes = [f"x{'y' * count}" for count in range(0, 256, 8)]
    files = [save(tensors, {"about": text}) for text in sizes]
    (pickle_like,) = (content for content in files if content[:1] == b"\x80")
    for suffix in (".safetensors", ".bin", ".h5", ""):
        path = tmp_path / f"w{suffix}"
        path.write_bytes(pickle_like)
        np.testing.assert_array_equal(
            weights.read_weights(path).tensors["conv1_1.kernel"], tensors["conv1_1.kernel"]
        )


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(weights.WeightsError, match=r"There is no file .*gone\.safetensors"):
        jc.vgg16(weights=tmp_path / "gone.safetensors")
    long = tmp_path / f"{'x' * 300}.safetensors"
    for read in (weights.read_weights, jc.VGG.from_pretrained):
        with pytest.raises(weights.WeightsError, match="Fix: "):
            read(long)


def test_published_weights_of_another_name_are_a_sentence():
    wrong = "neither a file imagenet21k nor published weights of this name. Fix: .*, or imagenet"
    with pytest.raises(weights.WeightsError, match=wrong):
        jc.vgg16(weights="imagenet21k")


def test_numbers_that_numpy_does_not_know_are_a_sentence(tmp_path):
    header = b'{"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}'
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"12")
    wrong = r"its tensor a is of type F8_E4M3, which cannot be read\. Fix: save it as float32"
    with pytest.raises(weights.WeightsError, match=wrong):
        weights.read_weights(path)


def test_a_folder_in_the_place_of_a_file_is_a_sentence(tmp_path):
    small().save_pretrained(tmp_path / "net")
    with pytest.raises(weights.WeightsError, match="is a folder, not a file of weights") as error:
        weights.read_weights(tmp_path / "net")
    fix = re.search(r"Fix: pass a file in it, such as (.+)\.$", str(error.value))
    weights.fill(small(), weights.read_weights(Path(fix[1])))


def test_an_onnx_file_gets_no_data_of_other_files(tmp_path):
    from onnx import TensorProto, helper

    (tmp_path / "secret").write_bytes(bytes(8))
    outside = TensorProto(name="block1_conv1", data_type=TensorProto.FLOAT, dims=[2])
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="secret")
    model = helper.make_model(helper.make_graph([], "g", [], [], [outside]))
    (tmp_path / "w.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(weights.WeightsError, match="its block1_conv1 has its data in another file"):
        weights.read_weights(tmp_path / "w.onnx")


@pytest.mark.parametrize("module", ["safetensors", "platformdirs"])
def test_a_missing_extra_is_a_sentence(random_weights, monkeypatch, module):
    monkeypatch.delenv("JAXCONV_CACHE", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    asked = {"safetensors": random_weights, "platformdirs": "imagenet"}[module]
    with pytest.raises(weights.WeightsError) as error:
        jc.vgg16(weights=asked, head=None)
    assert str(error.value).startswith(
        f"Weights need the package {module}, which is not installed. Fix: "
    )


def test_vgg16_takes_a_path(random_weights):
    model = jc.vgg16(weights=random_weights, head=None)
    stored = load_file(random_weights)
    assert len(stored) == 26
    for name, tensor in stored.items():
        layer, parameter = name.split(".")
        np.testing.assert_array_equal(getattr(getattr(model, layer), parameter)[...], tensor)
    assert model.preprocessing == weights.KERAS_PREPROCESSING


CRAFTED = {
    "about.safetensors": lambda: save({"a": noise(2)}, {"jaxconv": "{not json"}),
    "list.safetensors": lambda: save({"a": noise(2)}, {"jaxconv": "[1]"}),
    "recipe.safetensors": lambda: save(
        {"a": noise(2)}, {"jaxconv": '{"preprocessing": {"foo": 1}}'}
    ),
    "number.safetensors": lambda: save({"features.x.weight": noise(2)}),
    "short.safetensors": lambda: save({"features.weight": noise(2)}),
    "junk.onnx": lambda: b"junk" * 100,
    "empty.onnx": lambda: b"",
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_file_is_a_sentence(tmp_path, name):
    (tmp_path / name).write_bytes(CRAFTED[name]())
    with pytest.raises(weights.WeightsError, match="is truncated or not a file of weights"):
        weights.read_weights(tmp_path / name)
