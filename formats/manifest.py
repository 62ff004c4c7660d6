"""manifest.json: what make_corruptions.py says of the folder that it wrote."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from formats.measured import Severities
from formats.record import Digest, Document, Name, Positive, Record, Table, Text

MANIFEST_SCHEMA: Final = "rlnet-corruptions-1"
# 'fog.npy', and of data sets of files 'fog/3'.
Piece = Annotated[str, StringConstraints(max_length=200, pattern=r"^[A-Za-z0-9_]+(\.npy|/[1-5])$")]


class FrostRecord(Record):
    """Which frost the images have; nobody's, where that corruption was never made."""

    source: Text | None = None
    digest: Text | None = None


class Manifest(Document):
    """How the images were made, which the whole folder has in common, and the digest of every finished file."""

    kind: ClassVar[str] = "a manifest of make_corruptions.py"
    remedy: ClassVar[str] = "delete the folder and generate it again"

    schema_: Literal["rlnet-corruptions-1"] = Field(alias="schema")
    generated_by: Text | None = None
    dataset: Name
    split: Literal["test"]
    images: Positive
    image_size: Positive
    test_set: Digest
    severities: Severities
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    frost: FrostRecord
    versions: dict[Text, Text]
    files: dict[Piece, Digest] = Field(default_factory=dict)

    @model_validator(mode="after")
    def has_each_severity_once(self) -> Self:
        if list(self.severities) != sorted(set(self.severities)):
            raise ValueError("should have each of its severities once, in order")
        return self

    def with_file(self, piece: str, digest: str) -> Manifest:
        return self.model_copy(update={"files": dict(sorted({**self.files, piece: digest}.items()))})

    def common(self) -> dict[str, Any]:
        """What every file of the folder has in common, but its frost."""
        names = ("dataset", "split", "images", "image_size", "test_set", "severities", "seed")
        return {name: getattr(self, name) for name in names}


class Compared(Table[dict[Text, Digest]]):
    """.compared.json: files found intact; of each a digest of the digest it should have, its size, time and inode."""

    kind: ClassVar[str] = "a note of digests"
    remedy: ClassVar[str] = "delete it"
