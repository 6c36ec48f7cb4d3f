"""Is the voxel data of a file all there? ITK fills what is missing with zeros and checks no checksum."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from modality_synthesis.errors import BadInputError

Compression = Literal["none", "gzip", "zlib"]

_BLOCK = 1 << 20
_MAGIC = b"\x1f\x8b"
_GZIP, _EITHER = 31, 47  # zlib's names for the headers it accepts
# Head scans shrink by 2 to 20. What shrinks this much and is this large holds nothing that was measured.
_LARGEST_RATIO, _RATIO_MATTERS_FROM = 300, 256 << 20
_MOST_VOLUMES = 8


def load_payload(
    file: Path, *, name: str, expected: int, offset: int = 0, skip: int = 0, compression: Compression = "none"
) -> bytes:
    """A file's uncompressed data, as much as is announced; what follows is checked and not kept.

    Args:
        file: where the data is.
        name: the file the user gave, for messages.
        expected: uncompressed bytes that must be there.
        offset: where the (compressed) data starts in the file.
        skip: uncompressed bytes before the voxels; they are left out.
        compression: how it is stored.

    Raises:
        BadInputError: the data is shorter than announced, its checksum is wrong, or it unpacks to far more than a
            volume of this file's size can hold.
    """
    wanted = skip + expected
    with _damage_explained(file, name), file.open("rb") as stream:
        stream.seek(offset)
        if compression == "none":
            content = stream.read(min(wanted, os.fstat(stream.fileno()).st_size))
        else:
            if expected > max(_RATIO_MATTERS_FROM, _LARGEST_RATIO * os.fstat(stream.fileno()).st_size):
                raise _swollen(name)
            # MetaImage files of different writers hold a zlib or a gzip header.
            content = _unpack(stream, wanted, name, wbits=_GZIP if compression == "gzip" else _EITHER)
    _check_length(len(content) - skip, expected, name)
    return content[skip:] if skip else content


def _unpack(stream: BinaryIO, wanted: int, name: str, *, wbits: int) -> bytes:
    """The first `wanted` uncompressed bytes; the rest is read for its checksum only."""
    content, unpacked = bytearray(), 0
    for block in _unpacked(stream, wbits=wbits):
        unpacked += len(block)
        if len(content) < wanted:
            content += block[: wanted - len(content)]
        # Some files hold more volumes than their header says; nothing that was measured holds this much.
        elif unpacked > _MOST_VOLUMES * wanted + _RATIO_MATTERS_FROM:
            raise _swollen(name)
    return bytes(content)


def _swollen(name: str) -> BadInputError:
    return BadInputError(
        f"{name} unpacks to far more data than a volume of its size holds; it is damaged, or was made to fill the "
        "memory. Get it again from where it was measured."
    )


def from_the_end(file: Path, expected: int) -> int:
    """Where the last `expected` bytes of a file begin."""
    return max(file.stat().st_size - expected, 0)


def values_of(content: bytes, stored: np.dtype[Any], size: Sequence[int]) -> np.ndarray:
    """Stored numbers as float32, (z, y, x).

    Args:
        content: starts with them.
        stored: their type.
        size: voxels along x, y, z.
    """
    numbers = np.frombuffer(content, stored, count=math.prod(size)).reshape(tuple(size)[::-1])
    with np.errstate(over="ignore", invalid="ignore"):
        return numbers.astype(np.float32)


@contextmanager
def _damage_explained(file: Path, name: str) -> Iterator[None]:
    again = "Copy or download it again."
    try:
        yield
    except zlib.error:
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


def first_bytes(stream: BinaryIO, count: int) -> bytes:
    """The first uncompressed bytes of a gzip stream; its checksum is not looked at.

    Raises:
        EOFError, zlib.error: no such stream, or a damaged one.
    """
    content = b""
    for block in _unpacked(stream, block=1 << 12):
        content += block
        if len(content) >= count:
            break
    return content[:count]


def _unpacked(stream: BinaryIO, *, wbits: int = _GZIP, block: int = _BLOCK) -> Iterator[bytes]:
    """The uncompressed data of all members, each checked for length and CRC at its end.

    What follows the last member (a tape's zeros, a download's trailer) is passed over, as `gzip` does.

    Raises:
        EOFError: a member ends too early.
        zlib.error: damaged data.
    """
    packed = stream.read(block)
    while True:
        member = zlib.decompressobj(wbits)
        while not member.eof:
            # A block of zeros unpacks to a thousand times its size: piece by piece.
            content = member.decompress(packed, _BLOCK)
            packed = member.unconsumed_tail
            if content:
                yield content
            elif not packed and not member.eof:
                packed = stream.read(block)
                if not packed:
                    raise EOFError
        packed = member.unused_data + stream.read(len(_MAGIC))
        if not packed.startswith(_MAGIC):
            return
