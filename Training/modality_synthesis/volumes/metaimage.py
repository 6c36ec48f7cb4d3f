"""MetaImage (.mha, .mhd): checks that ITK leaves out when reading; ITK writes it exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes.checks import check_shape
from modality_synthesis.volumes.itk_paths import path_for_itk
from modality_synthesis.volumes.paths import cannot_read
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
    components = int(header.fields.get("elementnumberofchannels", "1"))
    check_shape(header.sizes, components, path.name)
    file = data_file(path, header)
    if not file.is_file():
        raise BadInputError(f"{path.name}: its data file {file.name} is missing. Keep the two files together.")
    if header.fields.get("binarydata", "True").lower() == "false":
        raise BadInputError(f"{path.name} stores its voxels as text. Save it as a binary .mha file.")
    skip = int(header.fields.get("headersize", "0"))
    check_payload(
        file,
        name=path.name,
        offset=header.end if file == path else max(skip, 0),
        expected=math.prod(header.sizes) * _element(header),
        compression="zlib" if header.fields.get("compresseddata", "False").lower() == "true" else "none",
    )


def write(image: sitk.Image, path: Path, *, description: str) -> None:
    """Write a compressed .mha; `description` becomes the header's comment."""
    labelled = sitk.Image(image)
    for key in labelled.GetMetaDataKeys():
        labelled.EraseMetaData(key)
    if description:
        labelled.SetMetaData("Comment", " ".join(description.split())[:255])
    with path_for_itk(path, write=True) as name:
        sitk.WriteImage(labelled, name, useCompression=True, compressionLevel=1)


def _element(header: Header) -> int:
    return _BYTES[header.fields["elementtype"].upper().removeprefix("MET_")]
