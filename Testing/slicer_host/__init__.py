"""A test bench for Slicer scripted modules: MRML, logics and slice views from slicer-core, widgets from PySide6.

It runs the very module files and `.ui` files of the extension in pytest, off-screen, without the Slicer application.
It is kinder than the application in some respects (see README.md), so passing here is necessary, not sufficient.

    from slicer_host import application
    app = application.start()
    widget = application.open_module("MRItoPETSynthesis/MRItoPETSynthesis.py")
"""
