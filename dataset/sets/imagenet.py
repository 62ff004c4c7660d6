"""ImageNet-1k (Russakovsky et al., "ImageNet large scale visual recognition challenge", IJCV 2015).

`<root>/imagenet/` or `<root>` itself holds train/<class>/* and val/<class>/*. Class index = position of the folder in
sorted order. A folder with fewer classes (a subset such as ImageNet-100) is taken as it is.
"""

from __future__ import annotations

from pathlib import Path

from dataset.source import FileSource, folder_source, folders
from dataset.spec import IMAGENET_MEAN_STD, DatasetSpec
from helper.errors import UserError

PAGE = "https://www.image-net.org/download.php"
NUM_CLASSES = 1000


def load_imagenet(root: Path, *, train: bool, download: bool) -> FileSource:
    """Never downloaded, whatever `download` says. Raises UserError where folders are missing or do not fit together."""
    top = next((path for path in (root / "imagenet", root) if folders(path / "train") or folders(path / "val")), None)
    if top is None:
        raise UserError(
            f"ImageNet is not at {root / 'imagenet'}; fetch it from {PAGE} and sort it into train/<class>/ and "
            "val/<class>/ there"
        )
    split = top / ("train" if train else "val")
    classes = class_names(top)
    source = folder_source([split / name for name in classes])
    if not len(source):
        raise UserError(f"ImageNet is damaged: no images in the class folders of {split}; fetch it from {PAGE}")
    return source


def class_names(top: Path) -> list[str]:
    """The class folders of train/, in the order that numbers them, after checking val/ against them."""
    train, val = folders(top / "train"), folders(top / "val")
    if not train and len(val) == NUM_CLASSES:
        return val  # enough to evaluate: all classes are there, so their order is that of train/
    if not train:
        raise UserError(f"ImageNet's {top / 'train'} has no class folders; {top / 'val'} is too few to number them by")
    if len(train) > NUM_CLASSES:
        raise UserError(f"{top / 'train'} has {len(train)} class folders, ImageNet-1k has {NUM_CLASSES}")
    unknown = sorted(set(val) - set(train))
    if unknown:
        raise UserError(f"class '{unknown[0]}' of {top / 'val'} is not in {top / 'train'}; both need the same names")
    return train


IMAGENET = DatasetSpec(
    "imagenet",
    "ImageNet",
    NUM_CLASSES,
    224,
    *IMAGENET_MEAN_STD,
    load=load_imagenet,
    corrupted_folder="ImageNet-C",
    corrupted_layout="files",
    any_size=True,
)
