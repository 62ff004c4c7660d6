"""CIFAR-10 and CIFAR-100 (Krizhevsky, "Learning multiple layers of features from tiny images", 2009).

60,000 images of 32x32 pixels, 50,000 of them for training. Read, checked and downloaded by torchvision.
"""

from __future__ import annotations

import io
import tarfile
from contextlib import redirect_stderr, redirect_stdout
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from dataset.source import ArraySource
from dataset.spec import DatasetSpec
from helper.errors import UserError

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

# torchvision is imported where it is used: it takes two seconds, and the digits do without.
PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"


def load_cifar10(root: Path, *, train: bool, download: bool) -> ArraySource:
    from torchvision.datasets import CIFAR10

    return load_cifar(CIFAR10, root, train, download)


def load_cifar100(root: Path, *, train: bool, download: bool) -> ArraySource:
    from torchvision.datasets import CIFAR100

    return load_cifar(CIFAR100, root, train, download)


def load_cifar(kind: type[CIFAR10], root: Path, train: bool, download: bool) -> ArraySource:
    """`<root>/cifar-10-batches-py/` or `<root>/cifar-100-python/`; with `download` it is fetched where not intact.

    Raises UserError for a copy that is missing or damaged, and when the download fails.
    """
    problem = find_problem(kind, root)
    by_hand = f"unpack {kind.filename} from {PAGE} in {root}"
    if problem and not download:
        raise UserError(f"{problem}; rerun without --no_download to fetch it, or {by_hand}")
    if problem:
        print(f"{problem}; downloading it to {root}", flush=True)
    silence = io.StringIO()
    try:
        with redirect_stdout(silence), redirect_stderr(silence):  # file names, and a progress bar
            stored = kind(root, train=train, download=bool(problem))
    except (OSError, RuntimeError, EOFError, HTTPException, tarfile.TarError) as error:
        raise UserError(f"{problem or root}, and downloading {kind.__name__} failed ({error}); {by_hand}") from error
    return ArraySource(stored.data, stored.targets, stored.classes)


def find_problem(kind: type[CIFAR10], root: Path) -> str | None:
    """What is wrong with the copy in `root`, or None. Damaged is told apart from missing: a user may want to look."""
    from torchvision.datasets.utils import check_integrity

    folder = root / kind.base_folder
    files = dict([*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])])
    missing = [name for name in files if not (folder / name).is_file()]
    if len(missing) == len(files):
        return f"{kind.__name__} is not at {folder}"
    for name, md5 in files.items():
        if name not in missing and not check_integrity(folder / name, md5):
            return f"{kind.__name__} is damaged: {folder / name} has the wrong md5"
    return f"{kind.__name__} is incomplete: {folder / missing[0]} is missing" if missing else None


CIFAR10_SPEC = DatasetSpec(
    name="cifar10",
    title="CIFAR10",
    num_classes=10,
    image_size=32,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
    load=load_cifar10,
    corrupted_folder="CIFAR-10-C",
)
CIFAR100_SPEC = DatasetSpec(
    name="cifar100",
    title="CIFAR100",
    num_classes=100,
    image_size=32,
    mean=(0.5071, 0.4867, 0.4408),
    std=(0.2675, 0.2565, 0.2761),
    load=load_cifar100,
    corrupted_folder="CIFAR-100-C",
)
