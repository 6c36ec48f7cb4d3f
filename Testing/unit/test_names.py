"""One table of names: every id that a table or a form shows has one that a person can read."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from modality_synthesis import names
from modality_synthesis.choices import REFERENCE_REGIONS
from modality_synthesis.evaluation.metrics import METRICS
from modality_synthesis.evaluation.region_comparison import RegionComparison
from modality_synthesis.evaluation.region_table import RegionRow, in_order
from modality_synthesis.evaluation.study import AgreementRow
from modality_synthesis.preprocessing.atlas import regions
from modality_synthesis.preprocessing.meta_regions import CENTILOID


def is_readable(name: str) -> bool:
    """No id: begins with a capital, no underscores, no prefixes of a program."""
    return name[0].isupper() and "_" not in name and not re.search(r"\bctx\b|-[lr]h-|[a-z][A-Z]", name)


def test_every_region_of_the_atlas_has_a_name_of_its_own():
    found = {(region.name, region.hemisphere): region.title for region in regions()}
    assert not {name for name in found.values() if not is_readable(name)}
    assert len(set(found.values())) == len(found)
    assert set(names.REGIONS) == {region.structure for region in regions()}


def test_the_side_is_said_once():
    assert names.region_name("ctx-lh-precuneus", "left") == names.region_name("ctx-lh-precuneus") == "Precuneus, left"
    assert names.region_name("braak_3", "right") == "Braak III, right"
    assert names.region_name("ctx-precuneus", "both") == "Precuneus"
    assert names.region_name("my_region", "left") == "my_region, left"  # a table of another program


def test_whatever_can_be_chosen_has_a_name():
    assert list(names.REFERENCE_REGIONS) == list(REFERENCE_REGIONS)
    assert set(names.TRACERS) == set(CENTILOID)
    assert set(METRICS) - set(names.METRICS) == {name for name in METRICS if " " in name}  # those are words already
    for table in (names.REFERENCE_REGIONS, names.METRICS, names.TRACERS):
        assert all(is_readable(name) for name in table.values())


def test_a_reference_region_is_named_however_it_is_spelled():
    spelled = ("cerebellar-gray", "cerebellar gray matter", "Cerebellar grey matter")
    assert {names.reference_region_name(name) for name in spelled} == {"Cerebellar gray matter"}
    assert names.reference_region_name("custom mask") == "custom mask"


@pytest.mark.parametrize("modality", names.PRIMARY_REGIONS)
def test_what_matters_for_the_tracer_stands_first(modality):
    listed = list(dict.fromkeys(region.name for region in in_order(modality)))
    first = names.PRIMARY_REGIONS[modality]
    assert tuple(listed[: len(first)]) == first


@pytest.mark.parametrize("row", [RegionRow, RegionComparison, AgreementRow])
def test_tables_keep_the_id_and_have_the_name_beside_it(row):
    columns = list(row.__dataclass_fields__)
    assert columns[columns.index("region") : columns.index("region") + 3] == ["region", "name", "hemisphere"]


def test_long_names_that_differ_at_their_end_stay_different():
    long = "FDG PET from T1w MRI with clinical variables"
    short = {names.shortened(text, 24) for text in (long + " (diffusion)", long + " (regression)", long)}
    assert len(short) == 3
    assert all(len(text) <= 24 for text in short)
    assert names.shortened("FDG PET", 24) == "FDG PET"


def test_names_need_nothing_but_python():
    """The panel reads them before anything is installed."""
    heavy = "{'numpy', 'SimpleITK', 'pydantic'}"
    code = f"import sys; import modality_synthesis.names; print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
