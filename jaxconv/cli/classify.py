"""``jaxconv classify``: what a network says is in a photo."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from jaxconv.analysis.classes import ClassShare, top_classes
from jaxconv.cli.arguments import UsageError, positive
from jaxconv.cli.classification import load_classifier
from jaxconv.cli.command import Command
from jaxconv.cli.inputs import add_model, default_photo
from jaxconv.cli.photo_call import PhotoCall
from jaxconv.cli.progress import doing
from jaxconv.cli.user_code import user_code
from jaxconv.plotting.photos import cropped_photo, open_photo, preprocess

USUAL_SIZE = 224  # pixels, of ImageNet
Found = Sequence[tuple[Path, Sequence[ClassShare]]]
SHARE = 0.875  # of the shorter side, which the square covers: 224 of 256


class ClassifyCommand(Command):
    """Print the most probable classes of photos."""

    name = "classify"
    help = "name what a model, by default VGG16 trained on ImageNet, sees in photos"
    description = (
        "Print the most probable classes of photos. The middle of a photo is used: a square of "
        "87.5 % of its shorter side, as in most evaluations on ImageNet."
    )
    position = 5

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments.

        Args:
            parser: of this command.
        """
        parser.add_argument(
            "photos",
            nargs="*",
            metavar="PHOTO",
            help="paths to photos; default: the one of Grace Hopper in matplotlib",
        )
        add_model(parser)
        parser.add_argument(
            "--size",
            type=positive,
            default=USUAL_SIZE,
            metavar="N",
            help="side of the square in pixels; default: %(default)s",
        )
        parser.add_argument(
            "--top",
            type=positive,
            default=5,
            metavar="N",
            help="number of classes to print; default: %(default)s",
        )
        parser.add_argument(
            "--names",
            type=Path,
            metavar="FILE",
            help="a text file with the name of one class per line; default: the 1,000 classes of "
            "ImageNet, if the model has as many outputs",
        )
        parser.add_argument("--json", action="store_true", help="print the classes as JSON")

    def run(self, options: argparse.Namespace) -> None:
        """Print the classes of each photo; nothing if one of the photos cannot be read.

        Args:
            options: the arguments, by name.
        """
        names = None if options.names is None else read_names(options.names)
        paths = [Path(photo) for photo in options.photos] or [default_photo()]
        photos = [cropped_photo(open_photo(path), options.size, SHARE) for path in paths]
        call = load_classifier(options)
        check_outputs(call, options.model, names)
        found = []
        for path, photo in zip(paths, photos, strict=True):
            with doing(f"classifying {path.name}"), user_code(f"running {options.model}"):
                outputs = np.asarray(call.fn(preprocess(call.fn, photo)))
            try:
                found.append((path, top_classes(outputs, options.top, names)))
            except ValueError:
                wrong = f"{options.model} returns NaN or infinity for {path}."
                raise UsageError(f"{wrong} Fix: check its weights.") from None
        print(shares_as_json(found) if options.json else shares_as_text(found))


def read_names(path: Path) -> list[str]:
    """Read the names of classes.

    Args:
        path: a text file with one name per line.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise UsageError(f"{path} cannot be read: {reason}. Fix: pass another --names.") from None


def check_outputs(call: PhotoCall, name: str, names: Sequence[str] | None) -> None:
    """Check that a model returns one number for each class.

    Args:
        call: the model.
        name: as the user wrote it.
        names: of the classes, if the user gave them.

    Raises:
        UsageError: it returns something else, or another number of classes.
    """
    with user_code(f"running {name} on an image {call.spec.shape}"):
        outputs = jax.eval_shape(call.fn, call.spec)
    shape = getattr(outputs, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != 1 or not shape[1]:
        given = "several arrays" if shape is None else f"an array of shape {shape}"
        raise UsageError(
            f"{name} returns {given} for one photo, not one number for each class. Fix: pass a "
            "--model that ends in a classifier."
        )
    if names is not None and len(names) != shape[1]:
        raise UsageError(
            f"{name} has {shape[1]} classes, but --names has {len(names)} lines. Fix: pass a file "
            f"with {shape[1]} lines."
        )


def shares_as_text(found: Found) -> str:
    """Write classes for a reader.

    Args:
        found: each photo and its classes.
    """
    blocks = []
    for path, classes in found:
        rows = [f"{one.probability:8.1%}  {one.name}" for one in classes]
        blocks.append("\n".join([str(path), *rows]))
    return "\n\n".join(blocks)


def shares_as_json(found: Found) -> str:
    """Write classes for a program.

    Args:
        found: each photo and its classes.
    """
    entries = [
        {"photo": str(path), "classes": [one._asdict() for one in classes]}
        for path, classes in found
    ]
    return json.dumps(entries, indent=2)
