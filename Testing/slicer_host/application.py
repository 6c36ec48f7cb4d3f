"""`slicer.app` with Qt, the module manager, and loading and opening of scripted modules."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
import types
from pathlib import Path
from typing import Any

import slicer
import slicer.util

from slicer_host import mrml, pythonqt, strict

qt = pythonqt.install()
strict.install()

from PySide6 import QtCore, QtWidgets  # noqa: E402 - after the patches

from slicer_host import style, widgets, window  # noqa: E402

widgets.install(qt)


class _ModuleManager(QtCore.QObject):
    application_class = "qSlicerModuleManager"
    moduleAboutToBeUnloaded = QtCore.Signal(str)
    cpp_signals = ("moduleAboutToBeUnloaded(QString)",)

    def module(self, name: str) -> Any:
        return slicer.app.loaded.get(name)


class _ApplicationSignals(QtCore.QObject):
    startupCompleted = QtCore.Signal()
    cpp_signals = ("startupCompleted()",)


class _ModuleSelector:
    """What `slicer.util.selectModule` asks to show a module."""

    def selectModule(self, name: str) -> None:
        open_module(name)


class _Module:
    """What a scripted module gets as `parent`."""

    application_class = "qSlicerScriptedLoadableModule"

    def __init__(self, path: Path) -> None:
        self.path, self.name = str(path), path.stem
        self.title, self.helpText, self.acknowledgementText = "", "", ""
        self.categories, self.dependencies, self.contributors = [], [], []
        self.icon, self.hidden = None, False

    def widgetRepresentation(self) -> widgets.qSlicerScriptedLoadableModuleWidget:
        """The panel, built when nobody asked for it before."""
        return _panel(self.name).parent


class _LogicOnly:
    """A C++ module of the application."""

    # The file has no loadable module of C++; `logic()` is every module's.
    application_class = "qSlicerScriptedLoadableModule"

    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def logic(self) -> Any:
        return self._logic


class Application(mrml.MRMLHost):
    """`slicer.app`. `errors` collects the tracebacks of exceptions raised in slots: tests assert that it is empty."""

    application_class = "qSlicerApplication"
    host_only = frozenset({"errors", "loaded", "set_layout_manager", "finish_startup", "mainWindow"}) | (
        mrml.MRMLHost.host_only
    )
    applicationName, applicationVersion = "SlicerHost", "5.13.0-host"
    majorVersion, minorVersion = 5, 13
    documentationBaseUrl = "https://slicer.readthedocs.io/"

    def __init__(self) -> None:
        super().__init__()
        self._qt = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["slicer-host"])
        self._qt.setApplicationName("SlicerHost")
        self._qt.setStyle(style.ApplicationStyle())
        self._manager, self._signals = _ModuleManager(), _ApplicationSignals()
        self.loaded, self.errors, self._layout = {}, [], None
        self._window = None
        sys.excepthook = self._on_exception

    def _on_exception(self, *details: Any) -> None:
        self.errors.append("".join(traceback.format_exception(*details)))
        sys.stderr.write(self.errors[-1])

    def moduleManager(self) -> _ModuleManager:
        return self._manager

    def mainWindow(self) -> Any:
        """The main window: panels open in it."""
        if self._window is None:
            self._window = window.MainWindow()
        return self._window

    def finish_startup(self) -> None:
        """What the application does when all modules are there."""
        self._signals.startupCompleted.emit()

    def layoutManager(self) -> Any:
        return self._layout

    def set_layout_manager(self, manager: Any) -> None:
        """Slice views are made only by the tests that look at them."""
        self._layout = manager

    def connect(self, signal: str, slot: Any) -> bool:
        return self._signals.connect(signal, slot)

    def disconnect(self, signal: str, slot: Any) -> bool:
        return self._signals.disconnect(signal, slot)

    def processEvents(self, *arguments: Any) -> None:
        self._qt.processEvents()

    def settings(self) -> Any:
        return qt.QSettings()

    userSettings = settings

    def startupEnvironment(self) -> Any:
        return qt.QProcessEnvironment.systemEnvironment()

    def moduleDocumentationUrl(self, name: str) -> str:
        return self.documentationBaseUrl + name

    def testingEnabled(self) -> bool:
        return True

    def palette(self) -> Any:
        return self._qt.palette()

    def translate(self, context: str, text: str) -> str:
        return text

    def pauseRender(self) -> None:
        pass

    def resumeRender(self) -> None:
        pass

    def setOverrideCursor(self, *arguments: Any) -> None:
        pass

    def restoreOverrideCursor(self) -> None:
        pass


def start() -> Application:
    """Make `slicer.app` and the modules that Slicer adds to the package `slicer`. Once per process."""
    if isinstance(getattr(slicer, "app", None), Application):
        return slicer.app
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
    app = slicer.app = Application()
    QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, app.temporaryPath)
    for name in ("modules", "moduleNames"):
        module = types.ModuleType("slicer." + name)
        setattr(slicer, name, module)
        sys.modules["slicer." + name] = module
    slicer.util.mainWindow = app.mainWindow
    slicer.util.moduleSelector = _ModuleSelector
    slicer.modules.colors = _LogicOnly(app.color_logic)
    slicer.modules.plots = _LogicOnly(app.plots_logic)
    slicer.modules.markups = _LogicOnly(app.markups_logic)
    from slicer_host import parameter_node, scripted_module

    stand_ins = {
        "ScriptedLoadableModule": scripted_module,
        "i18n": scripted_module,
        "parameterNodeWrapper": parameter_node,
    }
    for name, module in stand_ins.items():
        sys.modules["slicer." + name] = module
        setattr(slicer, name, module)
    return app


def load_module(path: str | Path) -> types.ModuleType:
    """What the module factory does with a module file."""
    path = Path(path).resolve()
    described = _Module(path)
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)
    loader = strict.StrictLoader(path.stem, str(path))
    spec = importlib.util.spec_from_file_location(path.stem, path, loader=loader)
    code = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = code
    spec.loader.exec_module(code)
    instance = getattr(code, path.stem)(described)
    setattr(slicer.modules, path.stem.lower(), described)
    setattr(slicer.modules, path.stem + "Instance", instance)
    setattr(slicer.moduleNames, path.stem, path.stem)
    slicer.app.loaded[path.stem] = described
    return code


def open_module(name: str) -> Any:
    """Build a loaded module's panel, when it is not there yet, and enter it, as when a user picks the module."""
    widget = _panel(name)
    if not widget.parent.isEntered:
        widget.parent._entered = True
        widget.enter()
    return widget


def open_modules() -> list[Any]:
    """The panels that were built and not closed."""
    return [getattr(slicer.modules, name + "Widget") for name in slicer.app.loaded if _is_open(name)]


def _is_open(name: str) -> bool:
    return hasattr(slicer.modules, name + "Widget")


def _panel(name: str) -> Any:
    if _is_open(name):
        return getattr(slicer.modules, name + "Widget")
    parent = slicer.qSlicerScriptedLoadableModuleWidget()
    parent.setLayout(qt.QVBoxLayout())
    parent.setMRMLScene(slicer.mrmlScene)
    widget = getattr(sys.modules[name], name + "Widget")(parent)
    parent._python_side = widget
    widget.setup()
    setattr(slicer.modules, name + "Widget", widget)
    return widget


def close_module(widget: Any) -> None:
    """Leave and unload a panel."""
    if widget.parent.isEntered:
        widget.exit()
        widget.parent._entered = False
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(widget.moduleName)
    delattr(slicer.modules, widget.moduleName + "Widget")
    slicer.app.processEvents()
    for child in pythonqt.all_children(widget.parent):
        if isinstance(child, widgets.qMRMLNodeComboBox):
            child.setMRMLScene(None)  # a C++ widget lets the scene go when it is destroyed
    widget.parent._python_side = None
    widget.parent.delete()
