"""Names of other libraries: random weights that they made themselves give equal outputs here."""

import functools
import io
import os

import jax
import numpy as np
import pytest
from flax import nnx

import jaxconv as jc
from jaxconv.models import vgg, weights
from jaxconv.models.preprocessing import KERAS_PREPROCESSING, TORCHVISION
from jaxconv.models.vgg_names import COUNTS, from_keras, from_pytorch
from tests.support.pytorch import import_timm, import_torch, import_torchvision

os.environ.setdefault("KERAS_BACKEND", "jax")  # before Keras is imported
PHOTO = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
NARROW, HIDDEN, CLASSES = 16, 24, 10  # a network of a sixteenth of the channels
VGGS = [11, 13, 16, 19]


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """The same networks with few channels, which take milliseconds rather than gigabytes."""
    stages = {n: [[w // NARROW for w in s] for s in stages] for n, stages in vgg.STAGES.items()}
    monkeypatch.setattr(vgg, "STAGES", stages)
    monkeypatch.setattr(vgg, "HIDDEN", HIDDEN)
    # Winograd's algorithm rounds otherwise, and here are up to 16 convolutions in sequence.
    with jax.default_matmul_precision("highest"):
        yield


def ours(name, path, **options):
    make = {"vgg11": jc.vgg11, "vgg13": jc.vgg13, "vgg16": jc.vgg16, "vgg19": jc.vgg19}[name]
    return make(weights=path, classes=CLASSES, **options)


@jax.jit
def run(model, x):
    """Compiled once for all files of the same network."""
    return model(x)


def same(got, want):
    """Whether logits are equal: their relative error, in the Euclidean norm, is at most 1e-5.

    A single logit of float32 may be off by more of the largest one, depending on the processor's
    order of additions; :func:`same_in_float64` compares each.
    """
    assert got.shape == want.shape
    assert np.abs(want).max() > 1e-3
    assert np.linalg.norm(got - want) <= 1e-5 * np.linalg.norm(want)


def same_in_float64(net, x, model):
    """Whether each logit is equal, without the roundings of float32: the weights are the same."""
    got = run(model, x.astype(np.float64))
    want = logits_of(net.double(), x.astype(np.float64))
    assert got.dtype == want.dtype == np.float64
    assert np.abs(got - want).max() <= 1e-9 * np.abs(want).max()


def trained(net):
    """A network of PyTorch in evaluation, with statistics as training gives them."""
    torch = import_torch()
    torch.manual_seed(0)
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.05)
        elif parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    return net.eval()


def torchvision_net(depth, batch_norm):
    torch, torchvision = import_torch(), import_torchvision()
    letter = {11: "A", 13: "B", 16: "D", 19: "E"}[depth]
    plan = [c if c == "M" else c // NARROW for c in torchvision.models.vgg.cfgs[letter]]
    layers = torchvision.models.vgg.make_layers(plan, batch_norm)
    net = torchvision.models.VGG(layers, num_classes=CLASSES, init_weights=False)
    net.classifier[0] = torch.nn.Linear(512 // NARROW * 49, HIDDEN)
    net.classifier[3] = torch.nn.Linear(HIDDEN, HIDDEN)
    net.classifier[6] = torch.nn.Linear(HIDDEN, CLASSES)
    return trained(net)


def timm_net(depth, batch_norm):
    import_timm()
    from timm.models import vgg as of_timm

    name = f"vgg{depth}" + "_bn" * batch_norm
    plan = [c if c == "M" else c // NARROW for c in of_timm.cfgs[f"vgg{depth}"]]
    norm = import_torch().nn.BatchNorm2d if batch_norm else None
    net = of_timm.VGG(plan, CLASSES, mlp_ratio=0.01, norm_layer=norm)
    net.pre_logits = of_timm.ConvMlp(512 // NARROW, HIDDEN, 7)
    net.head = of_timm.ClassifierHead(HIDDEN, CLASSES)
    assert of_timm.default_cfgs[name].default.mean == TORCHVISION.mean
    assert of_timm.default_cfgs[name].default.std == TORCHVISION.std
    return trained(net)


def logits_of(net, x):
    torch = import_torch()
    with torch.no_grad():
        return net(torch.tensor(x).movedim(-1, 1).contiguous()).numpy()


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("depth", VGGS)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("library", [torchvision_net, timm_net])
def test_weights_made_by_pytorch_libraries(tmp_path, library, suffix, depth, batch_norm):
    torch, net = import_torch(), library(depth, batch_norm)
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(net.state_dict(), path)
    else:
        from safetensors.torch import save_file

        save_file(net.state_dict(), path)
    model = ours(f"vgg{depth}", path, batch_norm=batch_norm)
    assert model.preprocessing == TORCHVISION
    x = model.preprocessing(PHOTO)
    same(run(model, x), logits_of(net, x))
    with jax.enable_x64(True):
        model = ours(f"vgg{depth}", path, batch_norm=batch_norm, dtype="float64")
        same_in_float64(net, x, model)


def test_the_head_made_by_pytorch_slides(tmp_path):
    torch, net = import_torch(), torchvision_net(11, False)
    torch.save(net.state_dict(), tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    model = ours("vgg11", tmp_path / "w.pth", head="conv")
    x = TORCHVISION(PHOTO)
    same(run(model, x)[:, 0, 0], logits_of(net, x))


def test_the_preprocessing_is_that_of_pytorchs_libraries():
    from PIL import Image

    torchvision = import_torchvision()
    for enum in (torchvision.models.VGG16_Weights, torchvision.models.VGG19_BN_Weights):
        transform = enum.IMAGENET1K_V1.transforms()
        want = transform(Image.fromarray(PHOTO[0]).resize((256, 256))).movedim(0, -1).numpy()
        cropped = np.asarray(Image.fromarray(PHOTO[0]).resize((256, 256)))[16:-16, 16:-16]
        np.testing.assert_allclose(TORCHVISION(cropped), want, atol=1e-5)
    features = torchvision.models.VGG16_Weights.IMAGENET1K_FEATURES.transforms()
    np.testing.assert_allclose(weights.TRUNK_PREPROCESSING.mean, features.mean)
    np.testing.assert_allclose(weights.TRUNK_PREPROCESSING.std, features.std)


def test_files_of_torchvision_have_the_hashes_of_pytorchs_names():
    torchvision = import_torchvision()
    named = [getattr(torchvision.models, f"VGG{d}{bn}_Weights") for d in VGGS for bn in ("", "_BN")]
    urls = [entry.url for enum in named for entry in enum]
    found = [weights.TORCHVISION_NAME.fullmatch(url.rpartition("/")[2])[1] for url in urls]
    assert sorted(found) == sorted(weights.TORCHVISION_HASHES)


def test_the_trunk_of_pytorchs_library_has_its_own_preprocessing(tmp_path, monkeypatch):
    """The layers of its head have no values."""
    torch, net = import_torch(), torchvision_net(16, False)
    state = net.state_dict()
    state |= {n: torch.full_like(t, torch.nan) for n, t in state.items() if "classifier" in n}
    path = tmp_path / f"vgg16_features-amdegroot-{weights.FEATURES_HASH}.pth"
    torch.save(state, path)
    monkeypatch.setattr(weights, "TORCHVISION_HASHES", frozenset())
    model = ours("vgg16", path, head=None)
    assert model.preprocessing == weights.TRUNK_PREPROCESSING
    with pytest.raises(weights.MissingHeadError, match=r"it lacks fc6\.bias"):
        ours("vgg16", path)


@functools.cache
def keras_net(depth):
    """A network of Keras, and its logits of the photo."""
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    layers = keras.layers
    net = keras.Sequential([keras.Input((224, 224, 3))])
    for stage, widths in enumerate(vgg.STAGES[f"vgg{depth}"], 1):
        for index, width in enumerate(widths, 1):
            name = f"block{stage}_conv{index}"
            net.add(layers.Conv2D(width, 3, padding="same", activation="relu", name=name))
        net.add(layers.MaxPooling2D(name=f"block{stage}_pool"))
    net.add(layers.Flatten(name="flatten"))
    net.add(layers.Dense(HIDDEN, activation="relu", name="fc1"))
    net.add(layers.Dense(HIDDEN, activation="relu", name="fc2"))
    net.add(layers.Dense(CLASSES, name="predictions"))
    of_keras = {16: keras.applications.vgg16, 19: keras.applications.vgg19}[depth]
    return net, np.asarray(net(of_keras.preprocess_input(PHOTO.astype(np.float32))))


def published_form(net, path):
    """The file as Keras published it: a group for each layer, its arrays named with W and b."""
    import h5py

    with h5py.File(path, "w") as file:
        for layer in net.layers:
            for kind, value in zip("Wb", layer.get_weights(), strict=False):
                file[f"{layer.name}/{layer.name}_{kind}_1:0"] = value


FORMS = {
    "w.weights.h5": lambda net, path: net.save_weights(path),
    "w.h5": lambda net, path: net.save(path),
    "published.h5": published_form,
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("depth", [16, 19])
@pytest.mark.filterwarnings("ignore")
def test_weights_made_by_keras(tmp_path, form, depth):
    net, want = keras_net(depth)
    FORMS[form](net, tmp_path / form)
    model = ours(f"vgg{depth}", tmp_path / form)
    assert model.preprocessing == KERAS_PREPROCESSING
    same(run(model, model.preprocessing(PHOTO)), want)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_layers_are_those_of_kerass_own_vgg(tmp_path, monkeypatch):
    """The trunk of its VGG16 at full width, value by value."""
    monkeypatch.undo()
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    net = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    net.save_weights(tmp_path / "w.weights.h5")
    stored = weights.read_weights(tmp_path / "w.weights.h5")
    convolutions = [f"conv{s}_{i}" for s, n in enumerate(COUNTS[13], 1) for i in range(1, n + 1)]
    of_keras = iter(net.get_weights())
    for name in convolutions:
        kernel, bias = next(of_keras), next(of_keras)
        turned = kernel[:, :, ::-1] if name == "conv1_1" else kernel
        np.testing.assert_array_equal(stored.tensors.pop(f"{name}.kernel"), turned)
        np.testing.assert_array_equal(stored.tensors.pop(f"{name}.bias"), bias)
    assert not stored.tensors


def test_counts_are_those_of_the_published_networks(monkeypatch):
    monkeypatch.undo()
    assert {sum(counts): counts for counts in COUNTS.values()} == COUNTS
    assert {tuple(map(len, stages)) for stages in vgg.STAGES.values()} == {*COUNTS.values()}


def test_other_names_stay():
    left = {"features.0.weight": np.zeros((4, 3, 3, 3)), "extra.weight": np.zeros((2, 3))}
    assert {*from_pytorch(left)} == {"conv1_1.kernel", "extra.weight"}
    left = {"layers/conv2d/vars/0": np.zeros((3, 3, 3, 4)), "layers/gru/vars/0": np.zeros((2, 3))}
    assert {*from_keras(left)} == {*left}


def test_batch_norms_are_pytorchs(tmp_path):
    """Their epsilon is, too: a variance of 0 shows it."""
    torch = import_torch()
    conv, norm = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.BatchNorm2d(4)
    norm.running_var.zero_()
    net = torch.nn.Module()
    net.features = torch.nn.Sequential(conv, norm, torch.nn.ReLU(), torch.nn.MaxPool2d(2))
    made = io.BytesIO()
    torch.save(net.state_dict(), made)
    (tmp_path / "w.pth").write_bytes(made.getvalue())
    model = jc.VGG([[4]], head=None, batch_norm=True, rngs=nnx.Rngs(0))
    weights.fill(model, weights.read_weights(tmp_path / "w.pth"))
    x = TORCHVISION(PHOTO[:, :8, :8])
    with torch.no_grad():
        want = net.features.eval()(torch.tensor(x).movedim(-1, 1)).movedim(1, -1).numpy()
    same(np.asarray(model(x)), want)
