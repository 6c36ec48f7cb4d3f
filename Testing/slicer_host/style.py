"""The sizes of the application's style: its controls are a few pixels larger than those of Qt's own style Fusion."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

_STYLE = QtWidgets.QStyle.ContentsType
# Wider and higher by so many pixels: the application's size hints (`slicer_api.json`) less Fusion's.
_MORE = {
    _STYLE.CT_PushButton: (0, 3),
    _STYLE.CT_ToolButton: (8, 8),
    _STYLE.CT_ComboBox: (7, 3),
    _STYLE.CT_SpinBox: (4, 0),
    _STYLE.CT_LineEdit: (0, 3),
    _STYLE.CT_ProgressBar: (0, 3),
}


class ApplicationStyle(QtWidgets.QProxyStyle):
    """Fusion with the application's sizes."""

    def __init__(self) -> None:
        super().__init__("fusion")

    def sizeFromContents(self, kind: Any, option: Any, size: QtCore.QSize, widget: Any = None) -> QtCore.QSize:
        found = QtWidgets.QProxyStyle.sizeFromContents(self, kind, option, size, widget)
        more = _MORE.get(kind)
        return found if more is None else found + QtCore.QSize(*more)
