"""What a row of a batch costs beside a synthesis of its own: `python batch_cost.py [ROWS]`, CPU seconds and ratios.

A row may cost what `synthesize` costs without its imports and the loading of the model.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HEAD = REPOSITORY / "Resources" / "SampleData" / "sub-forrest_T1w.nii.gz"
COMMAND = [sys.executable, "-m", "modality_synthesis"]
_MODEL = ["--model", "demo-t1w-fdg", "--device", "cpu"]


def children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cost(*arguments: str) -> float:
    """CPU seconds of a command and its processes."""
    before = children()
    subprocess.run([*COMMAND, *arguments, "--progress", "none"], check=True)
    return children() - before


def small_head(folder: Path) -> Path:
    """The sample head at 3 mm."""
    from modality_synthesis.preprocessing.resampling import resample_isotropic
    from modality_synthesis.volumes import read_image, write_image

    path = folder / "head.nii.gz"
    write_image(resample_isotropic(read_image(HEAD), 3.0), path)
    return path


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        head = small_head(folder)
        lines = [f"sub-{number:02d},{head}" for number in range(rows)]
        for count in (1, rows):
            (folder / f"{count}.csv").write_text("subject,T1w\n" + "\n".join(lines[:count]) + "\n")
        single = cost("synthesize", str(head), "-o", str(folder / "pet.nii.gz"), *_MODEL)
        one = cost("batch", str(folder / "1.csv"), "-o", str(folder / "one"), *_MODEL)
        many = cost("batch", str(folder / f"{rows}.csv"), "-o", str(folder / "many"), *_MODEL)
        row = (many - one) / (rows - 1)
        print(json.dumps({
            "synthesize_cpu_s": round(single, 2), "batch_of_one_cpu_s": round(one, 2), "rows": rows,
            "batch_cpu_s": round(many, 2), "further_row_cpu_s": round(row, 2),
            "row_to_synthesize": round(row / single, 3),
        }, indent=2))  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
