"""The command line as tests call it, and what they look at afterwards."""

import re

import numpy as np
from PIL import Image

from jaxconv.cli.main import main


def run(*arguments):
    """Exit status of the command, whether argparse or we refuse."""
    try:
        return main([str(a) for a in arguments])
    except SystemExit as stop:
        return stop.code


def spied(monkeypatch, module, name):
    """What a command gives a function that draws."""
    given, draw = [], getattr(module, name)

    def spy(*args, **options):
        given.append(args)
        return draw(*args, **options)

    monkeypatch.setattr(module, name, spy)
    return given


def not_blank(path):
    with Image.open(path) as picture:
        assert np.asarray(picture.convert("RGB")).std() > 15
        return picture.size


def check_refusal(capsys, folder, command, arguments, message):
    """Hold a command to one message with exit status 2, and to leaving the folder as it is."""
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    assert run(command, "photo.jpg", *arguments) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert (
        "jaxconv" not in re.sub("jaxconv (neuron|maps)|Fix:.*", "", said.err) or "failed" in message
    )
    assert "wrote" not in said.out
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before
