"""What the slice views show: overlay, legend, mark, linked comparison. Judged by colors of known places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import add_head, card_facts, head_matrix, install_card
from scipy.ndimage import binary_erosion
from test_flow import click_and_wait


@pytest.fixture
def panel(views: Any, open_panel: Any, tmp_path: Path) -> Any:
    """A panel with a head, a model and slice views."""
    install_card(tmp_path / "models", "pet")
    add_head(matrix=head_matrix(angle=0))
    opened = open_panel()
    opened.parameters.model = "pet"
    return opened


def measure(panel: Any, factor: float, offset: float) -> Any:
    """A made-up measurement: the synthetic PET, scaled and shifted."""
    import slicer

    from modality_synthesis.slicer import exchange

    pet = panel.parameters.outputVolume
    measured = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "measured PET")
    exchange.setVolume(measured, slicer.util.arrayFromVolume(pet) * factor + offset, pet)
    return measured


def warm_share(picture: np.ndarray) -> float:
    """The share of pixels whose red is clearly above their blue."""
    return float((picture[..., 0].astype(int) - picture[..., 2] > 40).mean())


def test_result_is_drawn_over_the_mri_with_legend(panel: Any, wait: Any, views: Any) -> None:
    from modality_synthesis.slicer import display

    before = views.sliceWidget("Red").picture()
    click_and_wait(panel, wait)
    after = views.sliceWidget("Red").picture()
    assert warm_share(before) < 0.01
    assert warm_share(after) > 0.1
    composite = views.sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == panel.parameters.inputVolume.GetID()
    assert composite.GetForegroundVolumeID() == panel.parameters.outputVolume.GetID()
    assert edge_colors(after) > 20
    composite.SetForegroundVolumeID(None)
    panel.marks.update()
    display.refreshLegends()
    assert edge_colors(views.sliceWidget("Red").picture()) < 5  # no PET in the view, no legend


def edge_colors(picture: np.ndarray, left: bool = False) -> int:
    """The number of different colors at the right (or left) edge, where the head does not reach."""
    width = int(picture.shape[1] * 0.07)
    above_the_mark = picture[:-30]
    edge = (above_the_mark[:, :width] if left else above_the_mark[:, -width:]).reshape(-1, 3).astype(int)
    return len(np.unique(edge[np.abs(edge[:, 0] - edge[:, 2]) > 20], axis=0))


def test_views_of_synthetic_volumes_are_marked(panel: Any, wait: Any, views: Any) -> None:
    assert panel.marks.shownIn() == []
    click_and_wait(panel, wait)
    assert sorted(panel.marks.shownIn()) == ["Green", "Red", "Yellow"]
    marked = views.sliceWidget("Red").picture()
    views.sliceWidget("Red").sliceLogic().GetSliceCompositeNode().SetForegroundVolumeID(None)
    assert "Red" not in panel.marks.shownIn()
    assert (marked[-25:] != views.sliceWidget("Red").picture()[-25:]).any()


def test_unloading_takes_the_marks_off(panel: Any, wait: Any, views: Any) -> None:
    click_and_wait(panel, wait)
    renderer = views.sliceWidget("Red").renderer
    with_mark = renderer.GetViewProps().GetNumberOfItems()
    panel.marks.detach()
    assert renderer.GetViewProps().GetNumberOfItems() == with_mark - 1


def test_comparison_shows_four_linked_views(panel: Any, wait: Any, views: Any, app: Any) -> None:
    click_and_wait(panel, wait)
    panel.parameters.referenceVolume = measure(panel, 0.7, 0.0)
    click_and_wait(panel, wait, "compare")
    app.processEvents()  # the views have their sizes then
    shown = {}
    for name, view in titled(views).items():
        composite = view.sliceLogic().GetSliceCompositeNode()
        assert composite.GetLinkedControl()
        assert view.mrmlSliceNode().GetOrientation() == "Axial"
        shown[name] = composite.GetBackgroundVolumeID()
    assert list(shown) == ["Source", "Synthetic", "Reference", "Difference"]
    assert shown["Source"] == panel.parameters.inputVolume.GetID()
    assert shown["Synthetic"] == panel.parameters.outputVolume.GetID()
    assert shown["Reference"] == panel.parameters.referenceVolume.GetID()
    offsets = {round(views.sliceWidget(name).mrmlSliceNode().GetSliceOffset(), 3) for name in views.sliceViewNames()}
    assert len(offsets) == 1
    # The synthetic volume is above the reference: red where the head is, nothing is drawn where both are air.
    picture = titled(views)["Difference"].picture()
    center, corner = picture[160, 160].astype(int), picture[300, 8].astype(int)
    assert center[0] - center[2] > 60
    assert picture.shape == (320, 320, 3)
    assert corner.max() < 20
    pictures = {name: view.picture() for name, view in titled(views).items()}
    assert {name for name, seen in pictures.items() if edge_colors(seen) > 20} == {"Synthetic", "Reference"}
    assert {name for name, seen in pictures.items() if edge_colors(seen, left=True) > 20} == {"Difference"}
    marked = {view.mrmlSliceNode().GetLayoutLabel() for view in map(views.sliceWidget, panel.marks.shownIn())}
    assert {"Synthetic", "Difference"} <= marked
    assert "Source" not in marked


def titled(views: Any) -> dict:
    """The views of the layout by what stands above them."""
    widgets = [views.sliceWidget(name) for name in views.sliceViewNames()]
    return {widget.mrmlSliceNode().GetLayoutLabel(): widget for widget in widgets}


def test_reference_is_shown_like_the_synthetic_volume(panel: Any, wait: Any) -> None:
    click_and_wait(panel, wait)
    panel.parameters.referenceVolume = measure(panel, 1.0, 0.0)
    click_and_wait(panel, wait, "compare")
    synthetic = panel.parameters.outputVolume.GetDisplayNode()
    reference = panel.parameters.referenceVolume.GetDisplayNode()
    assert reference.GetColorNodeID() == synthetic.GetColorNodeID()
    assert reference.GetWindowLevelMax() == synthetic.GetWindowLevelMax()


def test_orientation_and_rows(panel: Any, wait: Any, views: Any) -> None:
    click_and_wait(panel, wait)
    panel.parameters.referenceVolume = measure(panel, 0.9, 0.0)
    click_and_wait(panel, wait, "compare")
    panel.ui.orientationComboBox.currentText = "Coronal"
    assert titled(views)["Source"].mrmlSliceNode().GetOrientation() == "Coronal"
    single = set(views.sliceViewNames())
    panel.ui.orientationComboBox.currentText = "All three planes"
    assert len(views.sliceViewNames()) == 12
    assert single < set(views.sliceViewNames())  # views stay for good, and each slows the closing of scenes
    orientations = [views.sliceWidget(name).mrmlSliceNode().GetOrientation() for name in views.sliceViewNames()]
    assert orientations == ["Axial"] * 4 + ["Coronal"] * 4 + ["Sagittal"] * 4


def test_opacity_and_threshold_of_the_difference(panel: Any, wait: Any, views: Any, app: Any) -> None:
    click_and_wait(panel, wait)
    panel.parameters.referenceVolume = measure(panel, 0.9, 0.0)
    click_and_wait(panel, wait, "compare")
    app.processEvents()
    view = titled(views)["Difference"]
    composite = view.sliceLogic().GetSliceCompositeNode()
    assert panel.ui.differenceThresholdSlider.value == 0
    full = view.picture()
    panel.ui.differenceOpacitySlider.value = 40
    assert composite.GetForegroundOpacity() == pytest.approx(0.4)
    panel.ui.differenceOpacitySlider.value = 100
    panel.ui.differenceThresholdSlider.value = 60  # differences of about 0.15 SUVR of 0.5 vanish
    hidden = view.picture()
    assert full[160, 160, 0] > full[160, 160, 2]
    assert abs(int(hidden[160, 160, 0]) - int(hidden[160, 160, 2])) < 10  # the gray MRI shines through
    panel.ui.differenceThresholdSlider.value = 0
    again = view.picture()
    assert np.abs(again.astype(int) - full).mean() < 1


def test_suvr_over_the_mri_with_opacity(panel: Any, wait: Any, views: Any) -> None:
    click_and_wait(panel, wait)
    click_and_wait(panel, wait, "suvr")
    composite = views.sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == panel.parameters.suvrVolume.GetID()
    panel.ui.suvrOpacitySlider.value = 20
    assert composite.GetForegroundOpacity() == pytest.approx(0.2)


def test_z_map_over_the_mri(panel: Any, wait: Any, views: Any, tmp_path: Path) -> None:
    """Left of the fake's map is -3.4 (blue), right 1.0: below the threshold, the MRI shines through."""
    click_and_wait(panel, wait)
    (tmp_path / "normal.csv").write_text("region,mean,sd\n", encoding="utf-8")
    panel.parameters.normalCohort = tmp_path / "normal.csv"
    click_and_wait(panel, wait, "suvr")
    panel.ui.suvrOpacitySlider.value = 100
    panel.ui.suvrOverlayComboBox.currentText = "z-scores"
    composite = views.sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == panel.parameters.zVolume.GetID()
    picture = views.sliceWidget("Red").picture().astype(int)
    tints = {int(np.sign(side[2] - side[0]) * (abs(side[2] - side[0]) > 60)) for side in picture[160, [120, 200]]}
    assert tints == {0, 1}  # one side blue, the other gray
    assert edge_colors(picture, left=True) > 20  # the legend
    assert "Red" in panel.marks.shownIn()
    panel.ui.zThresholdSlider.value = 4
    assert np.abs(np.diff(views.sliceWidget("Red").picture()[160, [120, 200]].astype(int), axis=-1)).max() < 10


@pytest.mark.long
@pytest.mark.parametrize("orientation", ["Axial", "Coronal", "Sagittal", "All three planes"])
def test_comparison_fits_small_screens(panel: Any, wait: Any, views: Any, orientation: str) -> None:
    """The bars above the views have minimum widths: four abreast would make the window wider than 1,280 pixels."""
    click_and_wait(panel, wait)
    panel.parameters.referenceVolume = measure(panel, 0.9, 0.0)
    click_and_wait(panel, wait, "compare")
    panel.ui.orientationComboBox.currentText = orientation
    assert views.minimum_width() <= 1280


def test_comparison_keeps_the_slice_and_links_only_its_own_views(panel: Any, wait: Any, views: Any, app: Any) -> None:
    import slicer

    click_and_wait(panel, wait)
    views.sliceWidget("Red").mrmlSliceNode().SetSliceOffset(12.5)
    panel.parameters.referenceVolume = measure(panel, 0.9, 0.0)
    click_and_wait(panel, wait, "compare")
    app.processEvents()
    nodes = [views.sliceWidget(name).mrmlSliceNode() for name in views.sliceViewNames()]
    assert {round(node.GetSliceOffset(), 3) for node in nodes} == {12.5}
    standard = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed").GetViewGroup()
    assert {node.GetViewGroup() for node in nodes} != {standard}


def test_a_legend_covers_nothing_of_the_brain(panel: Any, wait: Any, views: Any, app: Any) -> None:
    import slicer

    click_and_wait(panel, wait)
    app.processEvents()
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(panel.parameters.outputVolume)
    for name in ("Red", "Green", "Yellow"):
        view = views.sliceWidget(name)
        legend.SetVisibility(True)
        shown = view.picture().astype(int)
        legend.SetVisibility(False)
        bare = view.picture().astype(int)
        drawn = np.abs(shown - bare).max(axis=-1) > 30
        brain = binary_erosion(bare.max(axis=-1) > 40, iterations=12)  # the made-up head fills the view
        assert drawn.sum() > 100
        assert brain.sum() > 0.3 * brain.size
        assert not (drawn & brain).any(), name


def test_legend_does_not_stay_on_another_head(panel: Any, wait: Any, views: Any, app: Any) -> None:
    """A volume that is loaded takes the place of the result; the result's legend goes with it."""
    import slicer

    click_and_wait(panel, wait)
    other = add_head("Other head", matrix=head_matrix(angle=0))
    slicer.util.setSliceViewerLayers(background=other, foreground=None)
    app.processEvents()
    assert edge_colors(views.sliceWidget("Red").picture()) < 5


def test_nothing_is_rendered_while_the_scene_is_closed(panel: Any, wait: Any, views: Any, app: Any) -> None:
    import slicer

    from modality_synthesis.slicer import linked_views

    click_and_wait(panel, wait)
    panel.parameters.referenceVolume = measure(panel, 0.9, 0.0)
    click_and_wait(panel, wait, "compare")
    app.processEvents()
    widgets = [views.sliceWidget(name) for name in views.sliceViewNames()]
    slicer.mrmlScene.Clear(False)
    assert [widget.renders_while_closing for widget in widgets] == [0] * 4
    assert not linked_views.views().shown()  # no empty views are left


def test_plots_are_shown_with_names_under_the_bars(panel: Any, wait: Any, views: Any, app: Any) -> None:
    import vtk

    click_and_wait(panel, wait)
    click_and_wait(panel, wait, "suvr")
    panel.ui.showSuvrPlotButton.click()
    app.processEvents()
    assert views.plotViewCount == 1
    axis = views.plotWidget(0).plotView().chart().GetAxis(vtk.vtkAxis.BOTTOM)
    labels = axis.GetTickLabels()
    names = [labels.GetValue(index) for index in range(labels.GetNumberOfValues())]
    assert names
    assert not any(name.isdigit() for name in names)
    panel.parameters.referenceVolume = measure(panel, 0.9, 0.0)
    click_and_wait(panel, wait, "compare")
    panel.ui.comparisonPlotButton.click()
    app.processEvents()
    labels = axis.GetTickLabels()
    assert not {labels.GetValue(index) for index in range(labels.GetNumberOfValues())} & set(names)


def test_a_signal_has_a_legend_of_one_word(open_panel: Any, scene: Any, tmp_path: Path) -> None:
    """`relative to white matter` would reach across the brain."""
    import slicer

    from modality_synthesis.slicer import results
    from modality_synthesis.slicer.cards import Card

    facts = card_facts("mr", "CT", "T1w")
    facts["output"] |= {"quantity": "signal", "units": "relative to white matter"}
    head = add_head(ct=True)
    made = results.makeResult(slicer.util.arrayFromVolume(head), head, Card(folder=None, facts=facts), {})
    assert slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(made).GetTitleText() == "signal"


def test_names_under_bars_when_the_layout_with_the_plot_comes_back(panel: Any, wait: Any, views: Any, app: Any) -> None:
    import vtk

    click_and_wait(panel, wait)
    click_and_wait(panel, wait, "suvr")
    panel.ui.showSuvrPlotButton.click()
    app.processEvents()
    with_plot = views.layout
    views.setLayout(2)
    axis = views.plotWidget(0).plotView().chart().GetAxis(vtk.vtkAxis.BOTTOM)
    axis.SetCustomTickPositions(vtk.vtkDoubleArray(), vtk.vtkStringArray())  # as a chart of another module
    views.setLayout(with_plot)
    app.processEvents()
    labels = axis.GetTickLabels()
    assert labels.GetNumberOfValues() == 2


def test_reading_is_one_click_there_and_one_back(panel: Any, wait: Any, views: Any, app: Any) -> None:
    click_and_wait(panel, wait)
    app.processEvents()
    views.sliceWidget("Red").mrmlSliceNode().SetSliceOffset(12.5)
    former = views.layout
    assert not panel.ui.readingButton.checked
    panel.ui.readingButton.click()
    app.processEvents()
    assert panel.ui.readingButton.checked
    assert list(titled(views)) == ["Source", "Synthetic", "Fused", "Error not known"]  # before a comparison
    fused = titled(views)["Fused"].sliceLogic().GetSliceCompositeNode()
    assert fused.GetBackgroundVolumeID() == panel.parameters.inputVolume.GetID()
    assert fused.GetForegroundVolumeID() == panel.parameters.outputVolume.GetID()
    offsets = {round(view.mrmlSliceNode().GetSliceOffset(), 3) for view in titled(views).values()}
    assert offsets == {12.5}
    assert all(view.sliceLogic().GetSliceCompositeNode().GetLinkedControl() for view in titled(views).values())
    panel.ui.readingButton.click()
    app.processEvents()
    assert views.layout == former
    assert not panel.ui.readingButton.checked
    composite = views.sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == panel.parameters.outputVolume.GetID()


def test_reading_shows_the_difference_in_the_views_of_the_comparison(
    panel: Any, wait: Any, views: Any, app: Any
) -> None:
    click_and_wait(panel, wait)
    former = views.layout
    panel.parameters.referenceVolume = measure(panel, 0.7, 0.0)
    click_and_wait(panel, wait, "compare")
    app.processEvents()
    compared = views.sliceViewNames()
    panel.ui.readingButton.click()
    app.processEvents()
    assert views.sliceViewNames() == compared
    assert list(titled(views)) == ["Source", "Synthetic", "Fused", "Difference"]
    panel.ui.orientationComboBox.currentText = "Coronal"
    assert {view.mrmlSliceNode().GetOrientation() for view in titled(views).values()} == {"Coronal"}
    assert panel.ui.readingButton.checked
    panel.ui.readingButton.click()
    assert views.layout == former  # the layout before the comparison, not an empty one
    panel.ui.orientationComboBox.currentText = "Axial"
    assert views.layout == former  # who has left is not called back
    views.setLayout(former)


def test_a_layout_that_somebody_chooses_ends_the_reading(panel: Any, wait: Any, views: Any, app: Any) -> None:
    click_and_wait(panel, wait)
    panel.ui.readingButton.click()
    app.processEvents()
    views.setLayout(2)
    assert not panel.ui.readingButton.checked
    click_and_wait(panel, wait)
    assert views.layout == 2


def test_the_difference_is_drawn_only_where_both_were_measured(panel: Any, wait: Any, views: Any, app: Any) -> None:
    """Not measured is NaN, no color and no number; zero is white; nothing is darker than anatomy and colors are."""
    import slicer

    click_and_wait(panel, wait)
    panel.parameters.referenceVolume = measure(panel, 1.0, 0.0)
    click_and_wait(panel, wait, "compare")
    app.processEvents()
    difference = panel.parameters.differenceVolume
    values = slicer.util.arrayFromVolume(difference)
    air = slicer.util.arrayFromVolume(panel.parameters.outputVolume) < 0.1
    assert np.isnan(values[air]).all()
    assert (values[~air] == 0).all()
    picture = titled(views)["Difference"].picture().astype(int)
    assert picture[160, 160].min() == 255
    assert picture[300, 8].max() < 20
    # A map that crosses zero everywhere: no ring of another color between red and blue.
    waves = np.sin(np.arange(values.shape[2]) * 0.9)[None, None, :] * 0.3 + np.zeros_like(values)
    slicer.util.updateVolumeFromArray(difference, np.where(air, np.nan, waves).astype(np.float32))
    picture = titled(views)["Difference"].picture()
    inside = picture[110:210, 110:210].reshape(-1, 3).astype(int)
    assert (inside[:, 0] > inside[:, 2] + 40).any()
    assert (inside[:, 2] > inside[:, 0] + 40).any()
    assert inside.max(axis=1).min() > 150


def test_the_color_of_a_difference_says_its_size(panel: Any, wait: Any, views: Any) -> None:
    """Equal steps look equally large (CIELAB), whichever their sign; the same table as in reports."""
    from modality_synthesis.evaluation.figures.style import difference_colors
    from modality_synthesis.slicer import display

    node = display.differenceColorNode()
    colors = np.zeros((node.GetNumberOfColors(), 4))
    for index, color in enumerate(colors):
        node.GetColor(index, color)
    assert np.allclose(colors[:, :3], difference_colors()(np.arange(255))[:, :3], atol=1 / 255)
    lab = cielab(colors[:, :3])
    steps = np.linalg.norm(np.diff(lab[7::8], axis=0), axis=1)  # through the middle; Slicer keeps 8 bits
    assert steps.max() < 1.15 * steps.min()
    assert lab[:, 0].argmax() == 127
    assert np.abs(lab[:, 0] - lab[::-1, 0]).max() < 1


def cielab(rgb: np.ndarray) -> np.ndarray:
    """sRGB (N, 3) as CIELAB, by scikit-image."""
    from skimage.color import rgb2lab

    return rgb2lab(rgb[None])[0]
