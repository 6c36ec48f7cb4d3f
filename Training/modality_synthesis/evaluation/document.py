"""A report as data, and how it becomes one HTML file or a PDF."""

from __future__ import annotations

import base64
import importlib.util
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modality_synthesis.evaluation.report_figures import Picture
from modality_synthesis.volumes import atomic_output

if TYPE_CHECKING:
    from fpdf import FPDF

_PICTURE_MM = 165.0
NOTE = "Research use only, not for diagnosis. Synthetic volumes are computed, not measured."


@dataclass(frozen=True)
class Table:
    """A caption, a header and rows of texts; `wide` tables are long lists that start folded on screens."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, tables and pictures below it."""

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: of the page.
        lead: what was done, in a sentence or two.
        warnings: shown before everything else.
        sections: in order.
    """

    title: str
    lead: str
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = field(default_factory=list)


def number(value: Any, digits: int = 3) -> str:
    """A figure for people; a dash for what is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "\N{EN DASH}"
    if isinstance(value, float):
        text = _digits(abs(value), digits)
        return "\N{MINUS SIGN}" + text if value < 0 else text
    return str(value)


def _digits(value: float, digits: int) -> str:
    """Significant digits, zeros at the end included, which tell how precise a figure is."""
    if math.isinf(value):
        return "\N{INFINITY}"
    return f"{value:g}" if value in (0, 1, 2) else f"{value:#.{digits}g}".rstrip(".")


def interval(value: float, low: float, high: float) -> str:
    """A figure with its interval, `0.0924 [0.0868, 0.0979]`, as precise as the interval's width tells."""
    width = high - low
    if not math.isfinite(width) or width <= 0 or not math.isfinite(value):
        return (
            number(value) if math.isnan(width) else f"{number(value)} [{number(low)},\N{NO-BREAK SPACE}{number(high)}]"
        )
    texts = [rounded(one, width) for one in (value, low, high)]
    return f"{texts[0]} [{texts[1]},\N{NO-BREAK SPACE}{texts[2]}]"


def rounded(value: float, width: float) -> str:
    """A figure with the decimals that cut a width into at least twenty steps."""
    if not math.isfinite(value):
        return number(value)
    decimals = min(max(math.ceil(math.log10(20 / width)), 0), 8)
    # Adding 0 turns the negative zero that rounding may leave into 0.
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def p_value(value: float) -> str:
    """A p-value for people: three decimals, or that it is smaller."""
    return number(value) if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def write_html(document: Document, path: Path) -> None:
    """One file that needs nothing else: pictures inside, no scripts, no requests."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["width"] = _pixels
    environment.filters["data"] = lambda png: "data:image/png;base64," + base64.b64encode(png).decode()
    template = (Path(__file__).parent / "report.html.jinja").read_text(encoding="utf-8")
    text = environment.from_string(template).render(document=document, note=NOTE)
    with atomic_output(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _pixels(png: bytes) -> int:
    """The width of a PNG, from its header."""
    return int.from_bytes(png[16:20], "big")


def can_write_pdf() -> bool:
    """Whether fpdf2 is installed."""
    return importlib.util.find_spec("fpdf") is not None


def write_pdf(document: Document, path: Path) -> None:
    """The same report on A4 pages. Needs fpdf2."""
    from fpdf import FPDF

    class Pages(FPDF):
        def footer(self) -> None:
            self.set_y(-12)
            self.set_font("DejaVu", size=7)
            self.cell(0, 6, f"{NOTE}   {self.page_no()} / {{nb}}", align="C")

    pages = Pages(format="A4")
    pages.set_title(document.title)
    pages.set_lang("en")
    pages.set_auto_page_break(True, margin=16)
    for style, file in (("", "DejaVuSans.ttf"), ("B", "DejaVuSans-Bold.ttf")):
        pages.add_font("DejaVu", style, _fonts() / file)
    pages.add_page()
    _text(pages, document.title, size=16, bold=True)
    _text(pages, document.lead)
    for warning in (NOTE, *document.warnings):
        _text(pages, warning, bold=True)
    for section in document.sections:
        pages.ln(3)
        if pages.will_page_break(_opening_height(section, pages.epw)):
            pages.add_page()
        _text(pages, section.title, size=12, bold=True)
        for paragraph in section.paragraphs:
            _text(pages, paragraph)
        for picture in section.pictures:
            _picture(pages, picture)
        for table in section.tables:
            _table(pages, table)
    with atomic_output(path) as temporary:
        temporary.write_bytes(bytes(pages.output()))


def _opening_height(section: Section, width: float) -> float:
    """What must stay together, mm: the heading, the paragraphs and what follows them."""
    height = 12.0 + sum(4.5 * (1 + len(paragraph) // 110) for paragraph in section.paragraphs)
    if section.pictures:
        png = section.pictures[0].png
        return height + min(width, _PICTURE_MM) * int.from_bytes(png[20:24], "big") / _pixels(png)
    return height + 20


def _fonts() -> Path:
    """matplotlib ships fonts that know minus signs, accents and Greek letters."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def _text(pages: FPDF, text: str, *, size: float = 9, bold: bool = False) -> None:
    pages.set_font("DejaVu", "B" if bold else "", size)
    pages.multi_cell(0, size * 0.5, text, new_x="LMARGIN", new_y="NEXT", align="L")
    pages.ln(1)


def _picture(pages: FPDF, picture: Picture) -> None:
    width = min(pages.epw, _PICTURE_MM)
    pages.image(io.BytesIO(picture.png), w=width, alt_text=picture.alt)
    _text(pages, picture.caption, size=7.5)


def _table(pages: FPDF, table: Table) -> None:
    _text(pages, table.caption, bold=True, size=8)
    pages.set_font("DejaVu", size=6.5 if len(table.header) < 9 else 5.6)
    longest = [
        max(8, min(46, max(len(str(row[index])) for row in (table.header, *table.rows))))
        for index in range(len(table.header))
    ]
    with pages.table(
        col_widths=tuple(longest), line_height=3.4, text_align="LEFT", borders_layout="HORIZONTAL_LINES"
    ) as body:
        for row in (table.header, *table.rows):
            line = body.row()
            for cell in row:
                line.cell(str(cell))
    pages.ln(2)
