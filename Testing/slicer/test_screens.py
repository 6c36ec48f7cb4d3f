"""Both panels on small and large screens, light and dark: nothing cut, nothing over the brain, everything on the screen.

Judged by geometry: widths of texts against those of their widgets, rectangles of legends and marks against the brain's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fakes import install_card
from test_flow import click_and_wait
from test_views import measure, titled

MODELS = {"MRItoPETSynthesis": ("pet", "T1w", "FDG-PET"), "CTtoMRSynthesis": ("mr", "CT", "T1w")}
SCREENS = [(1280, 800), (1600, 1000)]
SPACING = 5.0
# Of the made-up head, mm: its field of view, the brain's middle and half axes.
FIELD, MIDDLE, HALF_AXES = (170, 220, 220), np.array([0.0, 0.0, 25.0]), np.array([63.0, 80.0, 58.0])
STANDARD = {"R", "G", "Y"}  # titles of the views over which the result is shown first
READABLE = 4.5  # contrast of text, WCAG 2.1 AA


@pytest.fixture
def window(app: Any, scene: Any, layout_manager: Any) -> Iterator[Any]:
    """The main window, whose views have the sizes that it has room for."""
    from slicer_host import window

    size, layout_manager.view_size = layout_manager.view_size, None
    app.set_layout_manager(layout_manager)
    layout_manager.setLayout(3)
    main = app.mainWindow()
    yield main
    main.release()
    app.set_layout_manager(None)
    layout_manager.fix_size(size)
    window.set_theme("light")
    main.resize(1047, 768)


@pytest.fixture(params=SCREENS, ids=lambda size: f"{size[0]}x{size[1]}")
def screen(request: pytest.FixtureRequest, window: Any, app: Any) -> Any:
    """The window on one screen."""
    window.resize(*request.param)
    app.processEvents()
    return window


def add_person(ct: bool) -> Any:
    """A head with a skull, air around it, and a brain of known place and size."""
    import slicer

    size = [round(length / SPACING) for length in FIELD]
    matrix = np.diag([SPACING, SPACING, SPACING, 1.0])
    matrix[:3, 3] = -np.array(FIELD) / 2 + SPACING / 2
    i, j, k = np.meshgrid(*[np.arange(n) for n in size], indexing="ij")
    place = np.stack([i, j, k], axis=-1) * SPACING + matrix[:3, 3]
    reach = np.linalg.norm((place - MIDDLE) / HALF_AXES, axis=-1)
    head = np.linalg.norm((place - MIDDLE) / (HALF_AXES + 14), axis=-1) < 1
    neck = (np.linalg.norm(place[..., :2] / (45, 55), axis=-1) < 1) & (place[..., 2] < MIDDLE[2])
    noise = np.random.default_rng(5).normal(0, 5, reach.shape)
    values = np.where(reach < 1, 300 - 60 * reach + noise, np.where(head | neck, 110 + noise, 0))
    if ct:
        values = np.where(reach < 1, 35 + noise, np.where(head, 900, np.where(neck, 40 + noise, -1000)))
    return slicer.util.addVolumeFromArray(values.astype(np.int16).transpose(2, 1, 0), matrix, "sub-01 head")


@pytest.fixture
def panel(screen: Any, open_panel: Any, tmp_path: Any, app: Any, request: pytest.FixtureRequest) -> Any:
    """A panel in its place in the window, with a model and a person."""
    module = request.param
    identifier, source, target = MODELS[module]
    install_card(tmp_path / "models", identifier, source, target)
    add_person(ct=source == "CT")
    opened = open_panel(module)
    opened.parameters.model = identifier
    screen.hold(opened)
    settle(app)
    return opened


def settle(app: Any) -> None:
    """Views get their sizes, are fitted and get their legends, one turn of the event loop after the other."""
    for _ in range(4):
        app.processEvents()


# Geometry


def contains(outer: tuple, inner: tuple) -> bool:
    """Rectangles as x, y, width, height."""
    return (
        inner[0] >= outer[0]
        and inner[1] >= outer[1]
        and inner[0] + inner[2] <= outer[0] + outer[2]
        and inner[1] + inner[3] <= outer[1] + outer[3]
    )


def overlap(one: tuple, other: tuple) -> bool:
    """True when two rectangles share a pixel."""
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )


def brain_in(view: Any) -> tuple:
    """The brain's rectangle in a view, pixels from the lower left: its outline in the slice, projected."""
    import slicer

    node = view.mrmlSliceNode()
    to_pixels = np.linalg.inv(slicer.util.arrayFromVTKMatrix(node.GetXYToRAS()))
    directions = np.random.default_rng(1).normal(size=(4000, 3))
    surface = MIDDLE + HALF_AXES * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    pixels = (to_pixels @ np.c_[surface, np.ones(len(surface))].T)[:2]
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    return (*low, *(high - low))


def legends_in(view: Any) -> dict:
    """Rectangles of the legends drawn in a view, by title: letters may reach out of the box that they were given."""
    found = {}
    with_legends = view.picture().astype(int)
    for renderer in (view.renderer, view.overlay):
        props = renderer.GetViewProps()
        for index in range(props.GetNumberOfItems()):
            prop = props.GetItemAsObject(index)
            if prop.IsA("vtkScalarBarActor") and prop.GetVisibility():
                prop.SetVisibility(False)
                rows, columns = np.nonzero(np.abs(view.picture() - with_legends).max(axis=-1) > 30)
                prop.SetVisibility(True)
                if rows.size:
                    height = view.size[1]
                    lower, upper = height - 1 - rows.max(), height - 1 - rows.min()
                    low = int(columns.min()), int(lower)
                    found[prop.GetTitle()] = (*low, int(columns.max()) - low[0] + 1, int(upper) - low[1] + 1)
    return found


def mark_in(view: Any) -> tuple | None:
    """The rectangle of the mark in a view, when it is shown."""
    props = view.renderer.GetViewProps()
    for index in range(props.GetNumberOfItems()):
        prop = props.GetItemAsObject(index)
        if prop.IsA("vtkTextActor") and prop.GetVisibility() and prop.GetInput().startswith("Synthetic"):
            box = [0.0] * 4
            prop.GetBoundingBox(view.renderer, box)
            x, y = prop.GetPositionCoordinate().GetComputedViewportValue(view.renderer)
            return x + box[0], y + box[2], box[1] - box[0], box[3] - box[2]
    return None


def check_views(window: Any, app: Any, asked: tuple, marked: set) -> None:
    """Every view of the layout lies in the window, and nothing that is drawn into it lies over the brain.

    :param marked: titles of the views that carry the mark; the others carry none.
    """
    settle(app)
    assert (window.width, window.height) == asked
    manager = app.layoutManager()
    places = window.view_places()
    assert set(places) == set(manager.sliceViewNames())
    for name, place in places.items():
        assert contains((0, 0, *asked), place), name
        view = manager.sliceWidget(name)
        assert view.size == place[2:], name
        brain, whole = brain_in(view), (0, 0, *view.size)
        assert contains(whole, brain), (name, brain, whole)
        drawn = legends_in(view)
        mark = mark_in(view)
        assert (mark is not None) == (view.mrmlSliceNode().GetLayoutLabel() in marked), name
        if mark is not None:
            drawn["mark"] = mark
        for what, box in drawn.items():
            assert contains(whole, box), (name, what, box, whole)
            assert not overlap(box, brain), (name, what, box, brain)
        boxes = list(drawn.values())
        for index, box in enumerate(boxes):
            assert not any(overlap(box, other) for other in boxes[index + 1 :]), (name, drawn)


def visible_texts(panel: Any) -> Iterator[tuple]:
    """Every label, button, check box and choice that is shown: name, text, the room it needs and has, pixels."""
    import qt
    from slicer_host import pythonqt

    for widget in pythonqt.all_children(panel.parent):
        if not isinstance(widget, qt.QWidget) or not widget.isVisible():
            continue
        metrics, name = qt.QFontMetrics(widget.font), widget.objectName
        if isinstance(widget, qt.QLabel) and not widget.wordWrap:
            text = re.sub("<[^>]*>", "", widget.text)
            yield name, text, metrics.horizontalAdvance(text.replace("&", "")), widget.contentsRect().width()
        elif isinstance(widget, qt.QLabel):
            longest = max(re.sub("<[^>]*>", " ", widget.text).split() or [""], key=metrics.horizontalAdvance)
            yield name, longest, metrics.horizontalAdvance(longest), widget.contentsRect().width()
            yield name, widget.text, widget.heightForWidth(widget.width), widget.height
        elif isinstance(widget, qt.QPushButton):
            frame = 2 * widget.style().pixelMetric(qt.QStyle.PM_ButtonMargin)
            arrow = widget.style().pixelMetric(qt.QStyle.PM_MenuButtonIndicator) if widget.menu() else 0
            room = widget.width - frame - arrow
            yield name, widget.text, metrics.horizontalAdvance(widget.text.replace("&", "")), room
        elif isinstance(widget, qt.QCheckBox):
            box = widget.style().pixelMetric(qt.QStyle.PM_IndicatorWidth) + 6
            yield name, widget.text, metrics.horizontalAdvance(widget.text), widget.width - box
        elif isinstance(widget, qt.QComboBox):
            option = qt.QStyleOptionComboBox()
            widget.initStyleOption(option)
            field = widget.style().subControlRect(qt.QStyle.CC_ComboBox, option, qt.QStyle.SC_ComboBoxEditField, widget)
            yield name, widget.currentText, metrics.horizontalAdvance(widget.currentText), field.width()


def check_panel(panel: Any, window: Any, app: Any) -> None:
    """No text is cut, and the panel is not wider than its place."""
    settle(app)
    assert [found for found in visible_texts(panel) if found[2] > found[3]] == []
    assert panel.parent.minimumSizeHint.width() <= window.panel_place()[2]


def keep(window: Any, folder: Any, name: str) -> np.ndarray:
    """Write what the window shows to a file, for people; returns it."""
    from slicer_host import screenshots

    picture = window.picture()
    screenshots.save(picture, folder / f"{name}.png")
    return picture


# Colors


def contrast(one: tuple, other: tuple) -> float:
    """Of two sRGB colors, 0 to 1: WCAG 2.1."""
    lights = []
    for color in (one, other):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def rgb(color: Any) -> tuple:
    """A QColor as numbers."""
    return color.redF(), color.greenF(), color.blueF()


def check_colors(panel: Any) -> None:
    """What the panel writes is readable on the ground it is written on, in the palette in force."""
    import qt
    from slicer_host import pythonqt

    pairs = {
        "text": (qt.QPalette.WindowText, qt.QPalette.Window),
        "field": (qt.QPalette.Text, qt.QPalette.Base),
        "row": (qt.QPalette.Text, qt.QPalette.AlternateBase),
        "button": (qt.QPalette.ButtonText, qt.QPalette.Button),
    }
    for name, (ink, paper) in pairs.items():
        found = contrast(*(rgb(panel.parent.palette.color(role)) for role in (ink, paper)))
        assert found >= READABLE, name
    paper = rgb(panel.parent.palette.color(qt.QPalette.Window))
    base = rgb(panel.parent.palette.color(qt.QPalette.Base))
    for widget in pythonqt.all_children(panel.parent):
        if not isinstance(widget, qt.QWidget):
            continue
        written = [getattr(widget, name, "") for name in ("text", "html", "styleSheet")]
        for text in [text for text in written if isinstance(text, str)]:
            for color in re.findall(r"(?<!-)color:\s*(#[0-9a-fA-F]{6}|[a-z]+)|<font color=['\"]?(#?\w+)", text):
                value = qt.QColor(next(filter(None, color)))
                ground = base if isinstance(widget, qt.QTextBrowser) else paper
                assert contrast(rgb(value), ground) >= READABLE, (widget.objectName, color)


# The way through the panels


@pytest.mark.parametrize("panel", list(MODELS), indirect=True)
def test_the_main_job_fits_the_screen(panel: Any, screen: Any, wait: Any, app: Any, tmp_path: Any) -> None:
    import slicer
    from slicer_host import window as host_window

    asked = (screen.width, screen.height)
    manager = app.layoutManager()
    click_and_wait(panel, wait)
    check_views(screen, app, asked, STANDARD)
    standard = manager.layout
    keep(screen, tmp_path, "result")
    panel.parameters.referenceVolume = measure(panel, 0.8, 0.0)
    panel.ui.compareCollapsibleButton.collapsed = False
    click_and_wait(panel, wait, "compare")
    check_views(screen, app, asked, {"Synthetic", "Difference"})
    assert list(titled(manager)) == ["Source", "Synthetic", "Reference", "Difference"]
    keep(screen, tmp_path, "comparison")
    shown = titled(manager)["Difference"].picture().astype(int)
    middle = shown[shown.shape[0] // 2 - 20 :, :][:40, shown.shape[1] // 2 - 20 :][:, :40]
    assert (middle[..., 0] - middle[..., 2] > 30).mean() > 0.9  # the synthetic volume is above the reference: red
    panel.ui.readingButton.click()
    check_views(screen, app, asked, {"Synthetic", "Fused", "Difference"})
    keep(screen, tmp_path, "reading")
    if asked == SCREENS[0]:  # the smallest views of all
        panel.ui.orientationComboBox.currentText = "All three planes"
        check_views(screen, app, asked, {"Synthetic", "Fused", "Difference"})
        keep(screen, tmp_path, "all")
        panel.ui.orientationComboBox.currentText = "Axial"
    for theme in host_window.THEMES:
        host_window.set_theme(theme)
        settle(app)
        panel.exit()  # to where the style is chosen, and back
        panel.enter()
        check_panel(panel, screen, app)
        check_colors(panel)
        for section in ("suvr", "batch", "export", "advanced", "inputs", "generator"):
            button = getattr(panel.ui, f"{section}CollapsibleButton", None)
            if button is not None:
                button.collapsed = False
        check_panel(panel, screen, app)
        picture = keep(screen, tmp_path, theme)
        assert picture.shape == (asked[1], asked[0], 3)
        darkest = picture[100:400, :400].mean()
        assert (darkest < 100) == (theme == "dark")
    panel.ui.readingButton.click()
    check_views(screen, app, asked, STANDARD)
    assert manager.layout == standard
    slicer.mrmlScene.Clear(False)
    settle(app)
    assert (screen.width, screen.height) == asked


@pytest.mark.parametrize("panel", ["MRItoPETSynthesis"], indirect=True)
def test_the_window_returns_to_its_size(panel: Any, screen: Any, wait: Any, app: Any) -> None:
    """A layout that needs more room than there is makes the window wider; leaving it gives the room back."""
    asked, chosen = (780, 700), (1500, 900)
    app.layoutManager().setLayout(6)  # one view
    settle(app)
    screen.resize(*asked)
    click_and_wait(panel, wait)
    panel.ui.readingButton.click()
    settle(app)
    assert screen.width > asked[0]
    panel.ui.readingButton.click()
    settle(app)
    assert (screen.width, screen.height) == asked
    panel.ui.readingButton.click()
    settle(app)
    screen.resize(*chosen)
    panel.ui.readingButton.click()
    settle(app)
    assert (screen.width, screen.height) == chosen


@pytest.mark.parametrize("panel", ["MRItoPETSynthesis"], indirect=True)
def test_views_are_few_however_often_they_are_shown(panel: Any, screen: Any, wait: Any, app: Any) -> None:
    """Each view that was ever made stays and slows the closing of scenes."""
    import slicer

    def views() -> int:
        return slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSliceNode")

    def show_all() -> None:
        for orientation in ("Axial", "All three planes", "Coronal", "All three planes", "Sagittal"):
            panel.ui.orientationComboBox.currentText = orientation
            panel.ui.readingButton.click()
            panel.ui.readingButton.click()

    before = views()  # other tests made some of their own
    click_and_wait(panel, wait)
    show_all()
    made = views()
    assert made - before <= 12
    show_all()
    assert views() == made


def test_the_mark_is_readable_on_any_image() -> None:
    from modality_synthesis.slicer import marks

    for image in (0.0, 1.0):
        ground = tuple(marks.GROUND_OPACITY * g + (1 - marks.GROUND_OPACITY) * image for g in marks.GROUND)
        assert contrast(marks.COLOR, ground) >= READABLE
