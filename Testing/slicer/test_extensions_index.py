"""The index of Slicer's extensions checks an entry before it takes it: the same checks, as far as they need no network."""

from __future__ import annotations

import json
import re
import struct
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fakes import MODULES, REPOSITORY

ENTRY = REPOSITORY / "Resources" / "ModalitySynthesis.json"
CMAKE = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
# Categories that fit, of those that the index accepts.
CATEGORIES = {"Image Synthesis", "Nuclear Medicine", "Neuroimaging", "Quantification"}
# Schema 1.0.1: no other key.
REQUIRED = {"$schema", "category", "scm_url"}
OPTIONAL = {"build_dependencies", "build_subdirectory", "enabled", "scm_revision", "scm_type", "tier"}
RAW = "https://raw.githubusercontent.com/"
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def entry() -> dict:
    """The index's file of this extension."""
    return json.loads(ENTRY.read_text(encoding="utf-8"))


def variable(name: str) -> str:
    """A variable of CMakeLists.txt; the index reads it with a pattern for one line."""
    [value] = re.findall(rf'^set\({name} "([^"\n]+)"\)$', CMAKE, re.MULTILINE)
    return value


def local(url: str) -> Path:
    """The file of this repository that a raw address shows."""
    owner_and_name = urlsplit(variable("EXTENSION_HOMEPAGE")).path.strip("/")
    start = f"{RAW}{owner_and_name}/main/"
    assert url.startswith(start), url
    return REPOSITORY / url.removeprefix(start)


def png_size(path: Path) -> tuple[int, int]:
    """Width and height of what is really a PNG."""
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n"), path
    return struct.unpack(">II", head[16:24])


def tracked_files() -> list[Path]:
    """The files of a checkout."""
    listed = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        return [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    unwanted = {".git", ".venv", "build", "dist", "__pycache__"}
    return [path for path in REPOSITORY.rglob("*") if path.is_file() and not unwanted & set(path.parts)]


def test_keys(entry: dict) -> None:
    assert set(entry) >= REQUIRED
    assert set(entry) <= REQUIRED | OPTIONAL
    assert all(entry[key] for key in REQUIRED)
    assert re.fullmatch(
        r"https://raw\.githubusercontent\.com/Slicer/Slicer/main/Schemas/"
        r"slicer-extension-catalog-entry-schema-v1\.0\.[12]\.json#", entry["$schema"]
    )  # fmt: skip
    assert "\r" not in ENTRY.read_bytes().decode("utf-8")
    assert ENTRY.read_bytes().endswith(b"}\n")


def test_name_is_the_project_s(entry: dict) -> None:
    [project] = re.findall(r"project\s*\(\s*([^\s)]+)", CMAKE)
    assert ENTRY.stem == project
    assert not project.startswith("Slicer")
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]+", project)
    assert project not in MODULES


def test_category_and_tier(entry: dict) -> None:
    assert entry["category"] in CATEGORIES
    assert entry["tier"] in (1, 2, 3, 4, 5)
    for name in MODULES:
        text = (REPOSITORY / name / f"{name}.py").read_text(encoding="utf-8")
        assert f'"qSlicerAbstractCoreModule", "{entry["category"]}"' in text


def test_repository(entry: dict) -> None:
    url = urlsplit(entry["scm_url"])
    assert url.scheme == "https"
    assert url.netloc == "github.com"
    assert url.path.endswith(".git")
    assert Path(url.path).stem.startswith("Slicer")
    assert entry["scm_revision"] == "main"
    assert variable("EXTENSION_HOMEPAGE") == entry["scm_url"].removesuffix(".git")
    assert entry["build_subdirectory"] == "."


def test_dependencies_agree(entry: dict) -> None:
    named = variable("EXTENSION_DEPENDS")
    assert entry["build_dependencies"] == ([] if named == "NA" else named.split())


def test_description_says_what_it_does() -> None:
    text = variable("EXTENSION_DESCRIPTION")
    assert 40 <= len(text) <= 250
    assert text.endswith(".")
    assert "<" not in text
    assert ";" not in text  # a list to CMake
    for word in ("PET", "MRI", "CT"):
        assert word in text
    assert variable("EXTENSION_CONTRIBUTORS").strip()


def test_icon_is_a_png_of_128_pixels() -> None:
    icon = local(variable("EXTENSION_ICONURL"))
    assert png_size(icon) == (128, 128)
    assert icon in tracked_files()
    assert icon.stat().st_size < 100_000


def test_screenshots_are_png_and_in_the_repository() -> None:
    urls = variable("EXTENSION_SCREENSHOTURLS").split()
    tracked = tracked_files()
    assert len(urls) >= 1
    assert len(set(urls)) == len(urls)
    for url in urls:
        path = local(url)
        assert path.suffix == ".png"
        assert path in tracked, path
        width, height = png_size(path)
        assert width >= 400, path
        assert height >= 300, path
        assert path.stat().st_size < 2 * MEGABYTE, path


def test_every_address_is_https() -> None:
    addresses = re.findall(r"\bhttps?://[^\s\"]+", CMAKE + ENTRY.read_text(encoding="utf-8"))
    assert len(addresses) > 3
    assert all(address.startswith("https://") for address in addresses)


def test_license_is_at_the_root() -> None:
    assert "Apache License" in (REPOSITORY / "LICENSE").read_text(encoding="utf-8")[:300]
    for name in ("LICENSE", "README"):
        assert f"set(EXTENSION_{name}_FILE " in CMAKE  # else Slicer's own are packaged
    assert "category" not in CMAKE.lower()  # obsolete there


def test_checkout_is_small() -> None:
    """The index refuses more than 100 MB; what is much of it is data that ships."""
    sizes = {path: path.stat().st_size for path in tracked_files() if path.is_file()}
    assert len(sizes) > 200
    assert sum(sizes.values()) < 90 * MEGABYTE
    assert max(sizes.values()) < 30 * MEGABYTE


def test_module_icons_and_thumbnails() -> None:
    for name in MODULES:
        icons = REPOSITORY / name / "Resources" / "Icons"
        assert (icons / f"{name}.svg").is_file()
        listed = (REPOSITORY / name / "CMakeLists.txt").read_text(encoding="utf-8").replace("${MODULE_NAME}", name)
        for path in (REPOSITORY / name / "Resources").rglob("*.*"):
            assert path.relative_to(REPOSITORY / name).as_posix() in listed, path  # a forgotten file is not installed
        for path in icons.glob("*.png"):
            assert min(png_size(path)) >= 128


def test_nothing_is_executed_or_downloaded_by_the_build() -> None:
    for path in (REPOSITORY / "CMakeLists.txt", *(REPOSITORY / name / "CMakeLists.txt" for name in MODULES)):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\b(execute_process|ExternalProject|FetchContent|file\s*\(\s*DOWNLOAD)", text), path
        assert "add_subdirectory(Training" not in text


def test_readme_answers_the_reviewers_questions() -> None:
    """Picture, modules, tutorial, citation, licence, what is downloaded and how large, research use."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert re.search(r"!\[[^\]]+\]\(Resources/Screenshots/\w[\w-]*\.png\)", text)
    for wanted in (
        "MRI to PET",
        "CT to MR",
        "In 3D Slicer",
        "citation",
        "Apache-2.0",
        "Sample Data",
        "GB",
        "not for diagnosis",
    ):
        assert wanted.lower() in text.lower(), wanted
