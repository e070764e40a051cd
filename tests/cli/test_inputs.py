"""Photos and models that commands take: weights, memory, and what does not fit."""

import pytest

from tests.support.command_line import check_refusal, run


def test_a_cache_with_a_wrong_hash_is_a_sentence(folder, capsys, monkeypatch):
    monkeypatch.setenv("JAXCONV_CACHE", str(folder / "cache"))
    (folder / "cache").mkdir()
    (folder / "cache" / "vgg16-keras-trunk.onnx").write_bytes(b"half a file")
    assert run("maps", "photo.jpg") == 2
    assert "vgg16-keras-trunk.onnx is damaged or not the published file" in (
        capsys.readouterr().err
    )


BAD = {
    "weights of no model": (["--model", "lookednets:first", "--weights", "x.safetensors"],
        "--weights needs a Flax NNX model. Fix: load the weights in a function"),
    "weights that are not there": (
        ["--model", "lookednets:net()", "--weights", "x.safetensors"],
        "There is no file x.safetensors."),
    "a model that fails": (["--model", "lookednets:broken"],
        "running lookednets:broken on an image (1, 75, 64, 3) failed."),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_sentence_and_leaves_nothing(nets, capsys, case):
    check_refusal(capsys, nets, "maps", *BAD[case])
