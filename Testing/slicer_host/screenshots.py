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

from slicer_host import application, views, window  # noqa: E402

SCREEN = (1280, 800)
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


def screen_picture() -> np.ndarray:
    """The main window without its menu and status bars, as RGB."""
    import slicer

    for _ in range(4):
        slicer.app.processEvents()
    return slicer.app.mainWindow().picture()[window.TOP : -window.STATUS_BAR]


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


def mri_to_pet(layout: Any, table: Path, output: Path) -> None:
    """A synthetic PET over its MRI, its reading, its comparison, its regions."""
    import slicer

    slicer.util.loadVolume(str(person(table, "T1w")), {"name": "T1w head"})
    widget = application.open_module("MRItoPETSynthesis")
    slicer.app.mainWindow().hold(widget)
    widget.ui.synthesizeButton.click()
    wait(widget)
    print(widget.ui.synthesizeStatusLabel.text)
    show_center(layout, widget.parameters.outputVolume)
    save(screen_picture(), output / "MRItoPETSynthesis.png")

    widget.ui.inputsCollapsibleButton.collapsed = True
    widget.ui.generatorCollapsibleButton.collapsed = True
    widget.ui.synthesizeCollapsibleButton.collapsed = True
    widget.ui.compareCollapsibleButton.collapsed = False
    widget.parameters.referenceVolume = slicer.util.loadVolume(
        str(person(table, "FDG-PET")), {"name": "Measured FDG-PET", "show": False}
    )
    widget.ui.compareButton.click()
    wait(widget)
    print(widget.ui.compareStatusLabel.text)
    show_center(layout, widget.parameters.outputVolume)
    save(screen_picture(), output / "Comparison.png")
    widget.ui.compareCollapsibleButton.collapsed = True
    widget.ui.synthesizeCollapsibleButton.collapsed = False
    widget.ui.inputsCollapsibleButton.collapsed = False
    widget.ui.readingButton.click()
    show_center(layout, widget.parameters.outputVolume)
    save(screen_picture(), output / "Reading.png")

    widget.ui.readingButton.click()
    widget.ui.inputsCollapsibleButton.collapsed = True
    widget.ui.synthesizeCollapsibleButton.collapsed = True
    widget.ui.suvrCollapsibleButton.collapsed = False
    widget.ui.suvrButton.click()
    wait(widget)
    print(widget.ui.suvrStatusLabel.text)
    show_center(layout, widget.parameters.outputVolume)
    slicer.app.mainWindow().scroll_to(widget.ui.suvrTableWidget)
    save(screen_picture(), output / "Regions.png")
    slicer.app.mainWindow().release()
    application.close_module(widget)


def ct_to_mri(layout: Any, output: Path) -> None:
    """A synthetic MRI of a CT."""
    import slicer

    head = slicer.util.loadVolume(str(SAMPLE_CT), {"name": "CT head"})
    slicer.util.setSliceViewerLayers(background=head, foreground=None, fit=True)
    widget = application.open_module("CTtoMRSynthesis")
    slicer.app.mainWindow().hold(widget)
    widget.ui.synthesizeButton.click()
    wait(widget)
    print(widget.ui.synthesizeStatusLabel.text)
    widget.ui.readingButton.click()
    show_center(layout, widget.parameters.outputVolume)
    save(screen_picture(), output / "CTtoMRSynthesis.png")
    slicer.app.mainWindow().release()
    application.close_module(widget)


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
    window.set_theme("light")
    layout = views.LayoutManager(None)
    app.set_layout_manager(layout)
    for name in ("MRItoPETSynthesis", "CTtoMRSynthesis"):
        application.load_module(REPOSITORY / name / f"{name}.py")
    app.mainWindow().resize(*SCREEN)
    layout.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    mri_to_pet(layout, table, options.output)
    slicer.mrmlScene.Clear(False)
    ct_to_mri(layout, options.output)
    assert app.errors == []


if __name__ == "__main__":
    main()
