"""What the process finds around it: standard streams, a user, a home. Made usable once, before anything is imported.

Containers run under user numbers without a name, services without a home, pipes in a code page that lacks half of the
characters. The libraries below fail on that in ways of their own, deep inside an import.
"""

from __future__ import annotations

import contextlib
import getpass
import io
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal, TextIO

from modality_synthesis.errors import ModalitySynthesisError

APPLICATION = "modality-synthesis"
# Controls that move the cursor or rename the window, and marks that turn the direction of writing: in a file's name, a
# header or a server's answer they would show something else than what is there.
_UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_XDG = {"data": ("XDG_DATA_HOME", (".local", "share")), "cache": ("XDG_CACHE_HOME", (".cache",))}


def prepare() -> None:
    """Give this process, and those it starts, what the libraries take for granted. Changes nothing on a usual desk."""
    _open_closed_streams()
    _name_the_user()
    _place_library_caches()
    sys.stdout, sys.stderr = steady(sys.stdout), steady(sys.stderr)


def shown(text: object) -> str:
    """A text as a terminal may have it: control characters are written out (`\\x1b`)."""
    return _UNSHOWN.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), str(text))


def home() -> Path | None:
    """The user's home folder; None where neither HOME nor the system's list of users says one."""
    found = os.path.expanduser("~")
    return Path(found) if os.path.isabs(found) else None


def user_folder(kind: Literal["data", "cache"]) -> Path:
    """The user's folder of this program, by each system's convention; it may not exist yet.

    Written out here, in a few lines, because the panels need it before any package is installed.

    Raises:
        ModalitySynthesisError: there is no home.
    """
    variable, below = _XDG[kind]
    named = os.environ.get(variable, "").strip()
    if sys.platform != "win32" and os.path.isabs(named):
        return Path(named) / APPLICATION
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", "").strip()
        base = Path(local) if os.path.isabs(local) else _require_home(variable) / "AppData" / "Local"
        return base / APPLICATION / "Cache" if kind == "cache" else base / APPLICATION
    if sys.platform == "darwin":
        below = ("Library", "Caches") if kind == "cache" else ("Library", "Application Support")
    return _require_home(variable).joinpath(*below, APPLICATION)


def _require_home(variable: str) -> Path:
    folder = home()
    if folder is None:
        raise ModalitySynthesisError(
            f"This user has no home folder. Set HOME, or {variable}, to a folder that can be written to."
        )
    return folder


def _open_closed_streams() -> None:
    """Put the null device where a standard stream was closed, or the next file opened would get its number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
            setattr(sys, name, stream)


def _name_the_user() -> None:
    """`getpass.getuser()` fails for a number without an entry in the list of users; MONAI and torch call it."""
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["LOGNAME"] = f"user-{os.getuid()}" if hasattr(os, "getuid") else "user"


def _place_library_caches() -> None:
    """Matplotlib and torch keep caches at home; without one that can be written to, a temporary folder serves."""
    folder = home()
    if folder is not None and os.access(folder, os.W_OK):
        return
    with contextlib.suppress(OSError):
        number = os.getuid() if hasattr(os, "getuid") else 0
        private = Path(tempfile.gettempdir()) / f"{APPLICATION}-{number}"
        private.mkdir(mode=0o700, exist_ok=True)
        if private.stat().st_uid != number or not os.access(private, os.W_OK):
            private = Path(tempfile.mkdtemp(prefix=f"{APPLICATION}-"))
        os.environ.setdefault("MPLCONFIGDIR", str(private))
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(private / "torchinductor"))
        os.environ.setdefault("TRITON_CACHE_DIR", str(private / "triton"))


def steady(stream: TextIO) -> TextIO:
    """The stream without its two ways of failing: a character its code page lacks, and a reader that went away."""
    try:
        raw = _Pipe(stream.fileno(), "wb", closefd=False)
        terminal = stream.isatty()
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=terminal or stream is sys.stderr,
        write_through=stream is sys.stderr,
    )


class _Pipe(io.FileIO):
    """A standard stream. When nobody reads it any more (`... | head`), what follows goes nowhere, quietly."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return len(memoryview(data).cast("B"))
