"""Published data sets: located, downloaded, and verified before use."""

import gzip
import hashlib
import math
import tarfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from experiments.training.downloads import download
from experiments.training.images import DataSet, Source, divided, held_back, whole
from experiments.training.recipes import Data, TrainingError
from jaxconv.models.sources import cache_folder

Notify = Callable[[str], None]

FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FASHION_DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist
FASHION_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
FASHION_NAMES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker",
                 "bag", "ankle boot")  # fmt: skip

CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR_FILES = (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin")
CIFAR_RECORDS = 10_000  # in each file
CIFAR_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
               "truck")  # fmt: skip


def digits(data: Data) -> DataSet:
    """Open the digits of scikit-learn; the same share of each is held back whatever the seed.

    Args:
        data: the share to test with.

    Returns:
        The two splits; images uint8 (n, 8, 8, 1).

    Raises:
        TrainingError: there is a path.
    """
    from sklearn.datasets import load_digits

    if data.path is not None:
        raise TrainingError(
            "The data set digits is a part of scikit-learn and has no path. "
            "Fix: leave out --data.path."
        )
    numbers, labels = load_digits(return_X_y=True)
    images = np.round(numbers * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    train, test = divided(images, labels, held_back(labels, data.held_back, seed=0))
    return DataSet(train, test, tuple(map(str, range(10))))


def fashion_mnist(data: Data, notify: Notify) -> DataSet:
    """Open Fashion-MNIST: at the path given, else as Debian has it, else downloaded once.

    Args:
        data: the folder of its four files; None for the other places.
        notify: receives messages about the progress.

    Returns:
        The two splits; images uint8 (n, 28, 28, 1).

    Raises:
        TrainingError: a file is missing, damaged, or not the published one.
    """

    def split(name: str) -> Source:
        stems = (f"{name}-images-idx3-ubyte", f"{name}-labels-idx1-ubyte")
        images, labels = (_fashion_file(stem, data.path, notify) for stem in stems)
        return whole(images[..., None], labels)

    return DataSet(split("train"), split("t10k"), FASHION_NAMES)


def cifar10(data: Data, notify: Notify) -> DataSet:
    """Open CIFAR-10: an archive or an unpacked folder at the path given, else downloaded once.

    Args:
        data: the path of the archive or of the folder; None to download it.
        notify: receives messages about the progress.

    Returns:
        The two splits; images uint8 (n, 32, 32, 3).

    Raises:
        TrainingError: a file is missing, damaged, or not the published one.
    """
    stored = cache_folder() / CIFAR_URL.rsplit("/", 1)[-1]
    path = data.path or download(CIFAR_URL, stored, notify, known_hash=f"md5:{CIFAR_MD5}")
    files = dict(_cifar_folder(path) if path.is_dir() else _cifar_archive(path))
    *train, test = (_cifar_records(files[name], f"{name} of {path}") for name in CIFAR_FILES)
    return DataSet(
        _cifar_split(np.concatenate(train), f"The training set of {path}"),
        _cifar_split(test, f"The test set of {path}"),
        CIFAR_NAMES,
    )


def _fashion_file(stem: str, folder: Path | None, notify: Notify) -> np.ndarray:
    """Numbers of one of the four files, which is verified."""
    path = _fashion_path(stem, folder, notify)
    fix = f"Fix: delete it, and fetch {FASHION_URL}{stem}.gz anew."
    content = _unpacked(path, fix)
    array = read_idx(content, 3 if "idx3" in stem else 1, path, fix)
    _verify(path, hashlib.sha256(content), FASHION_SHA256[stem], fix)
    return array


def _fashion_path(stem: str, folder: Path | None, notify: Notify) -> Path:
    if folder is None:
        packaged = FASHION_DEBIAN / f"{stem}.gz"
        stored = cache_folder() / "fashion-mnist" / f"{stem}.gz"
        if packaged.exists():
            return packaged
        return download(FASHION_URL + stored.name, stored, notify)
    for path in (folder / stem, folder / f"{stem}.gz"):
        if path.exists():
            return path
    raise TrainingError(
        f"There is neither {stem} nor {stem}.gz in {folder}. Fix: fetch {FASHION_URL}{stem}.gz "
        "into it, or leave out --data.path."
    )


def _unpacked(path: Path, fix: str) -> bytes:
    content = path.read_bytes()
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise TrainingError(f"{path} is damaged: {error}. {fix}") from None


def read_idx(content: bytes, axes: int, path: Path, fix: str) -> np.ndarray:
    """Read the IDX format: a magic number, the length of each axis, and then bytes.

    Args:
        content: of the file, unpacked.
        axes: 3 for images and 1 for labels.
        path: of the file, for messages.
        fix: ends each message.

    Returns:
        uint8, with so many axes.

    Raises:
        TrainingError: it is another format, or has more or fewer numbers than its header says.
    """
    magic, start = bytes([0, 0, 8, axes]), 4 + 4 * axes
    if content[:4] != magic:
        raise TrainingError(
            f"{path} is no IDX file of {'images' if axes == 3 else 'labels'}: it begins with the "
            f"bytes {content[:4].hex(' ') or '(none)'} rather than {magic.hex(' ')}. {fix}"
        )
    lengths = tuple(int.from_bytes(content[at : at + 4]) for at in range(4, start, 4))
    if len(content) != start + math.prod(lengths):
        raise TrainingError(
            f"{path} is damaged: it has {len(content):,} bytes rather than the "
            f"{start + math.prod(lengths):,} that its header announces. {fix}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(lengths)


def _verify(path: Path, digest: "hashlib._Hash", expected: str, fix: str) -> None:
    if (actual := digest.hexdigest()) != expected:
        raise TrainingError(
            f"{path} is not the published file: the {digest.name} of its content is {actual}, but "
            f"must be {expected}. {fix}"
        )


def _cifar_folder(path: Path) -> Iterable[tuple[str, bytes]]:
    inner = path / "cifar-10-batches-bin"
    folder = inner if inner.is_dir() else path
    if missing := [name for name in CIFAR_FILES if not (folder / name).is_file()]:
        raise TrainingError(
            f"{folder} lacks {', '.join(missing)}. Fix: unpack {CIFAR_URL} there, the binary "
            "version, or pass the archive itself as --data.path."
        )
    return ((name, (folder / name).read_bytes()) for name in CIFAR_FILES)


def _cifar_archive(path: Path) -> Iterable[tuple[str, bytes]]:
    if not path.exists():
        raise TrainingError(
            f"There is no file {path}. Fix: check --data.path, or leave it out and the archive is "
            "downloaded."
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    _verify(path, digest, CIFAR_MD5, f"Fix: delete it, and fetch {CIFAR_URL} anew.")
    with tarfile.open(path) as archive:
        for member in archive:
            if content := archive.extractfile(member):
                yield Path(member.name).name, content.read()


def _cifar_records(content: bytes, where: str) -> np.ndarray:
    """Records of a file: a label each, and 32x32 numbers of red, of green, of blue."""
    fix = f"Fix: unpack {CIFAR_URL} anew, the binary version."
    if len(content) != CIFAR_RECORDS * 3073:
        raise TrainingError(
            f"{where} has {len(content):,} bytes rather than {CIFAR_RECORDS:,} records of 3,073. "
            f"{fix}"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, 3073)
    if (wrong := np.flatnonzero(records[:, 0] > 9)).size:
        raise TrainingError(
            f"Record {wrong[0]:,} of {where} has the label {records[wrong[0], 0]}, but the classes "
            f"are 0 to 9. {fix}"
        )
    return records


def _cifar_split(records: np.ndarray, where: str) -> Source:
    counts = np.bincount(records[:, 0], minlength=10)
    if (odd := np.flatnonzero(counts != len(records) // 10)).size:
        raise TrainingError(
            f"{where} is not the published one: it has {counts[odd[0]]:,} images of the class "
            f"{CIFAR_NAMES[odd[0]]} rather than {len(records) // 10:,}. Fix: unpack {CIFAR_URL} "
            "anew, the binary version."
        )
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    return whole(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0])
