"""MetaImage (.mha, .mhd): checks that ITK leaves out when reading; ITK writes it exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes.checks import check_shape
from modality_synthesis.volumes.itk_paths import path_for_itk
from modality_synthesis.volumes.paths import cannot_read, missing_data
from modality_synthesis.volumes.payload import check_payload

_BYTES = {"CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "LONG": 4, "ULONG": 4}
_BYTES |= {"LONG_LONG": 8, "ULONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}


@dataclass(frozen=True)
class Header:
    """The fields of a MetaImage header, names in lower case, and where its text ends in the file."""

    fields: dict[str, str]
    end: int

    @property
    def sizes(self) -> list[int]:
        """Voxels per axis, x first."""
        return [int(count) for count in self.fields["dimsize"].split()]


def read_header(path: Path) -> Header:
    """The header of a .mha or .mhd file.

    Raises:
        BadInputError: not a MetaImage file, or essential fields are missing.
    """
    fields: dict[str, str] = {}
    try:
        with path.open("rb") as stream:
            while line := stream.readline(1 << 16):
                key, equals, value = line.decode("utf-8", "replace").partition("=")
                if not equals:
                    break
                fields[key.strip().lower()] = value.strip()
                # The voxels follow this line.
                if key.strip().lower() == "elementdatafile":
                    break
            header = Header(fields, stream.tell())
        sound = "elementdatafile" in fields and all(count > 0 for count in header.sizes) and _element(header) > 0
    except OSError as error:
        raise cannot_read(path, error) from None
    except (KeyError, ValueError):
        sound = False
    if not sound:
        raise BadInputError(
            f"{path.name} is not a MetaImage file although it is named like one, or its header is damaged. "
            "Export it again."
        )
    return header


def data_file(path: Path, header: Header) -> Path:
    """Where the voxels are: the file itself, or the one its header names."""
    named = header.fields["elementdatafile"]
    if named.upper() == "LOCAL":
        return path
    if named.upper().startswith("LIST") or "%" in named:
        raise BadInputError(f"{path.name} is spread over several data files. Save it as one .mha file.")
    return path.parent / named


def verify(path: Path) -> None:
    """Refuse a MetaImage file that ITK would misread: wrong kind of voxels, truncated or damaged data.

    Raises:
        BadInputError: says which.
    """
    header = read_header(path)
    components = _integer(header, "elementnumberofchannels", 1, path)
    check_shape(header.sizes, components, path.name)
    file = data_file(path, header)
    if not file.is_file():
        raise missing_data(path, file, "ElementDataFile")
    if header.fields.get("binarydata", "True").lower() == "false":
        raise BadInputError(f"{path.name} stores its voxels as text. Save it as a binary .mha file.")
    skip = _integer(header, "headersize", 0, path)
    check_payload(
        file,
        name=path.name,
        offset=header.end if file == path else max(skip, 0),
        expected=math.prod(header.sizes) * _element(header),
        compression="zlib" if header.fields.get("compresseddata", "False").lower() == "true" else "none",
    )


def scaled(path: Path, image: sitk.Image, reporter: Reporter) -> sitk.Image:
    """Apply the slope and offset that turn stored numbers into intensities, which ITK ignores.

    Raises:
        BadInputError: they are no numbers.
    """
    fields = read_header(path).fields
    try:
        slope = float(fields.get("elementtointensityfunctionslope", "1"))
        offset = float(fields.get("elementtointensityfunctionoffset", "0"))
    except ValueError:
        slope = offset = math.nan
    if not (math.isfinite(slope) and math.isfinite(offset) and slope != 0):
        raise BadInputError(f"{path.name}: its ElementToIntensityFunction is no number. Correct the header.")
    if (slope, offset) == (1.0, 0.0):
        return image
    reporter.finding(
        Finding(
            "intensity-function",
            "look",
            f"{path.name}: its header says that intensities are {slope:g} times the stored numbers plus {offset:g}; "
            "that was applied. 3D Slicer and ITK show the stored numbers.",
            "If the stored numbers are meant, remove the two ElementToIntensityFunction lines.",
        )
    )
    return sitk.ShiftScale(image, offset / slope, slope, sitk.sitkFloat32)


def write(image: sitk.Image, path: Path, *, description: str) -> None:
    """Write a compressed .mha; `description` becomes the header's comment."""
    labelled = sitk.Image(image)
    for key in labelled.GetMetaDataKeys():
        labelled.EraseMetaData(key)
    if description:
        labelled.SetMetaData("Comment", " ".join(description.split())[:255])
    with path_for_itk(path, write=True) as name:
        sitk.WriteImage(labelled, name, useCompression=True, compressionLevel=1)


def _integer(header: Header, key: str, default: int, path: Path) -> int:
    try:
        return int(header.fields.get(key, default))
    except ValueError:
        raise BadInputError(f"{path.name} is damaged: {key} in its header is no number. Export it again.") from None


def _element(header: Header) -> int:
    return _BYTES[header.fields["elementtype"].upper().removeprefix("MET_")]
