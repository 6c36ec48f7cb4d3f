"""A test bench for Slicer scripted modules: MRML, logics and slice views from slicer-core, widgets from PySide6.

It runs the very module files and `.ui` files of the extension in pytest, off-screen, without the Slicer application.
It is kinder than the application in some respects (see README.md), so passing here is necessary, not sufficient.

    from slicer_host import application
    app = application.start()
    widget = application.open_module("MRItoPETSynthesis/MRItoPETSynthesis.py")
"""

from __future__ import annotations

import os
import sys


def _import_slicer_core() -> None:
    """Import `slicer` from slicer-core alone.

    Its package extends over every folder `slicer` on `sys.path` and imports all files in it; the folder of tests beside
    this one must not be among them.
    """
    searched = list(sys.path)
    folders = {entry: os.path.join(entry or os.curdir, "slicer") for entry in searched}
    decoys = {
        entry
        for entry, folder in folders.items()
        if os.path.isdir(folder) and not os.path.isfile(os.path.join(folder, "__init__.py"))
    }
    sys.path[:] = [entry for entry in searched if entry not in decoys]
    try:
        import slicer  # noqa: F401
    finally:
        sys.path[:] = searched


_import_slicer_core()
