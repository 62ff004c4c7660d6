"""Files as such: the one door through which all are read, digests, whole or not at all, and who may write a folder.

What a user names, or a folder holds, may be anything: a pipe that nobody writes to, a device without an end, a few
bytes that unpack to gigabytes. Nothing else in this repository opens a file to read it (tests/helper/test_files.py).
One process at a time writes a folder, on every system; a lock ends with its process, however that ends.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import stat
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from weakref import WeakValueDictionary

import numpy as np

from helper.errors import Read, UserError, checked, damaged

if TYPE_CHECKING:
    # The environment of the secure engine, where the parties read and write, has neither.
    import yaml
    from filelock import FileLock

MB, GB = 2**20, 2**30


class Kind(Enum):
    """What a file is read as, and the most bytes that one may have: far above every real one."""

    CHECKPOINT = ("a checkpoint file", 16 * GB)
    ARRAY = ("an array file", 1024 * GB)  # mapped, never read as a whole
    ARRAYS = ("a file of arrays", 2 * GB)
    IMAGE = ("an image", 256 * MB)
    JSON = ("a JSON file", 256 * MB)
    YAML = ("a YAML file", MB // 8)
    TEXT = ("a text file", 64 * MB)
    ANY = ("a file", 1024 * GB)

    def __init__(self, what: str, limit: int):
        self.what, self.limit = what, limit


UNUSUAL = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
NESTED = 32  # levels of lists and tables in a YAML file
HEADER = 2**14  # bytes; numpy writes 128


def open_file(path: str | Path, kind: Kind) -> io.BufferedReader:
    """`path`, to be read. Raises UserError, at once, for what is no regular file of at most that kind's size."""
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):
            found = UNUSUAL.get(stat.S_IFMT(about.st_mode), "something else")
            raise UserError(f"{path}: {found}, where {kind.what} is expected")
        if about.st_size > kind.limit:
            raise UserError(f"{path}: {about.st_size:,} bytes are too many; {kind.what} has at most {kind.limit:,}")
        return open(path, "rb")
    except OSError as error:  # missing, links in a circle, a name too long, no permission
        missing = f"no such {kind.what.partition(' ')[2]}" if isinstance(error, FileNotFoundError) else None
        raise UserError(f"{path}: {missing or error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{str(path)!a} cannot be the name of a file ({error})") from error


def real_path(path: str | Path) -> Path:
    """From the root on, with links followed; those in a circle stay, for whoever opens it to say so."""
    return Path(os.path.realpath(path))


def read_bytes(path: str | Path, kind: Kind) -> bytes:
    """Raises UserError as `open_file` does."""
    with open_file(path, kind) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def read_text(path: str | Path, kind: Kind = Kind.TEXT) -> str:
    """UTF-8, and its lines as they are. Raises UserError for other bytes, and as `open_file` does."""
    try:
        return read_bytes(path, kind).decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(path, kind.what, error) from error


def read_json(path: str | Path, what: str = Kind.JSON.what, remedy: str = "") -> Any:
    """The values in a JSON file. Raises UserError for another, whose line ends in the `remedy`."""
    text = read_text(path, Kind.JSON)
    try:
        return parse_json(text)
    except ValueError as error:
        raise damaged(path, what, error, remedy) from error


def parse_json(text: str | bytes) -> Any:
    """The values in a JSON text; raises ValueError for whatever is none, and for what cannot be written out again."""
    text = text if isinstance(text, str) else text.decode()
    try:
        content = json.loads(text)
        if "\\ud" in text.lower():  # half a character is fine in a pair only
            json.dumps(content, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return content


def read_yaml(path: str | Path, what: str = Kind.YAML.what, remedy: str = "") -> Any:
    """The values in a YAML file, without aliases: a list of lists of them expands to gigabytes. Raises UserError."""
    import yaml

    text = read_text(path, Kind.YAML)
    try:
        check_events(yaml.parse(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text)
    except Exception as error:  # the words for a number, a date or a truth that is none fail each in its own way
        raise damaged(path, what, " ".join(str(error).split()), remedy) from error


def check_events(events: Iterable[yaml.Event]) -> None:
    """Raise ValueError for what a YAML file of ours never needs, before anything is made of it."""
    import yaml

    depth = 0
    for event in events:
        where = f"line {event.start_mark.line + 1}" if event.start_mark else "somewhere"
        if getattr(event, "anchor", None) is not None:
            raise ValueError(f"{where}: an anchor or an alias; write out what it stands for")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > NESTED:
            raise ValueError(f"{where}: nested more than {NESTED} levels deep")
        if isinstance(event, yaml.ScalarEvent):
            event.value.encode()  # half a character raises UnicodeEncodeError
            if event.implicit[0] and not finite(event.value):
                raise ValueError(f"{where}: {event.value[:40]} is no finite number")


def finite(text: str) -> bool:
    """False for the text of a number, in Python's words or YAML's, that is infinite or none."""
    try:
        return math.isfinite(float(text.lower().replace(".inf", "inf").replace(".nan", "nan")))
    except ValueError:
        return True


def read_record(path: str | Path, model: type[Read]) -> Read:
    """A JSON or YAML file as its model in formats/ has it. Raises UserError for another, or a damaged one."""
    read = read_yaml if Path(path).suffix in (".yaml", ".yml") else read_json
    return checked(model, read(path, model.kind, model.remedy), path)


def map_array(path: str | Path) -> np.memmap:
    """The array in a .npy file, of numbers or text, mapped from the disk. Raises UserError for another file."""
    with open_file(path, Kind.ARRAY) as file:
        try:
            dtype, shape, order, offset = array_layout(file, os.fstat(file.fileno()).st_size)
        except ValueError as error:
            raise UserError(f"{path} is no array file, or a damaged one ({error})") from error
        return np.memmap(file, dtype, "r", offset, shape, order)


def array_layout(file: Any, size: int) -> tuple[np.dtype, tuple[int, ...], Any, int]:
    """dtype, shape, order ('C' or 'F') and first byte of the array in a .npy file of `size` bytes.

    Raises ValueError unless its header is one of numbers, bools or text, and exactly so many bytes follow.
    """
    head = io.BytesIO(file.read(HEADER))
    try:
        version = np.lib.format.read_magic(head)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, transposed, dtype = read(head)
    except Exception as error:  # ValueError, and a dozen others on damaged bytes
        raise ValueError(f"its header cannot be read: {' '.join(str(error).split())[:100]}") from error
    offset = head.tell()
    if dtype.kind not in "biufU" or min(shape, default=0) < 0:
        raise ValueError(f"its header says {dtype} {shape}")
    if offset + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"its header says {dtype} {shape}, and {size - offset:,} bytes follow")
    return dtype, shape, "F" if transposed else "C", offset


def load_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a .npz file, in memory, by name. Raises UserError for another file."""
    with open_file(path, Kind.ARRAYS) as file:
        try:
            return unpack_arrays(file)
        except ValueError as error:
            raise damaged(path, Kind.ARRAYS.what, error) from error


def unpack_arrays(file: BinaryIO) -> dict[str, np.ndarray]:
    """As `load_arrays`, of an open file, or bytes that somebody sent; raises ValueError."""
    try:
        if (size := unpacked_size(file)) > Kind.ARRAYS.limit:
            raise ValueError(f"it unpacks to {size:,} bytes, more than {Kind.ARRAYS.limit:,}")
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                with archive.open(member) as content:
                    array_layout(content, member.file_size)
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except ValueError:
        raise
    except Exception as error:  # zip and its compressions have a dozen ways to fail on damaged bytes
        raise ValueError(f"{type(error).__name__}: {str(error)[:200]}") from error


def check_unpacked(path: str | Path, kind: Kind) -> None:
    """Raise UserError as `open_file` does, and for an archive that holds more than its own size: ours pack nothing."""
    with open_file(path, kind) as file:
        size, held = os.fstat(file.fileno()).st_size, unpacked_size(file)
    if held > size:
        raise UserError(f"{path}: refused, for its {size:,} bytes unpack to {held:,}, and {kind.what} is not packed")


def unpacked_size(file: BinaryIO) -> int:
    """Bytes that a zip archive says it holds; 0 for what is none."""
    try:
        with zipfile.ZipFile(file) as archive:
            return sum(member.file_size for member in archive.infolist())
    except Exception:  # a directory has a dozen ways to be damaged; whoever reads the file will say so
        return 0


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises UserError as `open_file` does."""
    with open_file(path, Kind.ANY) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write(file)` fill a temporary file beside `path`, then rename it; a failure leaves and loses nothing."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: a folder, a pipe or a device, where a file is to be written")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UserError(f"{path}: {error.strerror or error}; what was there before is intact") from error
        raise


def write_json(path: Path, content: dict | list) -> None:
    replace_file(path, lambda file: file.write((json.dumps(content, indent=1) + "\n").encode()))


_locks: WeakValueDictionary[Path, FileLock] = WeakValueDictionary()


def lock_folder(path: Path) -> FileLock:
    """Ours alone as long as what is returned lasts, without what a killed process left half-written; or a UserError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    busy = f"{path}: another process is writing there; give this one another folder"
    _locks[path] = lock = lock_file(path.parent / f".{path.name}.lock", busy)
    for left_over in path.rglob(".*.[0-9]*.tmp"):
        left_over.unlink(missing_ok=True)
    return lock


def locked_folders() -> list[Path]:
    """Those that this process writes into, the last one first."""
    return list(_locks)[::-1]


def lock_file(path: Path, busy: str) -> FileLock:
    """`path`, made where it is missing and locked for this process; raises UserError(busy) where another one has it.

    Processes that are forked from this one do not hold it.
    """
    from filelock import FileLock, Timeout

    # Of the process and not of a thread: whichever thread lets go of it last ends it.
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise UserError(busy) from error
    return lock
