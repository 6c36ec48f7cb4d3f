"""The main window: where panel and views have their places, as measured in the application.

A window has a minimum width, that of the panel beside the widest row of bars. It follows the layout, and so do the sizes
of the views, only when the event loop has turned.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from PySide6 import QtCore, QtGui, QtWidgets

# Pixels, of Slicer 5.13 at 1280 x 800 and 1600 x 1000.
TOP, STATUS_BAR = 62, 36
PANEL_WIDTH, PANEL_TOP, BELOW_PANEL = 404, 101, 214
VIEWS_LEFT, GAP, BAR_HEIGHT = 410, 4, 31
DARK = {
    "Window": "#323232", "WindowText": "#f0f0f0", "Base": "#242424", "AlternateBase": "#2e2e2e", "Text": "#f0f0f0",
    "Button": "#3c3c3c", "ButtonText": "#f0f0f0", "ToolTipBase": "#3c3c3c", "ToolTipText": "#f0f0f0",
    "Highlight": "#2f65ca", "HighlightedText": "#ffffff", "Link": "#7ab8ff", "PlaceholderText": "#a0a0a0",
}  # fmt: skip
THEMES = ("light", "dark")


class MainWindow(QtWidgets.QWidget):
    """`slicer.util.mainWindow()`: panel on the left, the layout manager's views on the right."""

    application_class = "qSlicerMainWindow"
    host_only = frozenset({"layout_changed", "hold", "release", "scroll_to", "panel_place", "view_places", "picture"})

    def __init__(self, width: int = 1047, height: int = 768) -> None:
        super().__init__()
        self._known_minimum = 0
        self._scroll = QtWidgets.QScrollArea(self)
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QtWidgets.QFrame.NoFrame)
        QtWidgets.QWidget.resize(self, width, height)

    # As in the application

    def resize(self, width: int, height: int) -> None:
        """Not below the minimum that was in force when the event loop turned last."""
        QtWidgets.QWidget.resize(self, max(width, self._known_minimum), height)

    def layout_changed(self) -> None:
        """The layout manager shows another layout."""
        QtCore.QTimer.singleShot(0, self._settle)

    def _settle(self) -> None:
        manager = slicer.app.layoutManager()
        if manager is not None:
            self._known_minimum = manager.minimum_width()
            if self.width < self._known_minimum:
                QtWidgets.QWidget.resize(self, self._known_minimum, self.height)
            manager.resize_views(self.view_places())

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        self._scroll.setGeometry(0, PANEL_TOP, PANEL_WIDTH, self.height - PANEL_TOP - BELOW_PANEL)
        QtCore.QTimer.singleShot(0, self._settle)

    # For tests

    def hold(self, panel: Any) -> None:
        """Put a module's panel into the place for it."""
        self._scroll.setWidget(panel.parent)
        self.show()

    def release(self) -> None:
        """Give the panel back, before its module is unloaded."""
        panel = self._scroll.takeWidget()
        if panel is not None:
            panel.setParent(None)
        self.hide()

    def scroll_to(self, widget: QtWidgets.QWidget) -> None:
        """Scroll the panel until all of a widget shows."""
        self._scroll.ensureWidgetVisible(widget)

    def panel_place(self) -> tuple[int, int, int, int]:
        """What of the panel is visible without scrolling: x, y, width, height."""
        return 0, PANEL_TOP, PANEL_WIDTH, self.height - PANEL_TOP - BELOW_PANEL

    def view_places(self) -> dict[str, tuple[int, int, int, int]]:
        """Of each view of the layout, its bar left out: x, y, width, height."""
        manager = slicer.app.layoutManager()
        if manager is None:
            return {}
        places = manager.places(self._views_area(), GAP)
        for name, (x, y, width, height) in places.items():
            bar = BAR_HEIGHT if manager.sliceWidget(name).sliceController().visible else 0
            places[name] = (x, y + bar, width, height - bar)
        return places

    def _views_area(self) -> tuple[int, int, int, int]:
        return VIEWS_LEFT, TOP, self.width - VIEWS_LEFT, self.height - TOP - STATUS_BAR

    def picture(self) -> np.ndarray:
        """Everything, as RGB."""
        image = self.grab().toImage().convertToFormat(QtGui.QImage.Format_RGB888)
        lines = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
        canvas = lines[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()
        canvas[TOP : self.height - STATUS_BAR, VIEWS_LEFT:] = 40
        for x, y, width, height in slicer.app.layoutManager().places(self._views_area(), GAP, slices=False).values():
            shade = np.linspace(0, 1, height)[:, None, None]  # of an empty 3-D view
            canvas[y : y + height, x : x + width] = (1 - shade) * (193, 195, 232) + shade * (117, 120, 190)
        for name, (x, y, width, height) in self.view_places().items():
            seen = slicer.app.layoutManager().sliceWidget(name).picture()[:height, :width]
            canvas[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
            self._draw_bar(canvas, name, x, y, width)
        return canvas

    def _draw_bar(self, canvas: np.ndarray, name: str, x: int, y: int, width: int) -> None:
        widget = slicer.app.layoutManager().sliceWidget(name)
        if not widget.sliceController().visible:
            return
        bar = QtGui.QImage(width, BAR_HEIGHT, QtGui.QImage.Format_RGB888)
        color = widget.node.GetLayoutColor()
        bar.fill(QtGui.QColor.fromRgbF(*color))
        painter = QtGui.QPainter(bar)
        painter.setFont(self.font)
        text = f"{widget.node.GetLayoutLabel()}    {widget.node.GetOrientation()[0]}: {widget.node.GetSliceOffset():.1f} mm"
        painter.drawText(QtCore.QRect(8, 0, width, BAR_HEIGHT), QtCore.Qt.AlignVCenter, text)
        painter.end()
        lines = np.frombuffer(bar.constBits(), np.uint8).reshape(BAR_HEIGHT, bar.bytesPerLine())
        canvas[y - BAR_HEIGHT : y, x : x + width] = lines[:, : 3 * width].reshape(BAR_HEIGHT, width, 3)


def set_theme(theme: str) -> None:
    """Give the application the palette of a light or a dark style."""
    application = QtWidgets.QApplication.instance()
    application.setStyle("Fusion")
    palette = QtGui.QPalette(QtGui.QColor("#efefef"))
    if theme == "dark":
        for role, color in DARK.items():
            palette.setColor(getattr(QtGui.QPalette, role), QtGui.QColor(color))
            if role.endswith("Text"):
                palette.setColor(QtGui.QPalette.Disabled, getattr(QtGui.QPalette, role), QtGui.QColor("#8c8c8c"))
    application.setPalette(palette)
