"""The worker of the modules' self tests: it speaks the protocol and computes next to nothing.

Run by a path, like `worker.py`; it needs Python alone, so that the tests run where nothing is installed. It knows
`synthesize`, `compare` and `suvr`, and reads and writes as much of NRRD and NIfTI as the panel and this file need.
"""

import array
import csv
import gzip
import json
import os
import struct
import sys

_TYPES = {
    "signed char": "b",
    "unsigned char": "B",
    "short": "h",
    "unsigned short": "H",
    "int": "i",
    "unsigned int": "I",
    "float": "f",
    "double": "d",
}
_FLOAT_NIFTI, _SCANNER = 16, 1


class Image:
    """Voxels on a grid: the first index changes fastest; `axes` (one for each index) and `origin` are LPS, in mm."""

    def __init__(self, values: list, sizes: list, axes: list, origin: list) -> None:
        self.values, self.sizes, self.axes, self.origin = values, sizes, axes, origin

    def with_values(self, values: list) -> "Image":
        """Other voxels on the same grid."""
        return Image(values, self.sizes, self.axes, self.origin)


def read_nrrd(path: str) -> Image:
    """A three-dimensional NRRD file of little-endian numbers."""
    with open(path, "rb") as file:
        head, _, data = file.read().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in head.decode("ascii", "replace").splitlines() if ": " in line)
    if fields.get("encoding") in ("gzip", "gz"):
        data = gzip.decompress(data)
    numbers = array.array(_TYPES[fields["type"]])
    numbers.frombytes(data)
    axes = [_vector(text) for text in fields["space directions"].replace("none", "").split()]
    return Image(list(numbers), [int(n) for n in fields["sizes"].split()], axes, _vector(fields["space origin"]))


def _vector(text: str) -> list:
    return [float(part) for part in text.strip("()").split(",")]


def write_nrrd(image: Image, path: str) -> None:
    """Write 32-bit numbers."""
    directions = " ".join("(" + ",".join(repr(value) for value in axis) + ")" for axis in image.axes)
    head = [
        "NRRD0004",
        "type: float",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(size) for size in image.sizes),
        "space directions: " + directions,
        "kinds: domain domain domain",
        "endian: little",
        "encoding: raw",
        "space origin: (" + ",".join(repr(value) for value in image.origin) + ")",
    ]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write("\n".join(head).encode("ascii") + b"\n\n" + array.array("f", image.values).tobytes())


def write_nifti(image: Image, path: str) -> None:
    """Write 32-bit numbers, compressed."""
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *image.sizes, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, _FLOAT_NIFTI, 32)
    spacing = [sum(value * value for value in axis) ** 0.5 for axis in image.axes]
    struct.pack_into("<8f", header, 76, 1.0, *spacing, 0, 0, 0, 0)
    struct.pack_into("<2f", header, 108, 352.0, 1.0)
    struct.pack_into("<b", header, 123, 2)  # mm
    struct.pack_into("<2h", header, 252, 0, _SCANNER)
    for row in range(3):
        sign = 1.0 if row == 2 else -1.0  # NIfTI is RAS
        numbers = [sign * image.axes[column][row] for column in range(3)] + [sign * image.origin[row]]
        struct.pack_into("<4f", header, 280 + 16 * row, *numbers)
    header[344:348] = b"n+1\0"
    with gzip.open(path, "wb") as file:
        file.write(bytes(header) + b"\0" * 4 + array.array("f", image.values).tobytes())


def say(**message: object) -> None:
    """One message of the protocol."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def option(name: str) -> str:
    """The value after an option; empty when it is not given."""
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else ""


def write_json(path: str, content: dict) -> str:
    """Write a record; returns its path."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file)
    return path


def write_table(path: str, rows: list) -> None:
    """Write a CSV file."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def synthesize() -> dict:
    """The input, scaled to 0 to 1.8."""
    image, output = read_nrrd(sys.argv[2]), option("-o")
    low, high = min(image.values), max(image.values)
    write_nrrd(image.with_values([1.8 * (value - low) / (high - low) for value in image.values]), output)
    record = write_json(
        os.path.splitext(output)[0] + ".json", {"SyntheticData": True, "Model": {"id": option("--model")}}
    )
    return {"files": {"volume": output, "sidecar": record}}


def compare() -> dict:
    """Difference maps, a few figures and, where an MRI is given, two regions."""
    synthetic, reference, folder = read_nrrd(sys.argv[2]), read_nrrd(sys.argv[3]), option("-o")
    os.makedirs(folder, exist_ok=True)
    signed = [a - b for a, b in zip(synthetic.values, reference.values)]  # noqa: B905 - Python 3.9
    relative = [100 * d / r if abs(r) > 0.1 else 0.0 for d, r in zip(signed, reference.values)]  # noqa: B905
    write_nifti(reference.with_values(signed), os.path.join(folder, "difference.nii.gz"))
    write_nifti(reference.with_values([abs(d) for d in signed]), os.path.join(folder, "absolute_difference.nii.gz"))
    write_nifti(reference.with_values(relative), os.path.join(folder, "relative_difference.nii.gz"))
    if option("--mri"):
        title = [
            "region",
            "hemisphere",
            "kind",
            "volume_ml",
            "synthetic",
            "reference",
            "bias",
            "bias_percent",
            "mae",
            "rmse",
        ]
        region = ["ctx-lh-precuneus", "left", "region", 10.0, 1.1, 1.0, 0.1, 10.0, 0.1, 0.1]
        meta = ["fdg_ad_signature", "both", "meta-region", 40.0, 1.2, 1.25, -0.05, -4.0, 0.1, 0.1]
        write_table(os.path.join(folder, "regions.csv"), [title, region, meta])
    mae = sum(abs(d) for d in signed) / len(signed)
    facts = {
        "metrics": {"MAE": mae, "SSIM": 0.9},
        "whole_volume": {"MAE": mae, "SSIM": 0.9},
        "definitions": {"MAE": "mean absolute error", "SSIM": "mean local SSIM"},
        "details": {"MAE": {"unit": "target units", "ideal": 0.0}, "SSIM": {"unit": "", "ideal": 1.0}},
    }
    return {"files": {"metrics": write_json(os.path.join(folder, "metrics.json"), facts), "maps": folder}}


def suvr() -> dict:
    """The PET as it is, and two regions."""
    write_nrrd(read_nrrd(sys.argv[2]), option("--image"))
    table = option("-o")
    title = ["region", "hemisphere", "kind", "volume_ml", "suvr", "sd", "median", "asymmetry_percent"]
    region = ["ctx-lh-precuneus", "left", "region", 10.0, 1.22, 0.1, 1.2, ""]
    meta = ["fdg_ad_signature", "both", "meta-region", 40.2, 1.31, 0.2, 1.3, -4.0]
    write_table(table, [title, region, meta])
    record = {
        "Quantity": "SUVR",
        "Units": "SUVR",
        "ReferenceRegion": option("--reference-region"),
        "ReferenceMean": 1.0,
    }
    write_json(table + ".json", record)
    return {"files": {"table": table, "image": option("--image")}}


def main() -> None:
    """Run the command that the panel asks for."""
    commands = {"synthesize": synthesize, "compare": compare, "suvr": suvr}
    if sys.argv[1] not in commands:
        raise SystemExit(2)
    say(type="status", message="Starting", pid=os.getpid())
    say(type="progress", fraction=0.1, stage="Reading")
    result = commands[sys.argv[1]]()
    say(type="progress", fraction=1.0, stage="Done")
    say(type="result", **result)


if __name__ == "__main__":
    main()
