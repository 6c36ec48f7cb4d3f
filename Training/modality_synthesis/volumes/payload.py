"""Is the voxel data of a file all there? ITK fills what is missing with zeros and checks no checksum."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from modality_synthesis.errors import BadInputError

Compression = Literal["none", "gzip", "zlib"]

_BLOCK = 1 << 22


def check_payload(
    file: Path, *, name: str, expected: int, offset: int = 0, compression: Compression = "none", skip: int = 0
) -> None:
    """Read through a file's voxel data without keeping it.

    Args:
        file: where the data is.
        name: the file the user gave, for messages.
        expected: uncompressed bytes that must be there.
        offset: where the (compressed) data starts in the file.
        compression: how it is stored.
        skip: uncompressed bytes before the voxels.

    Raises:
        BadInputError: the data is shorter than announced, or its checksum is wrong.
    """
    with _damage_explained(file, name), file.open("rb") as stream:
        available = _length(stream, offset, compression) - skip
    _check_length(available, expected, name)


def load_payload(file: Path, *, name: str, expected: int, compression: Compression = "none") -> bytes:
    """A whole file's uncompressed bytes, checked as `check_payload` checks. Same arguments, same errors."""
    with _damage_explained(file, name):
        if compression == "none":
            content = file.read_bytes()
        else:
            with gzip.open(file) as stream:
                content = stream.read()
    _check_length(len(content), expected, name)
    return content


@contextmanager
def _damage_explained(file: Path, name: str) -> Iterator[None]:
    again = "Copy or download it again."
    try:
        yield
    except (gzip.BadGzipFile, zlib.error):
        raise BadInputError(f"{name} is damaged: its compressed data is wrong (checksum). {again}") from None
    except EOFError:
        raise BadInputError(f"{name} is truncated: its compressed data ends too early. {again}") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadInputError(f"{name}: {file.name} cannot be read: {reason}.") from None


def _check_length(available: int, expected: int, name: str) -> None:
    if available < expected:
        raise BadInputError(
            f"{name} is truncated: its header announces {expected} bytes of data and {max(available, 0)} are "
            "there. Copy or download it again."
        )


def _length(stream: BinaryIO, offset: int, compression: Compression) -> int:
    if compression == "none":
        return stream.seek(0, 2) - offset
    stream.seek(offset)
    if compression == "gzip":
        # GzipFile checks length and CRC when it reaches the end.
        with gzip.GzipFile(fileobj=stream) as unpacked:
            return sum(len(block) for block in iter(lambda: unpacked.read(_BLOCK), b""))
    return _zlib_length(stream)


def _zlib_length(stream: BinaryIO) -> int:
    # 47: a zlib or a gzip header; MetaImage files of different writers hold either.
    unpacker = zlib.decompressobj(wbits=47)
    total = 0
    while not unpacker.eof:
        block = stream.read(1 << 18)
        if not block:
            raise EOFError
        total += len(unpacker.decompress(block))
    return total
