"""Which files a model package may hold, and how large they may be. Data only: no code, no pickle, no folders."""

from __future__ import annotations

import re
from pathlib import Path

from modality_synthesis.errors import BadInputError
from modality_synthesis.models.card import BASELINES_FILE, WEIGHTS_FILE

CARD_FILE = "model.json"
CARD_TEXT_FILE = "MODEL_CARD.md"
PREVIEW_FILE = "preview.png"
ALLOWED_FILES = frozenset(
    {CARD_FILE, WEIGHTS_FILE, BASELINES_FILE, CARD_TEXT_FILE, PREVIEW_FILE, "README.md", "LICENSE", "NOTICE"}
)
LARGEST_BYTES = 8 * 2**30
LARGEST_OTHER_BYTES = 32 * 2**20
MOST_FILES = 32

# One dot, so that no name hides a second ending or leads elsewhere.
_OTHER_JSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.json", re.ASCII)
_FOLDED = {name.casefold() for name in ALLOWED_FILES}
# What file managers, archivers and repositories put beside a package's files: passed over, never unpacked or copied.
_COMPANIONS = re.compile(
    r"(thumbs\.db|desktop\.ini|icon\r"
    r"|(readme|licen[cs]e|notice|authors|changelog|citation|contributing|code_of_conduct|security)(\.(md|txt|rst|cff))?)",
    re.ASCII | re.IGNORECASE,
)
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES = 1024


class PackageFiles:
    """Checks the files of one package, one after the other.

    Args:
        package: what messages call the package.
    """

    def __init__(self, package: str) -> None:
        self.package = package
        self._seen: set[str] = set()
        self._bytes = 0

    def add(self, name: str, size: int) -> None:
        """Accept one file.

        Raises:
            BadInputError: an unknown name, the same name twice, or too many or too large files.
        """
        if name.lower().endswith(".zip"):
            raise BadInputError(f"{self.package}: {name!r} is an archive itself. Unpack {self.package}, install that.")
        if not belongs(name):
            raise BadInputError(f"{self.package}: {name!r} does not belong into a model package.")
        # Some file systems ignore case: there, the second of two such files would replace the first.
        if name.casefold() in self._seen:
            raise BadInputError(f"{self.package}: {name!r} is in it twice.")
        self._seen.add(name.casefold())
        self._bytes += size
        if len(self._seen) > MOST_FILES:
            raise BadInputError(f"{self.package}: more than {MOST_FILES} files; refused.")
        limit = LARGEST_BYTES if name in (WEIGHTS_FILE, BASELINES_FILE) else LARGEST_OTHER_BYTES
        if size > limit or self._bytes > LARGEST_BYTES:
            raise BadInputError(f"{self.package}: {name!r} makes it larger than a model package may be; refused.")


def belongs(name: str) -> bool:
    """Whether a package may hold a file of this name."""
    if name in ALLOWED_FILES:
        return True
    return bool(_OTHER_JSON.fullmatch(name)) and name.casefold() not in _FOLDED


def is_companion(path: str, *, anywhere: bool = False) -> bool:
    """Whether a path inside an archive or folder is none of the package's business.

    `.DS_Store`, `__MACOSX/`, `.git/`, `.gitattributes`, `CITATION.cff`, `Thumbs.db` and the like.

    Args:
        path: with / or \\ between folders.
        anywhere: outside the package's folder its README, LICENSE and NOTICE are companions too.
    """
    parts = [part for part in path.replace("\\", "/").split("/") if part]
    if any(part in (".", "..") for part in parts) or not parts:
        return False
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    own = parts[-1] in ALLOWED_FILES and not anywhere
    return hidden or (not own and _COMPANIONS.fullmatch(parts[-1]) is not None)


def refuse_pointer(path: Path) -> None:
    """Check that a file is itself, and not what Git LFS leaves in its place.

    Raises:
        BadInputError: says how to get the file.
    """
    try:
        if path.stat().st_size > _POINTER_BYTES:
            return
        content = path.read_bytes()
    except OSError:
        return
    if not content.startswith(_LFS_POINTER):
        return
    size = re.search(rb"^size (\d+)", content, re.MULTILINE)
    wanted = f" of {int(size[1]) / 1e6:.1f} MB" if size else ""
    raise BadInputError(
        f"{path} is a Git LFS pointer of {len(content)} bytes, not the file{wanted} it stands for: GitHub's 'Download "
        "ZIP' leaves such files out. Run 'git lfs pull' in a clone of the repository, or download the file by itself, "
        "and install that folder."
    )


def package_files(folder: Path) -> list[Path]:
    """The files of a package's folder, by name; companions (`is_companion`) are left out.

    Raises:
        BadInputError: the folder cannot be read, or holds something that does not belong there.
    """
    files = PackageFiles(folder.name)
    try:
        paths = sorted(path for path in folder.iterdir() if not is_companion(path.name))
        for path in paths:
            if path.is_symlink() or not path.is_file():
                raise BadInputError(f"{folder.name}: {path.name!r} does not belong into a model package.")
            files.add(path.name, path.stat().st_size)
    except OSError as error:
        raise BadInputError(f"{folder} cannot be read: {error.strerror or error}.") from None
    return paths
