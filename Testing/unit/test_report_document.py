"""What a report writes: figures as precise as they are known, pictures for light and dark pages."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from modality_synthesis.evaluation.document import Document, Section, Table, interval, number, write_html
from modality_synthesis.evaluation.report_figures import region_bars


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        ((0.092386, 0.086825, 0.097944), "0.0924 [0.0868,\u00a00.0979]"),
        ((-0.00557, -0.036, 0.0248), "\u22120.006 [\u22120.036,\u00a00.025]"),
        ((71.61, 45.33, 100.5), "72 [45,\u00a0100]"),
        ((0.000157, -0.0004, 0.9), "0.00 [0.00,\u00a00.90]"),
        ((1.5, float("nan"), float("nan")), "1.50"),
        ((float("nan"), float("nan"), float("nan")), "\u2013"),
    ],
)
def test_an_interval_is_as_precise_as_it_is_wide(figures, text):
    assert interval(*figures) == text


def test_figures_keep_their_digits():
    assert [number(value) for value in (0.5, 18.0, 126.0, 1.0, -3.9, float("inf"), None, 12)] == [
        "0.500", "18.0", "126", "1", "\u22123.90", "\N{INFINITY}", "\u2013", "12",
    ]  # fmt: skip


def test_a_picture_has_a_dark_twin_that_only_dark_screens_show(tmp_path):
    picture = region_bars(["precuneus"], {"measured": [1.2], "model": [1.1]}, "SUVR")
    light, dark = (imread(io.BytesIO(png), format="png")[..., :3] for png in (picture.png, picture.dark))
    assert light.shape == dark.shape
    assert light[0, 0].min() > 0.99
    assert dark[0, 0].max() < 0.15
    # Texts and axes too: hardly a pixel of the dark page's own gray level is left in the light one.
    assert np.median(dark) < 0.15 < 0.85 < np.median(light)
    assert (dark < 0.02).all(axis=-1).mean() < 0.001
    table = Table("Figures", ["what"], [["a text that is much longer than the forty letters of a cell"]])
    write_html(
        Document("Title", "Lead.", [], [Section("One", tables=[table], pictures=[picture])]), tmp_path / "r.html"
    )
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.count('<img class="day"') == page.count('<img class="night"') == 1
    assert "@media screen and (prefers-color-scheme: dark)" in page  # so that paper gets the light one
    assert '<td class="long">' in page
