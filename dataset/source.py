"""What every data set gives: labels, and an image for every index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from helper.errors import UserError
from helper.files import Kind, open_file

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


class ImageSource:
    """N labelled images. `labels` is int64 (N,); `image(index)` gives a PIL image in RGB.

    `classes` are the names of the labels, from 0 on; empty where nobody told them.
    """

    def __init__(self, labels: Iterable[int], classes: Sequence[str] = ()):
        self.labels = np.fromiter(labels, dtype=np.int64)
        self.classes = tuple(classes)

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Image.Image:
        raise NotImplementedError

    def batch(self, indices: Sequence[int]) -> list[Image.Image]:
        """Several images at once, for sources that make them faster so."""
        return [self.image(index) for index in indices]


class ArraySource(ImageSource):
    """Images in memory; `images` is uint8 (N, H, W, 3)."""

    def __init__(self, images: np.ndarray, labels: Iterable[int], classes: Sequence[str] = ()):
        super().__init__(labels, classes)
        self.images = images

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self.images[index])


class FileSource(ImageSource):
    """Images read from `paths` at each access. With `size`, each must have that many pixels a side."""

    def __init__(
        self, paths: Sequence[Path], labels: Iterable[int], size: int | None = None, classes: Sequence[str] = ()
    ):
        super().__init__(labels, classes)
        self.paths = [str(path) for path in paths]
        self.size = size

    def image(self, index: int) -> Image.Image:
        """Raises UserError for a file that cannot be read, or has another size than it should."""
        path = self.paths[index]
        with image_file(path) as stored:
            image = stored.convert("RGB")
        if self.size is not None and image.size != (self.size, self.size):
            width, height = image.size
            raise UserError(f"the image {path} has {width}x{height} pixels, not {self.size}x{self.size}")
        return image


class Subset(ImageSource):
    """The images of `source` at `indices`, numbered anew."""

    def __init__(self, source: ImageSource, indices: Sequence[int] | np.ndarray):
        self.source, self.indices = source, np.asarray(indices, dtype=np.int64)
        super().__init__(source.labels[self.indices], source.classes)

    def image(self, index: int) -> Image.Image:
        return self.source.image(int(self.indices[index]))

    def batch(self, indices: Sequence[int]) -> list[Image.Image]:
        return self.source.batch(self.indices[list(indices)].tolist())


@contextmanager
def image_file(path: str | Path) -> Iterator[Image.Image]:
    """The image at `path`, to be read within the context. Raises UserError where it cannot be."""
    try:
        with open_file(path, Kind.IMAGE) as file, Image.open(file) as stored:
            yield stored
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow reports a broken PNG as a SyntaxError, a truncated JPEG as an OSError.
        raise UserError(f"cannot read the image {path} ({error}); put a whole copy in its place") from error


def folders(path: Path) -> list[str]:
    """The sorted names of the folders in `path`; none where `path` is missing."""
    if not path.is_dir():
        return []
    return sorted(entry.name for entry in visible(path) if entry.is_dir())


def image_files(path: Path) -> list[Path]:
    """The sorted image files in `path`; none where `path` is missing."""
    if not path.is_dir():
        return []
    # Some archives carry a twin "._name" of every file, which holds no image.
    return sorted(file for file in visible(path) if file.suffix.lower() in IMAGE_SUFFIXES)


def visible(folder: Path) -> Iterator[Path]:
    """What is in `folder` and not hidden. Raises UserError for a name that nothing could print or record."""
    for entry in folder.iterdir():
        if not entry.name.startswith("."):
            try:
                entry.name.encode()
            except UnicodeEncodeError as error:
                raise UserError(f"{folder} holds {entry.name!a}, a name that is not UTF-8; rename it") from error
            yield entry


def folder_source(image_folders: Sequence[Path], size: int | None = None) -> FileSource:
    """The images of several folders; the label of an image is the position of its folder in the list.

    Classes are named after their folders.
    """
    files = [image_files(folder) for folder in image_folders]
    labels = [label for label, names in enumerate(files) for _ in names]
    names = [folder.name for folder in image_folders]
    return FileSource([path for paths in files for path in paths], labels, size, names)
