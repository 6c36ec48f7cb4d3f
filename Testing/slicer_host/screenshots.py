"""Pictures of the panels for the README, made by the real panels, the real worker and off-screen slice views.

    python Testing/slicer_host/screenshots.py [--cohort COHORT.tsv] [-o Resources/Screenshots]

Without a cohort three people are simulated. The first one with a T1w and an FDG-PET is shown; their simulated PET is the
reference of the comparison.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "Testing"), str(REPOSITORY / "Training")]
os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ.pop("DISPLAY", None)

import numpy as np  # noqa: E402

from slicer_host import application, views  # noqa: E402

PANEL_WIDTH, PANEL_HEIGHT = 470, 728
STACKED_VIEW, COMPARED_VIEW = (320, 240), (340, 340)
STACKED_LAYOUT = 7300
STACKED = """<layout type="vertical" split="true">
<item><view class="vtkMRMLSliceNode" singletontag="Red"><property name="orientation">Axial</property></view></item>
<item><view class="vtkMRMLSliceNode" singletontag="Yellow"><property name="orientation">Sagittal</property></view></item>
<item><view class="vtkMRMLSliceNode" singletontag="Green"><property name="orientation">Coronal</property></view></item>
</layout>"""
LONGEST_SECONDS = 600
SAMPLE_CT = REPOSITORY / "Resources" / "SampleData" / "sub-simulated_CT.nii.gz"


def wait(widget: Any) -> None:
    """Run the event loop until the panel's job has ended."""
    end = time.monotonic() + LONGEST_SECONDS
    while widget.logic.running:
        application.slicer.app.processEvents()
        time.sleep(0.01)
        if time.monotonic() > end:
            raise TimeoutError


def panel_picture(widget: Any, height: int) -> np.ndarray:
    """The panel as RGB."""
    import qt

    widget.parent.resize(PANEL_WIDTH, height)
    widget.parent.show()
    for _ in range(3):
        application.slicer.app.processEvents()
    image = widget.parent.grab().toImage().convertToFormat(qt.QImage.Format_RGB888)
    lines = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return lines[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


def beside(*pictures: np.ndarray) -> np.ndarray:
    """Pictures side by side, the lower ones filled with black."""
    height = max(picture.shape[0] for picture in pictures)
    filled = [np.pad(picture, ((0, height - picture.shape[0]), (0, 0), (0, 0))) for picture in pictures]
    return np.concatenate(filled, axis=1)


def save(picture: np.ndarray, path: Path) -> None:
    """Write a PNG."""
    import qt

    data = np.ascontiguousarray(picture)
    height, width, _ = data.shape
    qt.QImage(data.data, width, height, 3 * width, qt.QImage.Format_RGB888).save(str(path))
    print(path)


def person(table: Path, modality: str) -> Path | None:
    """The first volume of a modality in a cohort table."""
    from modality_synthesis.datasets.cohort import read_cohort

    return next((visit.volumes[modality] for visit in read_cohort(table) if modality in visit.volumes), None)


def show_center(layout: Any, volume: Any) -> None:
    """Move all slice views to the middle of what a volume shows, when they have come to rest."""
    import slicer

    from modality_synthesis.slicer import exchange

    for _ in range(3):
        slicer.app.processEvents()  # views are fitted, and legends drawn, one turn of the event loop after a result
    values = slicer.util.arrayFromVolume(volume)
    middle = np.argwhere(values > 0.2 * values.max()).mean(axis=0)[::-1]
    center = (exchange.ijkToRas(volume) @ [*middle, 1.0])[:3]
    for name in layout.sliceViewNames():
        layout.sliceWidget(name).mrmlSliceNode().JumpSliceByOffsetting(*center)
    for _ in range(3):
        slicer.app.processEvents()


def main() -> None:
    """Make the pictures."""
    import slicer

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=REPOSITORY / "Resources" / "Screenshots")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    table = options.cohort
    if table is None:
        from modality_synthesis import simulate_cohort

        table = simulate_cohort(3, Path(tempfile.mkdtemp()) / "cohort", seed=7, modalities=["T1w", "FDG-PET"])

    app = application.start()
    layout = views.LayoutManager(STACKED_VIEW)
    app.set_layout_manager(layout)
    for name in ("MRItoPETSynthesis", "CTtoMRSynthesis"):
        application.load_module(REPOSITORY / name / f"{name}.py")

    layout.layoutLogic().GetLayoutNode().AddLayoutDescription(STACKED_LAYOUT, STACKED)
    layout.setLayout(STACKED_LAYOUT)
    head = slicer.util.loadVolume(str(person(table, "T1w")), {"name": "T1w head"})
    widget = application.open_module("MRItoPETSynthesis")
    widget.ui.synthesizeButton.click()
    wait(widget)
    print(widget.ui.synthesizeStatusLabel.text)
    show_center(layout, widget.parameters.outputVolume)
    save(beside(panel_picture(widget, PANEL_HEIGHT), layout.picture()), options.output / "MRItoPETSynthesis.png")

    layout.view_size = COMPARED_VIEW
    widget.parameters.referenceVolume = slicer.util.loadVolume(
        str(person(table, "FDG-PET")), {"name": "Measured FDG-PET", "show": False}
    )
    widget.ui.compareButton.click()
    wait(widget)
    print(widget.ui.compareStatusLabel.text)
    show_center(layout, widget.parameters.outputVolume)
    save(layout.picture(), options.output / "Comparison.png")
    layout.setLayout(STACKED_LAYOUT)
    widget.ui.suvrButton.click()
    wait(widget)
    print(widget.ui.suvrStatusLabel.text)
    widget.ui.compareCollapsibleButton.collapsed = False
    widget.ui.suvrCollapsibleButton.collapsed = False
    widget.ui.inputsCollapsibleButton.collapsed = True
    widget.ui.generatorCollapsibleButton.collapsed = True
    save(panel_picture(widget, 1240), options.output / "MeasurementPanels.png")
    application.close_module(widget)

    slicer.mrmlScene.Clear(False)
    head = slicer.util.loadVolume(str(SAMPLE_CT), {"name": "CT head"})
    head.GetDisplayNode().AutoWindowLevelOff()
    head.GetDisplayNode().SetWindowLevelMinMax(-20, 100)
    slicer.util.setSliceViewerLayers(background=head, foreground=None, fit=True)
    widget = application.open_module("CTtoMRSynthesis")
    widget.ui.synthesizeButton.click()
    wait(widget)
    print(widget.ui.synthesizeStatusLabel.text)
    show_center(layout, widget.parameters.outputVolume)
    save(beside(panel_picture(widget, PANEL_HEIGHT), layout.picture()), options.output / "CTtoMRSynthesis.png")
    application.close_module(widget)
    assert app.errors == []


if __name__ == "__main__":
    main()
