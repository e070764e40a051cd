"""Data sets: read as they are, and a sentence for each thing that can be wrong with them."""

import functools
import gzip
import hashlib
import http.server
import io
import os
import re
import tarfile
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.training import downloads, folders, published
from experiments.training.images import held_back
from experiments.training.recipes import Data, TrainingError
from experiments.training.sets import SETS, open_set
from jaxconv.plotting import photos

RANDOM = np.random.default_rng(23)
FASHION = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
           "t10k-labels-idx1-ubyte")  # fmt: skip


def opened(name, path=None, *, seed=0, notify=lambda _: None, **options):
    return open_set(Data(name, path, **options), seed, notify)


def all_of(source):
    return source.read(np.arange(len(source)))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and no files that a package may have installed."""
    monkeypatch.setenv("JAXCONV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(published, "FASHION_DEBIAN", tmp_path / "no such package")
    return tmp_path / "cache"


@pytest.fixture
def served(tmp_path):
    """A folder, and the address under which it is served on this machine."""
    root = tmp_path / "served"
    root.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=root)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield root, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


# ------------------------------------------------------------------------------------- any set


def test_an_unknown_set_is_refused_with_the_nearest_first():
    with pytest.raises(
        TrainingError, match=r"no data set 'fashion'.* one of fashion-mnist, digits"
    ):
        opened("fashion")


def test_a_lacking_library_is_named(monkeypatch):
    monkeypatch.setitem(SETS, "digits", lambda *_: __import__("no_such_library"))
    with pytest.raises(TrainingError, match=r"needs no_such_library.*\[experiments\]"):
        opened("digits")


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.99])
def test_a_share_of_each_class_is_held_back(share):
    labels = RANDOM.choice(5, 200, p=[0.02, 0.08, 0.2, 0.3, 0.4])
    labels[:10] = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    chosen = held_back(labels, share, seed=1)
    for label in range(5):
        count = (labels == label).sum()
        assert 0 < chosen[labels == label].sum() < count
        assert abs(chosen[labels == label].sum() - share * count) <= 1
    np.testing.assert_array_equal(held_back(labels, share, seed=1), chosen)
    assert not np.array_equal(held_back(labels, share, seed=2), chosen)


@pytest.mark.parametrize("share", [0, 1, -0.1, 20, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(TrainingError, match=f"share of {share} cannot .*more than 0 and less"):
        opened("digits", held_back=share)


# -------------------------------------------------------------------------------------- digits


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    found, original = opened("digits"), load_digits()
    images, labels = (np.concatenate(x) for x in zip(*map(all_of, (found.train, found.test))))  # noqa: B905
    assert (len(found.train), len(found.test)) == (1438, 359)
    assert found.train.shape == images.shape[1:] == (8, 8, 1)
    assert (images.min(), images.max()) == (0, 255)
    ours = sorted((label, *image.ravel()) for label, image in zip(labels, images, strict=True))
    scaled = np.round(original.images * 255 / 16).astype(int).reshape(-1, 64)
    theirs = sorted((label, *x) for label, x in zip(original.target, scaled, strict=True))
    np.testing.assert_array_equal(ours, theirs)


def test_the_split_of_digits_is_fixed_and_stratified():
    first, second = opened("digits", seed=1), opened("digits", seed=2)
    np.testing.assert_array_equal(first.test.rows, second.test.rows)
    assert not set(first.train.rows) & set(first.test.rows)
    counts = np.bincount(all_of(first.test)[1])
    assert (counts.min(), counts.max()) == (35, 37)


def test_digits_have_no_path(tmp_path):
    with pytest.raises(TrainingError, match="has no path"):
        opened("digits", tmp_path)


# ------------------------------------------------------------------------------- Fashion-MNIST


def idx(array):
    lengths = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes()


@pytest.fixture
def clothes(monkeypatch):
    """A small set of the same form as Fashion-MNIST: arrays by name, with their hashes known."""
    counts = {"train": 30, "t10k": 12}
    arrays = {
        name: RANDOM.integers(0, 256, (counts[name.split("-")[0]], 28, 28), np.uint8)
        if "idx3" in name
        else RANDOM.integers(0, 10, counts[name.split("-")[0]], np.uint8)
        for name in FASHION
    }
    hashes = {name: hashlib.sha256(idx(array)).hexdigest() for name, array in arrays.items()}
    monkeypatch.setattr(published, "FASHION_SHA256", hashes)
    return arrays


def stored(arrays, folder, *, packed=()):
    """Write IDX files."""
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        if name in packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return folder


def check_clothes(found, arrays):
    for split, name in ((found.train, "train"), (found.test, "t10k")):
        images, labels = all_of(split)
        np.testing.assert_array_equal(images[..., 0], arrays[f"{name}-images-idx3-ubyte"])
        np.testing.assert_array_equal(labels, arrays[f"{name}-labels-idx1-ubyte"])
        assert (images.dtype, labels.dtype) == (np.uint8, np.int32)
        assert split.shape == (28, 28, 1)
    assert len(found.names) == 10


@pytest.mark.parametrize("packed", [(), FASHION, FASHION[1:3]], ids=["bare", "packed", "mixed"])
def test_clothes_are_read_from_a_folder(clothes, tmp_path, packed):
    check_clothes(opened("fashion-mnist", stored(clothes, tmp_path / "f", packed=packed)), clothes)


def test_clothes_are_read_from_debians_package(clothes, tmp_path, monkeypatch):
    monkeypatch.setattr(
        published, "FASHION_DEBIAN", stored(clothes, tmp_path / "d", packed=FASHION)
    )
    check_clothes(opened("fashion-mnist"), clothes)


def test_clothes_are_downloaded_once(clothes, served, cache, monkeypatch):
    root, url = served
    stored(clothes, root, packed=FASHION)
    monkeypatch.setattr(published, "FASHION_URL", url)
    told = []
    check_clothes(opened("fashion-mnist", notify=told.append), clothes)
    assert told[0] == f"Downloading {url}{FASHION[0]}.gz into {cache / 'fashion-mnist'}."
    assert f"100 % of {FASHION[3]}.gz downloaded." in told
    assert {p.name for p in (cache / "fashion-mnist").iterdir()} == {f"{n}.gz" for n in FASHION}
    for path in root.iterdir():
        path.unlink()
    check_clothes(opened("fashion-mnist", notify=told.clear), clothes)
    assert told


@pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="needs dataset-fashion-mnist"
)
def test_the_real_clothes_have_the_published_hashes():
    found = opened("fashion-mnist", Path("/usr/share/datasets/fashion-mnist"))
    assert (len(found.train), len(found.test)) == (60000, 10000)
    for split in (found.train, found.test):
        assert len(set(np.bincount(all_of(split)[1]))) == 1


def changed(content, at=-1):
    content = bytearray(content)
    content[at] ^= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            0,
            changed,
            r"{path} is not the published file: the sha256 of its content is [0-9a-f]{64}",
        ),
        (1, lambda c: changed(c, 8), "{path} is not the published file: the sha256"),
        (
            3,
            lambda c: c[:-1],
            "is damaged: it has 19 bytes rather than the 20 that its header announces",
        ),
        (
            0,
            lambda c: c + b"!",
            "damaged: it has 23,537 bytes rather than the 23,536 that",
        ),
        (2, lambda c: c[:6], "damaged: it has 6 bytes rather than the 16 that its header"),
        (2, lambda c: b"", r"no IDX file of images: it begins with the bytes \(none\)"),
        (1, lambda c: b"<html>", "no IDX file of labels: it begins with the bytes 3c 68 74 6d"),
        (1, lambda c: idx(np.zeros((2, 2, 2), np.uint8)), "labels: .* bytes 00 00 08 03 rather"),
        (0, lambda c: gzip.compress(c)[:-9], "{path} is damaged: Compressed file ended"),
        (0, lambda c: changed(gzip.compress(c), -6), "{path} is damaged: CRC check failed"),
        (0, lambda c: changed(gzip.compress(c), 14), "{path} is (damaged|not the published)"),
    ],
)
def test_a_file_of_clothes_that_is_wrong_is_named(clothes, tmp_path, name, content, said):
    path = stored(clothes, tmp_path / "f") / FASHION[name]
    path.write_bytes(content(path.read_bytes()))
    with pytest.raises(TrainingError, match=said.replace("{path}", re.escape(str(path)))) as error:
        opened("fashion-mnist", path.parent)
    assert f"Fix: delete it, and fetch {published.FASHION_URL}{path.name}.gz anew." in str(error)


def test_labels_of_the_other_split_do_not_fit(clothes, tmp_path):
    folder = stored(clothes, tmp_path / "f")
    (folder / FASHION[3]).replace(folder / FASHION[1])
    with pytest.raises(TrainingError, match="train-labels-idx1-ubyte is not the published file"):
        opened("fashion-mnist", folder)


def test_a_missing_file_of_clothes_is_named(clothes, tmp_path):
    folder = stored(clothes, tmp_path / "f")
    (folder / FASHION[2]).unlink()
    with pytest.raises(TrainingError, match=f"neither {FASHION[2]} nor {FASHION[2]}.gz in .*Fix"):
        opened("fashion-mnist", folder)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs files without permissions")
def test_a_file_that_may_not_be_read_is_named(clothes, tmp_path):
    folder = stored(clothes, tmp_path / "f")
    (folder / FASHION[0]).unlink()
    (folder / FASHION[0]).mkdir()
    with pytest.raises(TrainingError, match=f"{FASHION[0]} cannot be read: Is a directory"):
        opened("fashion-mnist", folder)


# ----------------------------------------------------------------------------------- downloads


def test_what_cannot_be_reached_is_said(served, tmp_path):
    _, url = served
    with pytest.raises(TrainingError, match=r"nothing.gz cannot be downloaded .*404.*Fix"):
        downloads.download(f"{url}nothing.gz", tmp_path / "x" / "nothing.gz", print)
    assert not [*(tmp_path / "x").iterdir()]


def test_where_nothing_can_be_stored_is_said(served, tmp_path):
    root, url = served
    (root / "file").write_bytes(b"123")
    (tmp_path / "x").write_bytes(b"a file, where a folder should be")
    with pytest.raises(TrainingError, match=r"file cannot be downloaded into .*Not a directory"):
        downloads.download(f"{url}file", tmp_path / "x" / "file", print)


def test_a_download_that_ends_early_leaves_nothing(tmp_path):
    class Short(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(RANDOM.bytes(400))

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Short) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/file"
        with pytest.raises(TrainingError, match="400 bytes read, 600 more expected"):
            downloads.download(url, tmp_path / "x" / "file", print)
        thread.join()
    assert not [*(tmp_path / "x").iterdir()]


def test_a_download_of_another_hash_leaves_nothing(served, tmp_path):
    root, url = served
    (root / "file").write_bytes(b"other content")
    with pytest.raises(TrainingError, match=r"file cannot be downloaded into .*hash.*Fix"):
        downloads.download(f"{url}file", tmp_path / "x" / "file", print, "md5:" + "0" * 32)
    assert not [*(tmp_path / "x").iterdir()]


def test_progress_is_told_by_tenths():
    told = []
    progress = downloads.tenths(40, told.append, "done.")
    for count in range(1, 41):
        progress(count)
    assert told == [f"{percent} % done." for percent in range(10, 101, 10)]
    downloads.tenths(None, told.append, "of something endless.")(5)
    assert len(told) == 10


# ------------------------------------------------------------------------------------ CIFAR-10


@pytest.fixture
def tiny(monkeypatch):
    """Files of the form of CIFAR-10 with 20 records each; bytes by name."""
    monkeypatch.setattr(published, "CIFAR_RECORDS", 20)
    files = {}
    for name in published.CIFAR_FILES:
        records = RANDOM.integers(0, 256, (20, 3073), np.uint8)
        records[:, 0] = RANDOM.permutation(np.arange(20) % 10)
        files[name] = records.tobytes()
    return files


def archived(files, path, monkeypatch):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(published, "CIFAR_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    return path


def unpacked(files, folder):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def check_tiny(found, files):
    train, test = all_of(found.train), all_of(found.test)
    assert (train[0].shape, test[0].shape) == ((100, 32, 32, 3), (20, 32, 32, 3))
    images, labels = (np.concatenate(both) for both in zip(train, test, strict=True))
    content = b"".join(files[name] for name in published.CIFAR_FILES)
    for index in RANDOM.integers(0, 120, 30):
        record = content[3073 * index : 3073 * (index + 1)]
        row, column, channel = RANDOM.integers(0, [32, 32, 3])
        assert labels[index] == record[0]
        assert images[index, row, column, channel] == record[1 + 1024 * channel + 32 * row + column]
    assert found.names[3] == "cat"


def test_cifar_is_read_from_an_archive(tiny, tmp_path, monkeypatch):
    path = archived(tiny | {"readme.html": b"<p>"}, tmp_path / "a.tar.gz", monkeypatch)
    check_tiny(opened("cifar10", path), tiny)


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin"])
def test_cifar_is_read_from_a_folder(tiny, tmp_path, inner):
    unpacked(tiny, tmp_path / "c" / inner)
    check_tiny(opened("cifar10", tmp_path / "c"), tiny)


def test_cifar_is_downloaded_once(tiny, served, cache, monkeypatch):
    root, url = served
    path = archived(tiny, root / "cifar-10-binary.tar.gz", monkeypatch)
    monkeypatch.setattr(published, "CIFAR_URL", f"{url}{path.name}")
    check_tiny(opened("cifar10"), tiny)
    path.unlink()
    check_tiny(opened("cifar10"), tiny)
    assert [p.name for p in cache.iterdir()] == ["cifar-10-binary.tar.gz"]


def test_an_archive_that_was_changed_is_refused(tiny, tmp_path, monkeypatch):
    path = archived(tiny, tmp_path / "a.tar.gz", monkeypatch)
    path.write_bytes(changed(path.read_bytes()))
    with pytest.raises(TrainingError, match=r"a.tar.gz is not the published file: the md5 .*Fix"):
        opened("cifar10", path)


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(TrainingError, match=r"There is no file .*none.tar.gz. Fix"):
        opened("cifar10", tmp_path / "none.tar.gz")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("test_batch.bin", None, "lacks test_batch.bin. Fix"),
        ("data_batch_4.bin", lambda c: c[:-5], "data_batch_4.bin of .* has 61,455 bytes rather"),
        ("data_batch_2.bin", lambda c: c + c, "data_batch_2.bin of .* has 122,920 bytes rather"),
        (
            "data_batch_5.bin",
            lambda c: c[: 7 * 3073] + bytes([210]) + c[7 * 3073 + 1 :],
            "Record 7 of data_batch_5.bin of .* has the label 210, but",
        ),
        ("test_batch.bin", lambda c: bytes([(c[0] + 1) % 10]) + c[1:], "test set of .* it has"),
    ],
)
def test_files_of_cifar_that_are_wrong_are_named(tiny, tmp_path, name, content, said):
    path = unpacked(tiny, tmp_path / "c") / name
    if content:
        path.write_bytes(content(path.read_bytes()))
    else:
        path.unlink()
    with pytest.raises(TrainingError, match=said):
        opened("cifar10", path.parent)


# ---------------------------------------------------------------------------------- own pictures


def picture(path, size=(20, 14), mode="RGB", **options):
    """Write a picture of random pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RANDOM.integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return pixels


@pytest.fixture
def pets(tmp_path):
    """Pictures of two classes, ten and seven, of all sizes and formats."""
    kinds = [("RGB", "png"), ("L", "jpg"), ("P", "gif"), ("CMYK", "jpg"), ("RGBA", "webp")]
    for count, name in ((10, "cat"), (7, "dog")):
        for i in range(count):
            mode, suffix = kinds[i % 5]
            size = tuple(RANDOM.integers(5, 60, 2).tolist())
            picture(tmp_path / "pets" / name / f"{i}.{suffix}", size, mode)
    return tmp_path / "pets"


def test_pictures_of_any_size_and_format_are_read(pets):
    found = opened("folder", pets, size=24)
    assert found.names == ("cat", "dog")
    assert found.train.shape == (24, 24, 3)
    assert (len(found.train), len(found.test)) == (8 + 6, 2 + 1)
    assert np.bincount(all_of(found.test)[1]).tolist() == [2, 1]
    assert all_of(found.train)[0].std((1, 2, 3)).min() > 5
    assert not found.notes


def test_the_split_is_made_by_the_seed(pets):
    rows = [opened("folder", pets, seed=seed).test.rows.tolist() for seed in (0, 0, 1, 2, 3)]
    assert rows[0] == rows[1]
    assert len({tuple(r) for r in rows}) > 1


def test_the_middle_of_a_picture_is_taken(tmp_path):
    for name in ("a", "b"):
        wide = picture(tmp_path / name / "wide.png", (40, 16))
        tall = picture(tmp_path / name / "tall.png", (16, 31))
    images, _ = (np.concatenate(x) for x in zip(*map(all_of, _splits(tmp_path, 16)), strict=True))
    for expected in (wide[:, 12:28], tall[7:23]):
        assert any(np.array_equal(image, expected) for image in images)


def _splits(path, size):
    found = opened("folder", path, size=size, held_back=0.5)
    return found.train, found.test


def test_a_picture_is_turned_as_the_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a", "b"):
        pixels = picture(tmp_path / name / "turned.png", (16, 16), exif=exif)
        picture(tmp_path / name / "other.png")
    images = np.concatenate([all_of(source)[0] for source in _splits(tmp_path, 16)])
    upright = np.rot90(pixels, -1)
    assert any(np.array_equal(image, upright) for image in images)
    assert not any(np.array_equal(image, pixels) for image in images)


def test_a_given_split_is_taken(tmp_path):
    for part, count in (("train", 3), ("test", 2)):
        for name in ("x", "y"):
            for i in range(count):
                picture(tmp_path / part / name / f"{i}.png")
    picture(tmp_path / "val" / "x" / "0.png")
    picture(tmp_path / "loose.png")
    found = opened("folder", tmp_path, size=14)
    assert found.names == ("x", "y")
    assert all_of(found.train)[1].tolist() == [0, 0, 0, 1, 1, 1]
    assert all_of(found.test)[1].tolist() == [0, 0, 1, 1]
    with Image.open(tmp_path / "test" / "y" / "0.png") as image:
        np.testing.assert_array_equal(all_of(found.test)[0][2], np.asarray(image)[:, 3:17])
    assert found.notes == (f"Not used in {tmp_path}: loose.png, val.",)


def spoil(pets):
    """Add six files that are no readable pictures, and hidden ones that do not count."""
    whole = (pets / "cat" / "0.png").read_bytes()
    (pets / "cat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (pets / "cat" / "notes.txt").write_text("no picture")
    for name in ("e1.jpg", "e2.jpg", "e3.jpg", "e4.jpg"):
        (pets / "dog" / name).touch()
    (pets / "dog" / ".thumbs.db").write_text("hidden")
    (pets / ".git").mkdir()
    (pets / ".git" / "HEAD").write_text("hidden")


def test_bad_pictures_are_skipped_counted_and_named(pets):
    before = opened("folder", pets)
    spoil(pets)
    after = opened("folder", pets)
    (note,) = after.notes
    assert note.startswith(f"Skipped 6 of 23 files: {pets}/cat/cut.png cannot be read: ")
    assert f" {pets}/cat/notes.txt is not a picture. {pets}/dog/e1.jpg is not" in note
    assert note.endswith(" And 3 more.")
    for split in ("train", "test"):
        for ours, theirs in zip(
            all_of(getattr(before, split)), all_of(getattr(after, split)), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_bad_pictures_are_fatal_where_asked(pets):
    opened("folder", pets, skip_bad=False)
    spoil(pets)
    with pytest.raises(
        TrainingError, match=r"Unreadable pictures: 6 of 23 files: .*cut.png.* And 3 more"
    ):
        opened("folder", pets, skip_bad=False)


def test_a_picture_that_unpacks_to_too_much_is_skipped(pets, monkeypatch):
    """In all threads, and without a trace in the filters of warnings."""
    picture(pets / "dog" / "huge.png", (300, 300))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60_000)
    before = [*warnings.filters]
    assert re.search(
        r"huge.png unpacks to more than 60,000 pixels", opened("folder", pets).notes[0]
    )
    assert warnings.filters == before


def test_threads_leave_each_other_the_right_filters_of_warnings(pets, monkeypatch):
    """Those that ``open_photo`` sets are there before it does, while others set and restore."""

    def strict(path, size):
        warnings.warn("odd metadata", UserWarning, stacklevel=1)
        with pytest.raises(Image.DecompressionBombWarning):
            warnings.warn("large", Image.DecompressionBombWarning, stacklevel=1)
        return photos.open_photo(path, size)

    monkeypatch.setattr(folders, "open_photo", strict)
    opened("folder", pets)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: (p / "fish").mkdir(), "/fish is empty. Fix: put pictures of the class 'fish'"),
        (lambda p: (p / "dog").rename(p / ".dog"), "one folder of a class, cat, but a class"),
        (lambda p: [(p / n).rename(p / f".{n}") for n in ("cat", "dog")], "has no folders of cl"),
        (
            lambda p: picture(p / "fish" / "0.png"),
            "/fish has 1 readable pictures, but .* at least 2",
        ),
        (
            lambda p: [f.write_text("no") for f in (p / "dog").iterdir()],
            "/dog has 0 readable pictures, but .* at least 2",
        ),
        (
            lambda p: picture(p / "train" / "cat" / "1.png"),
            "/train has folders of classes, but .*/test has none. Fix",
        ),
        (
            lambda p: [picture(p / x / "1.png") for x in ("train/a", "test/a", "train/b")],
            "/train has a class 'b', but .*/test has none. Fix",
        ),
        (
            lambda p: [picture(p / x / "1.png") for x in ("train/a", "test/a", "test/b")],
            "/test has a class 'b', but .*/train has none. Fix",
        ),
    ],
)
def test_folders_that_make_no_data_set_are_refused(pets, change, said):
    change(pets)
    with pytest.raises(TrainingError, match=said):
        opened("folder", pets, size=8)


@pytest.mark.parametrize(
    ("path", "options", "said"),
    [
        (None, {}, "needs a path"),
        ("no such", {}, "There is no folder .*no such. Fix"),
        ("pets/cat/0.png", {}, "There is no folder .*0.png. Fix"),
        ("pets", {"size": 0}, "cannot be 0 pixels wide"),
        ("pets", {"held_back": 1.5}, "share of 1.5"),
    ],
)
def test_options_that_make_no_sense_are_refused(pets, path, options, said):
    with pytest.raises(TrainingError, match=said):
        opened("folder", path and pets.parent / path, **options)


def test_a_full_disk_is_a_sentence(pets, monkeypatch):
    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders.tempfile, "TemporaryFile", Full)
    with pytest.raises(TrainingError, match=r"cannot be stored in .*: No space left .*TMPDIR"):
        opened("folder", pets)


def test_pictures_are_mapped_not_held(pets):
    assert isinstance(opened("folder", pets).train.images, np.memmap)
    assert type(all_of(opened("folder", pets).train)[0]) is np.ndarray


def test_progress_of_reading_is_told(pets):
    told = []
    opened("folder", pets, notify=told.append)
    assert told[0] == "Reading 17 pictures."
    assert told[-1] == "100 % of the pictures read."
