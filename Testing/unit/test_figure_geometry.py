"""Figures of reports keep their parts apart and on the page, whatever the number of models and the length of names.

What is tested is where matplotlib puts things (window extents), the fonts in the files and the resolution of pictures;
not how it looks.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from modality_synthesis.evaluation import report_figures
from modality_synthesis.evaluation.document import Document, Section, write_figures, write_pdf
from modality_synthesis.evaluation.figures.labels import short_names, shortened, text_width, wrapped
from modality_synthesis.evaluation.figures.montage import Block, montage
from modality_synthesis.evaluation.figures.style import (
    DPI,
    PAGE_HEIGHT,
    PAGE_WIDTH,
    difference_colors,
    difference_limit,
    value_window,
)

METRICS = ("MAE", "PSNR", "SSIM", "MS-SSIM", "NCC", "NMI", "Tenengrad ratio", "Spectrum ratio")
LONG = "a-model-with-quite-a-long-name-that-somebody-gave-it-in-a-hurry-2026-final-v3-really_final ($x_1$)"
KINDS = [
    (1, "short"),
    (2, "long"),
    pytest.param(5, "long", marks=pytest.mark.long),
    pytest.param(9, "long", marks=pytest.mark.long),
]


def names(count: int, kind: str) -> list[str]:
    return [f"{LONG} {number}" if kind == "long" else f"model-{number}" for number in range(count)]


@pytest.fixture(autouse=True)
def keep_figures(monkeypatch):
    """The functions return matplotlib's figures instead of files."""
    monkeypatch.setattr(report_figures, "picture", lambda name, caption, alt, figure: figure)


def check(figure: Figure) -> None:
    """Nothing outside the figure, no two axes (or legends) over each other, and a figure that fits a page."""
    width, height = figure.get_size_inches()
    assert width <= PAGE_WIDTH + 1e-6
    assert height <= PAGE_HEIGHT + 1e-6
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    whole = figure.bbox
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    boxes += [legend.get_window_extent(renderer) for legend in figure.legends]
    boxes += [text.get_window_extent(renderer) for text in figure.texts]
    extra = [text for text in (figure._suptitle, figure._supylabel) if text is not None]
    boxes += [text.get_window_extent(renderer) for text in extra if text not in figure.texts]
    slack = 0.02 * figure.dpi  # a hundredth of an inch on either side
    for box in boxes:
        assert box.x0 > whole.x0 - slack, box
        assert box.y0 > whole.y0 - slack, box
        assert box.x1 < whole.x1 + slack, box
        assert box.y1 < whole.y1 + slack, box
    for first, second in itertools.combinations(boxes, 2):
        shared = Bbox.intersection(first, second)
        assert shared is None or min(shared.width, shared.height) < slack, (first, second)


def planes(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.random(shape) for shape in ((110, 92), (90, 92), (90, 110))]


@pytest.mark.parametrize(("count", "kind"), KINDS)
def test_planes_and_color_bars_of_several_models_stay_apart(count, kind):
    rng = np.random.default_rng(0)
    blocks = [Block("source", planes(rng), "anatomy"), Block("measured", planes(rng))]
    for name in names(count, kind):
        blocks += [Block(name, planes(rng)), Block(f"{name} − measured", planes(rng), "difference")]
    units = "SUVR (reference: cerebellar gray matter, eroded by two voxels, mean of the left and the right side)"
    title = f"Median patient, sub-{'0123456789' * 12} (MAE 0.123)"
    figure = montage(blocks, window=(0, 2), limit=0.2, colors="inferno", units=units, title=title)
    check(figure)
    # Two color bars, with axes of their own: one for values, one for differences.
    assert len(figure.axes) == 3 * len(blocks) + 2


@pytest.mark.parametrize(("count", "kind"), KINDS)
def test_diagrams_keep_legends_and_labels_apart(count, kind):
    rng = np.random.default_rng(1)
    models = [*names(count, kind), "population mean", "mean x tissue"]
    summary = {
        name: {metric: dict(zip(("low", "mean", "high"), np.sort(rng.random(3)), strict=True)) for metric in METRICS}
        for name in models
    }
    check(report_figures.forest(summary, METRICS, {"Tenengrad ratio": 1.0, **dict.fromkeys(METRICS, 1.0)}))
    measured = rng.random(12)
    points = {name: (measured + rng.normal(0, 0.1, 12), measured) for name in models}
    check(report_figures.identity_scatter(points, "Meta-temporal", "SUVR"))
    check(report_figures.bland_altman(*points[models[0]], f"Meta-temporal, {models[0]}", "SUVR"))
    regions = [f"A region of the brain, number {number}" for number in range(14)]
    check(report_figures.region_bars(regions, {name: rng.random(14) for name in ("measured", *models)}, "SUVR"))
    levels = [0.5, 0.8, 0.95]
    found = {
        name: {"levels": levels, "coverage": levels, "fractions": levels, "sparsification": levels, "oracle": levels}
        for name in models
    }
    check(report_figures.calibration_curves(found))
    groups = {
        f"{kind} variable {number}": [f"{kind} group with a name {member % 6}" for member in range(12)]
        for number in range(2 * count)
    }
    check(report_figures.violins(rng.random(12), groups, f"MAE of {models[0]}, SUVR"))


def test_voxel_figures_fit():
    rng = np.random.default_rng(2)
    check(report_figures.difference_histogram(rng.normal(0, 1, 5000), "SUVR " * 20))
    check(report_figures.voxel_scatter(rng.random(5000), rng.random(5000), "SUVR " * 20))


def test_names_are_wrapped_shortened_and_told_apart():
    long = [f"{LONG} {number}" for number in range(3)]
    labels = short_names([*long, "short"], 1.7, 8, lines=1)
    assert labels["short"] == "short"
    assert len(set(labels.values())) == 4
    assert all(text_width(label.replace("\\$", "$"), 8) <= 1.7 for label in labels.values())
    assert set(shortened(labels).values()) == set(long)
    # A formula's signs are letters here.
    assert wrapped("a$b$c", 5, 8) == r"a\$b\$c"
    assert wrapped("one two", text_width("one", 8) + 0.01, 8) == "one\ntwo"


def test_zero_is_neutral_and_limits_are_round_and_symmetric():
    from matplotlib.colors import Normalize

    limit = difference_limit(np.linspace(-0.15, 0.15, 1001), (0.0, 2.0))
    assert limit == pytest.approx(0.2)
    assert difference_colors()(Normalize(-limit, limit)(0.0)) == (1.0, 1.0, 1.0, 1.0)
    above, below = difference_colors()(0.9), difference_colors()(0.1)
    assert above[0] > above[2]  # too much is red
    assert below[2] > below[0]
    assert value_window([0, 2], np.array([5.0])) == (0.0, 2.0)
    assert value_window(None, np.full(10, 3.0))[0] == 0.0
    low, high = value_window(None, np.linspace(-1000, 1000, 2001))
    assert (low, high) == (pytest.approx(-990), pytest.approx(996))


@pytest.fixture
def document(monkeypatch) -> Document:
    monkeypatch.undo()
    rng = np.random.default_rng(3)
    blocks = [Block(name, planes(rng)) for name in ("reference", LONG)]
    figure = montage(blocks, window=(0, 2), limit=0.2, colors="inferno", units="SUVR")
    pictures = [
        report_figures.picture("planes", "Planes.", "Planes of two volumes.", figure),
        report_figures.region_bars([f"region {n}" for n in range(40)], {LONG: rng.random(40)}, "SUVR"),
    ]
    return Document("A title", "What was done.", [], [Section("Pictures", pictures=pictures)])


def test_files_hold_fonts_as_fonts_and_pictures_at_200_ppi(document, tmp_path):
    pypdf = pytest.importorskip("pypdf")
    files = write_figures(document, tmp_path)
    assert {path.suffix for path in files} == {".pdf", ".svg", ".png"}
    assert {path.parent for path in files} == {tmp_path / "figures"}
    write_pdf(document, tmp_path / "report.pdf")
    for path in (tmp_path / "report.pdf", *tmp_path.glob("figures/*.pdf")):
        fonts = fonts_of(pypdf.PdfReader(path))
        assert fonts, path
        assert all(kind != "/Type3" for kind, _ in fonts), path
        assert all(embedded for _, embedded in fonts), path
    for path in tmp_path.glob("figures/*.svg"):
        assert re.search(r"<text[ >]", path.read_text(encoding="utf-8")), path
    reader = pypdf.PdfReader(tmp_path / "report.pdf")
    found = [item for page in reader.pages for item in placed_images(page)]
    assert len(found) == 2
    for pixels, (x, y, width, height), page in found:
        assert min(pixels[0] / width, pixels[1] / height) * 72 >= 200
        assert x >= 0
        assert y >= 0
        assert x + width <= page[0]
        assert y + height <= page[1]


def fonts_of(reader) -> list[tuple[str, bool]]:
    """Subtype, and whether the font's outlines are in the file, of every font of every page."""
    found = []
    for page in reader.pages:
        for font in (page["/Resources"].get("/Font") or {}).values():
            font = font.get_object()
            inner = font["/DescendantFonts"][0].get_object() if "/DescendantFonts" in font else font
            descriptor = inner.get("/FontDescriptor")
            found.append((font["/Subtype"], descriptor is not None and "/FontFile2" in descriptor.get_object()))
    return found


def placed_images(page) -> list[tuple[tuple[int, int], tuple[float, float, float, float], tuple[float, float]]]:
    """Pixels of each picture, where it lies on the page (points: left, bottom, width, height), and the page's size."""
    images = {
        name: (image.get_object()["/Width"], image.get_object()["/Height"])
        for name, image in (page["/Resources"].get("/XObject") or {}).items()
    }
    text = page.get_contents().get_data().decode("latin-1")
    number = r"(-?[\d.]+)"
    pattern = rf"{number} 0 0 {number} {number} {number} cm (/\w+) Do"
    size = (float(page.mediabox.width), float(page.mediabox.height))
    return [
        (images[name], (float(x), float(y), float(width), float(height)), size)
        for width, height, x, y, name in re.findall(pattern, text)
    ]


def test_every_raster_is_saved_at_the_printed_size(document):
    for picture in document.pictures:
        assert picture.size[0] <= PAGE_WIDTH + 0.01
        assert picture.size[1] <= PAGE_HEIGHT + 0.01
    assert DPI >= 200


def test_geometry_is_the_same_in_the_page_and_the_folder(document, tmp_path: Path):
    from PIL import Image

    write_figures(document, tmp_path)
    for picture in document.pictures:
        with Image.open(tmp_path / "figures" / f"{picture.name}.png") as image:
            assert image.info["dpi"][0] == pytest.approx(DPI, abs=0.1)
            assert image.size[0] / DPI == pytest.approx(picture.size[0])
