"""The files that run inside Slicer: Python of the panels, and their forms."""

from __future__ import annotations

from pathlib import Path

from fakes import MODULES, REPOSITORY

ROOM = REPOSITORY / "Training" / "modality_synthesis" / "slicer"
_FOLDERS = (ROOM, *(REPOSITORY / name for name in MODULES))
GUI_FILES: list[Path] = sorted(path for folder in _FOLDERS for path in folder.rglob("*.py"))
UI_FILES: list[Path] = sorted(path for folder in _FOLDERS for path in folder.rglob("*.ui"))
