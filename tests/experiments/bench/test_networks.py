"""The tables of networks have the sizes of their publications; all libraries run all layers."""

import os
from math import prod

import pytest

from experiments.bench import networks
from experiments.bench.backends import BACKENDS, installed
from experiments.bench.networks import IMAGE, Builder, layers_of
from experiments.bench.tables import ACTIVATIONS, OPS, STATISTICS, Workload, result_shapes
from experiments.bench.timing import time_in_turn
from experiments.bench.workloads import WORKLOADS, macs, product
from tests.support.local_workers import local_workers

# Learnt parameters in torchvision; R3D-18 there has 400 classes.
PARAMETERS = {
    "resnet50": 25_557_032,
    "mobilenetv2": 3_504_872,
    "efficientnet-b0": 5_288_548,
    "convnext-t": 28_589_128,
    "resnext50": 25_028_904,
    "resnet3d-18": 33_371_472 + 600 * 513,
}
MACS = {"resnet50": 4.09e9, "mobilenetv2": 0.30e9, "convnext-t": 4.46e9, "resnext50": 4.23e9}


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_have_their_parameters(name):
    layers = WORKLOADS[f"{name}-b1"].layers
    kinds = [pair for layer in layers for pair in layer.parameters.items()]
    assert sum(prod(shape) for kind, shape in kinds if kind not in STATISTICS) == PARAMETERS[name]
    names = [layer.name for layer in layers if layer.name]
    assert len(names) == len({*names})


@pytest.mark.parametrize("name", MACS)
def test_networks_take_their_operations(name):
    assert sum(macs(WORKLOADS[f"{name}-b1"])) == pytest.approx(MACS[name], rel=0.02)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("resnet50", (1, 1000)), ("unet", (1, 128, 128, 2)), ("wavenet", (1, 4096, 256))],
)
def test_results_have_their_shapes(name, shape):
    work = WORKLOADS[f"{name}-b1"]
    assert result_shapes(work)[len(work.layers) - 1] == shape


def all_layers(net: Builder) -> None:
    """A small network with every operation and activation."""
    x = net.unit(IMAGE, 16, 5, 5, stride=2, activation="relu6")
    x = net.add("max_pool", x, shape=(3, 3), stride=2)
    y = net.unit(x, 16, 3, 3, groups=16, activation="silu")
    gate = net.dense(net.dense(net.add("mean", y), 4, "silu"), 16, "sigmoid")
    y = net.norm(net.add("multiply", y, gate), "layer_norm")
    y = net.conv(y, 16, 3, 3, groups=4, dilation=2, activation="gelu")
    y = net.add("scale", y, name="scale", shape=(16,))
    x = net.add("add", x, y, activation="relu")
    y = net.up(net.conv(x, 16, 2, 2, stride=2, padding=0, activation="tanh"), 16, 2, 2)
    x = net.add("activation", net.add("concatenate", x, y, channels=32), activation="relu")
    net.dense(net.add("flatten", x, channels=32 * 64), 7)


def volumes(net: Builder) -> None:
    """Strided, padded and projected volumes."""
    x = net.unit(IMAGE, 16, 3, 5, 5, stride=(1, 2, 2), activation="relu")
    net.classifier(net.unit(x, 16, 1, 1, 1, stride=2))


def sequences(net: Builder) -> None:
    """A short network of the kind of WaveNet."""
    networks.wavenet(net, width=8, layers=2)


GRAPH = layers_of(all_layers, 3)
QUICK = [one for one in installed(BACKENDS.values()) if not (one.may_fail or one.chains_only)]


def test_the_small_network_has_every_layer():
    assert {layer.op for layer in GRAPH} == {*OPS}
    assert {layer.activation for layer in GRAPH} == {*ACTIVATIONS, ""}


WORKLOADS_OF_ALL = {
    "all layers": Workload("small", "all layers", "inference", (4, 32, 32, 3), GRAPH),
    "training of all layers": Workload("small", "all layers", "training", (4, 32, 32, 3), GRAPH),
    "volumes": Workload("small", "volumes", "inference", (2, 4, 16, 16, 3), layers_of(volumes, 3)),
    "sequences": Workload("small", "sequences", "inference", (2, 64, 1), layers_of(sequences, 1)),
    "a product of matrices": product(32),
}


@pytest.mark.parametrize("name", WORKLOADS_OF_ALL)
def test_all_backends_compute_the_same(tmp_path, name):
    work = WORKLOADS_OF_ALL[name]
    cores = sorted(os.sched_getaffinity(0))
    able = [backend for backend in QUICK if backend.can_run(work)]
    with local_workers():  # ``test_timing.py`` has processes
        timings = time_in_turn(
            work, able, folder=tmp_path, cores=cores, rounds=1, progress=lambda _: None
        )
    assert timings.failures == []
    assert [timing.backend for timing in timings.rows] == [backend.name for backend in able]
