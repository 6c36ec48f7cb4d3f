"""File names for ITK, which takes UTF-8 only: with any other byte in a name its Python wrapper ends the process."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modality_synthesis.errors import BadInputError

# Their voxels are in a second file, which ITK looks for beside the first.
_DETACHED = (".nhdr", ".mhd")


@contextmanager
def path_for_itk(path: Path, *, write: bool = False) -> Iterator[str]:
    """A name by which ITK reaches the file; the file's own, unless that is no UTF-8.

    Args:
        path: the file.
        write: it is to be written. It then comes into being in a temporary folder, and is moved.

    Raises:
        BadInputError: no such name can be made: a header with detached voxels, or a system without links.
    """
    if _is_utf8(path):
        yield str(path)
        return
    ending = "".join(suffix for suffix in path.suffixes[-2:] if suffix.isascii())
    if path.suffix.lower() in _DETACHED:
        raise _rename(path)
    with tempfile.TemporaryDirectory(prefix="modality-synthesis-") as folder:
        other = Path(folder) / f"volume{ending}"
        if not _is_utf8(other):
            raise _rename(path)
        if write:
            yield str(other)
            shutil.move(other, path)
            return
        try:
            other.symlink_to(os.path.abspath(path))
        except OSError:
            raise _rename(path) from None
        yield str(other)


def _is_utf8(path: Path) -> bool:
    try:
        return str(path).encode("utf-8") == os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _rename(path: Path) -> BadInputError:
    return BadInputError(f"{path} is no name in UTF-8, which the libraries here need. Rename the file or its folder.")
