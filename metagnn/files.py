"""Files that appear whole or not at all."""

import csv
import errno
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from numpy.typing import ArrayLike

_FOLDER_ERRORS = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS}


def write_atomically(
    path: str | os.PathLike[str], *parts: bytes | bytearray | memoryview, name: str = "path"
) -> None:
    """Write a file so that a crash at any instant leaves the old file or the new one, complete.

    The bytes go to a temporary file in the same folder, reach the disk (fsync), and take the name
    over in one step (`os.replace`); then the folder entry reaches the disk. The folder is not made.

    Args:
        path: The file to write or replace.
        parts: Bytes, written one after the other.
        name: What the caller calls ``path``, for error messages.

    Raises:
        ValueError: If ``path`` is a folder, or lies in a folder that is missing or not writable.
        OSError: If the bytes cannot be stored (disk full, quota); the old file is as it was and
            the temporary file is gone.
    """
    target = Path(path)
    if target.is_dir():
        raise ValueError(f"`{name}` must be a file, not a folder, got {str(path)!r}")
    temporary = target.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        if error.errno not in _FOLDER_ERRORS:
            raise
        rule = "lie in a folder that exists and can be written"
        raise ValueError(f"`{name}` must {rule}, got {str(path)!r}") from error
    try:
        with open(descriptor, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise
    _sync_folder(target.parent)


@contextmanager
def written_together(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Folder for files that all move to ``folder`` when the block ends, and vanish if it fails.

    ``folder`` is made, and unmade if the block fails. Each file moves whole; where moving one of
    them fails, those before it stay.

    Raises:
        ValueError: If a folder has the name of one of the files.
        OSError: If ``folder`` cannot be made or written.
    """
    target = Path(folder)
    missing = [path for path in (target, *target.parents) if not path.exists()]
    target.mkdir(parents=True, exist_ok=True)
    temporary = target / f".{secrets.token_hex(8)}.tmp"
    try:
        temporary.mkdir()
        yield temporary
        files = sorted(temporary.iterdir())
        for file in files:
            if (target / file.name).is_dir():
                raise ValueError(f"`path` must be a file, not a folder, got {target / file.name}")
        for file in files:
            os.replace(file, target / file.name)
        missing = []
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        # Where moving them failed half way, the folder keeps the whole files that moved.
        with suppress(OSError):
            for path in missing:
                path.rmdir()
    _sync_folder(target)


def write_json(path: str | os.PathLike[str], value: object, *, name: str = "path") -> None:
    """Write ``value`` atomically as indented JSON.

    Raises:
        ValueError: If ``value`` holds NaN or infinity, which JSON lacks, or as `write_atomically`.
        TypeError: If ``value`` holds something else than JSON knows.
    """
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        found = type(value).__name__
        raise ValueError(
            f"`value` must be JSON ({error}), got {found} for {str(path)!r}"
        ) from error
    write_atomically(path, (text + "\n").encode(), name=name)


def write_csv(
    path: str | os.PathLike[str],
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    name: str = "path",
) -> None:
    """Write a header and rows atomically as CSV.

    Raises:
        ValueError: If a row has not as many fields as the header, or as `write_atomically`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"`rows` must have {len(header)} fields each, got {row!r}")
        writer.writerow(row)
    write_atomically(path, text.getvalue().encode(), name=name)


def write_npz(path: str | os.PathLike[str], /, **arrays: ArrayLike) -> None:
    """Write arrays atomically as ``.npz`` that `numpy.load` reads with ``allow_pickle=False``.

    Raises:
        ValueError: If an array holds Python objects, or as `write_atomically`.
    """
    import numpy as np

    buffer = io.BytesIO()
    plain = {key: np.asarray(array) for key, array in arrays.items()}
    for key, array in plain.items():
        if array.dtype.hasobject:
            raise ValueError(f"`{key}` must hold numbers, got dtype {str(array.dtype)!r}")
    np.savez(buffer, allow_pickle=False, **plain)
    write_atomically(path, buffer.getbuffer())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere folders cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
