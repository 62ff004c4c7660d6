"""Tiny-ImageNet (Le and Yang, CS231N, 2015): 64x64 pixels, 200 classes, 100,000 training and 10,000 validation images.

    <root>/tiny-imagenet-200/wnids.txt
                             train/<wnid>/images/*.JPEG
                             val/val_annotations.txt and val/images/*.JPEG

The test images have no public labels, so validation images stand in for them. Class index = position in sorted(wnids).
"""

from __future__ import annotations

from pathlib import Path

from dataset.source import FileSource, folder_source
from dataset.spec import IMAGENET_MEAN_STD, DatasetSpec
from helper.errors import UserError
from helper.files import read_text

ARCHIVE = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
SIZE = 64
NUM_CLASSES = 200


def load_tiny_imagenet(root: Path, *, train: bool, download: bool) -> FileSource:
    """Never downloaded, whatever `download` says. Raises UserError where files are missing or do not fit together."""
    folder = root / "tiny-imagenet-200"
    wnids = sorted(read_list(folder / "wnids.txt", folder).split())
    if not 0 < len(wnids) <= NUM_CLASSES:
        raise UserError(f"{folder / 'wnids.txt'} names {len(wnids)} classes, Tiny-ImageNet has {NUM_CLASSES}")
    return train_source(folder, wnids) if train else val_source(folder, wnids)


def train_source(folder: Path, wnids: list[str]) -> FileSource:
    source = folder_source([folder / "train" / wnid / "images" for wnid in wnids], SIZE)
    source.classes = tuple(wnids)  # not "images", as its folder is called
    absent = sorted(set(range(len(wnids))) - set(source.labels.tolist()))
    if absent:
        raise incomplete(folder, f"no images in {folder / 'train' / wnids[absent[0]] / 'images'}")
    return source


def val_source(folder: Path, wnids: list[str]) -> FileSource:
    """Each line of val_annotations.txt is: file name, wnid, and a box of four numbers, separated by tabs."""
    annotations = folder / "val" / "val_annotations.txt"
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    paths, labels = [], []
    for number, line in enumerate(read_list(annotations, folder).splitlines(), start=1):
        name, wnid = [*line.split("\t"), ""][:2]
        if wnid not in label_of:
            raise UserError(f"{annotations}, line {number}: class '{wnid}' is not in wnids.txt")
        paths.append(folder / "val" / "images" / name)
        labels.append(label_of[wnid])
    if not paths:
        raise incomplete(folder, f"{annotations} is empty")
    return FileSource(paths, labels, SIZE, wnids)


def read_list(path: Path, folder: Path) -> str:
    try:
        return read_text(path)
    except UserError as error:
        if not folder.is_dir():
            raise UserError(f"Tiny-ImageNet is not at {folder}; unpack {ARCHIVE} in {folder.parent}") from error
        raise incomplete(folder, f"cannot read {error}") from error


def incomplete(folder: Path, problem: str) -> UserError:
    return UserError(f"Tiny-ImageNet is damaged: {problem}; unpack {ARCHIVE} in {folder.parent} again")


TINY_IMAGENET = DatasetSpec(
    "tiny_imagenet",
    "Tiny-ImageNet",
    NUM_CLASSES,
    SIZE,
    *IMAGENET_MEAN_STD,
    load=load_tiny_imagenet,
    corrupted_folder="Tiny-ImageNet-C",
    corrupted_layout="files",
)
