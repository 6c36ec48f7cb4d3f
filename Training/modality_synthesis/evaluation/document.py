"""A report as data, and how it becomes one HTML file or a PDF."""

from __future__ import annotations

import base64
import importlib.util
import io
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modality_synthesis.evaluation.report_figures import Picture
from modality_synthesis.volumes import atomic_output

if TYPE_CHECKING:
    from fpdf import FPDF

_MM_PER_INCH = 25.4
_CAPTION_MM = 18.0
FIGURES = "figures"
NOTE = "Research use only, not for diagnosis. Synthetic volumes are computed, not measured."


@dataclass(frozen=True)
class Table:
    """Rows of texts.

    Attributes:
        caption: above.
        header: of the columns.
        rows: as many texts as the header has.
        wide: a long list that starts folded on screens.
        best: (row, column) of the cells in bold: the best of their kind, whoever reached it.
        marked: rows of what is judged.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    wide: bool = False
    best: Collection[tuple[int, int]] = ()
    marked: Collection[int] = ()


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, pictures, tables and a long literal text below it."""

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    literal: str = ""


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: of the page.
        lead: what was done, in a sentence or two.
        warnings: shown before everything else but the verdict.
        sections: in order.
        verdict: what came out, a sentence each; on top.
    """

    title: str
    lead: str
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = field(default_factory=list)
    verdict: Sequence[str] = ()

    @property
    def pictures(self) -> list[Picture]:
        """Of all sections."""
        return [picture for section in self.sections for picture in section.pictures]


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
    environment.filters["data"] = lambda png: "data:image/png;base64," + base64.b64encode(png).decode()
    template = (Path(__file__).parent / "report.html.jinja").read_text(encoding="utf-8")
    text = environment.from_string(template).render(document=document, note=NOTE, figures=FIGURES)
    with atomic_output(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_figures(document: Document, folder: Path) -> list[Path]:
    """Write every figure as PDF, SVG and PNG into `folder/figures`; returns the files."""
    files = figure_files(document, folder)
    for path, data in files.items():
        with atomic_output(path) as temporary:
            temporary.write_bytes(data)
    return list(files)


def figure_files(document: Document, folder: Path) -> dict[Path, bytes]:
    """Every figure's files beside a report, with their contents."""
    return {folder / FIGURES / name: data for picture in document.pictures for name, data in picture.files.items()}


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
    for sentence in document.verdict:
        _text(pages, sentence, size=11, bold=True)
    _text(pages, document.lead)
    for warning in (NOTE, *document.warnings):
        _text(pages, warning, bold=True)
    for section in document.sections:
        pages.ln(3)
        if pages.will_page_break(_opening_height(section, pages)):
            pages.add_page()
        _text(pages, section.title, size=12, bold=True)
        for paragraph in section.paragraphs:
            _text(pages, paragraph)
        for picture in section.pictures:
            _picture(pages, picture)
        for table in section.tables:
            _table(pages, table)
        if section.literal:
            _text(pages, section.literal, size=6.5)
    with atomic_output(path) as temporary:
        temporary.write_bytes(bytes(pages.output()))


def _opening_height(section: Section, pages: FPDF) -> float:
    """What must stay together, mm: the heading, the paragraphs and what follows them."""
    height = 12.0 + sum(4.5 * (1 + len(paragraph) // 110) for paragraph in section.paragraphs)
    return height + (_printed(section.pictures[0], pages)[1] + _CAPTION_MM if section.pictures else 20)


def _printed(picture: Picture, pages: FPDF) -> tuple[float, float]:
    """Width and height of a figure on the page, mm: its own size, or what the page holds."""
    width, height = (_MM_PER_INCH * inches for inches in picture.size)
    room = pages.eph - _CAPTION_MM
    share = min(1.0, pages.epw / width, room / height)
    return share * width, share * height


def _fonts() -> Path:
    """matplotlib ships fonts that know minus signs, accents and Greek letters."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def _text(pages: FPDF, text: str, *, size: float = 9, bold: bool = False) -> None:
    pages.set_font("DejaVu", "B" if bold else "", size)
    pages.multi_cell(0, size * 0.5, text, new_x="LMARGIN", new_y="NEXT", align="L")
    pages.ln(1)


def _picture(pages: FPDF, picture: Picture) -> None:
    width, height = _printed(picture, pages)
    if pages.will_page_break(height + _CAPTION_MM):
        pages.add_page()
    pages.image(io.BytesIO(picture.png), w=width, h=height, alt_text=picture.alt)
    _text(pages, picture.caption, size=7.5)


def _table(pages: FPDF, table: Table) -> None:
    from fpdf.fonts import FontFace

    _text(pages, table.caption, bold=True, size=8)
    pages.set_font("DejaVu", size=6.5 if len(table.header) < 9 else 5.6)
    longest = [
        max(11, min(36, max(len(str(row[index])) for row in (table.header, *table.rows))))
        for index in range(len(table.header))
    ]
    with pages.table(
        col_widths=tuple(longest), line_height=3.4, text_align="LEFT", borders_layout="HORIZONTAL_LINES"
    ) as body:
        for index, row in enumerate((table.header, *table.rows), start=-1):
            line = body.row()
            for column, cell in enumerate(row):
                bold = (index, column) in table.best or (index in table.marked and column == 0)
                line.cell(str(cell), style=FontFace(emphasis="BOLD") if bold else None)
    pages.ln(2)
