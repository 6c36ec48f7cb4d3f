"""Speaks the worker protocol like `modality_synthesis.cli` and computes next to nothing.

`FAKE_WORKER_MODE` makes it misbehave: slow, deaf (ignores cancel, with a child process), fail, memory, shift, resize,
silent, garbage, partly, flood. With `--serve` it takes jobs one after another; `FAKE_WORKER_SERVES` makes that go wrong: never
(it ends at once), deaf (it takes no job), dying (it ends when a job comes).
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

np: Any = None  # imported by the commands that compute
sitk: Any = None

MODE = os.environ.get("FAKE_WORKER_MODE", "")
SERVES = os.environ.get("FAKE_WORKER_SERVES", "")
PID_FILE = os.environ.get("FAKE_WORKER_PIDS", "")


def say(**message: object) -> None:
    """One protocol message."""
    print(json.dumps(message), flush=True)


def progress(fraction: float, stage: str) -> None:
    """A progress message."""
    say(type="progress", fraction=fraction, stage=stage, remaining=3.2 if fraction < 1 else 0.0)


def cancelled(*arguments: object) -> None:
    """What Ctrl-C does to the real one."""
    try:
        say(type="error", code="CANCELLED", message="Cancelled.")
    finally:
        os._exit(130)  # also when nobody listens any more


def watch_input() -> None:
    """Stop when the panel closes standard input."""
    while os.read(0, 1):
        pass
    if MODE != "deaf":
        cancelled()


def import_libraries() -> None:
    """They cost more than everything else here."""
    global np, sitk
    import numpy as np
    import SimpleITK as sitk


def option(name: str, default: str = "") -> str:
    """The value after an option."""
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def write_like(image: sitk.Image, array: np.ndarray, path: str) -> str:
    """Write voxels on an image's grid."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    result = sitk.GetImageFromArray(array)
    result.CopyInformation(image)
    sitk.WriteImage(result, path)
    return path


def write_table(path: Path, *rows: list) -> None:
    """Write a CSV file."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def synthesize() -> dict:
    """Twice the input over its maximum."""
    image = sitk.ReadImage(sys.argv[2])
    output = option("-o")
    array = sitk.GetArrayFromImage(image).astype(np.float32)
    array = 1.8 * (array - array.min()) / (array.max() - array.min())
    if MODE == "shift":
        image.SetOrigin([value + 5.0 for value in image.GetOrigin()])
    if MODE == "resize":
        array = array[:-2]
        image = image[:, :, :-2]
    files = {"volume": write_like(image, array, output)}
    sidecar = Path(output).with_suffix(".json")
    record = {"SyntheticData": True, "Model": {"id": option("--model")}, "Arguments": sys.argv[1:]}
    sidecar.write_text(json.dumps(record), encoding="utf-8")
    files["sidecar"] = str(sidecar)
    if option("--uncertainty"):
        files["uncertainty"] = write_like(image, 0.1 * array, option("--uncertainty"))
    return {"files": files, "model": option("--model")}


def compare() -> dict:
    """Differences on the reference's grid, and some figures."""
    synthetic = sitk.Cast(sitk.ReadImage(sys.argv[2]), sitk.sitkFloat32)
    reference = sitk.Cast(sitk.ReadImage(sys.argv[3]), sitk.sitkFloat32)
    folder = Path(option("-o"))
    registration = None
    if "--register" in sys.argv:
        registration = {"shift_mm": 3.2, "rotation_degrees": 1.5, "correlation_after": 0.93}
        reference = sitk.Resample(reference, synthetic, sitk.Transform(), sitk.sitkLinear, 0.0)
        write_like(synthetic, sitk.GetArrayFromImage(reference), str(folder / "reference_aligned.nii.gz"))
    made = sitk.GetArrayFromImage(sitk.Resample(synthetic, reference, sitk.Transform(), sitk.sitkLinear, 0.0))
    measured = sitk.GetArrayFromImage(reference)
    difference = made - measured
    relative = np.divide(100 * difference, measured, out=np.zeros_like(difference), where=np.abs(measured) > 0.1)
    write_like(reference, difference, str(folder / "difference.nii.gz"))
    write_like(reference, np.abs(difference), str(folder / "absolute_difference.nii.gz"))
    write_like(reference, relative, str(folder / "relative_difference.nii.gz"))
    write_like(reference, ((measured > 0.1) | (made > 0.1)).astype(np.uint8), str(folder / "compared.nii.gz"))
    calibration = None
    if option("--uncertainty"):
        sitk.ReadImage(option("--uncertainty"))
        calibration = {
            "levels": [0.5, 0.9],
            "coverage": [0.41, 0.82],
            "width": [0.1, 0.3],
            "ause": 0.2,
            "spearman": 0.6,
        }
    if option("--mri"):
        sitk.ReadImage(option("--mri"))
        write_table(
            folder / "regions.csv",
            [
                "region",
                "hemisphere",
                "kind",
                "volume_ml",
                "synthetic_mean",
                "reference_mean",
                "bias",
                "bias_percent",
                "mae",
                "rmse",
                "synthetic",
                "model",
            ],
            ["ctx-lh-precuneus", "left", "region", 10.0, 1.1, 1.0, 0.1, 10.0, 0.1, 0.1, "yes", "m 1"],
            ["fdg_ad_signature", "both", "meta-region", 40.0, 1.2, 1.25, -0.05, -4.0, 0.1, 0.1, "yes", "m 1"],
        )
    if "--report" in sys.argv:
        record = Path(sys.argv[2]).with_suffix(".json")
        known = json.loads(record.read_text(encoding="utf-8"))["Model"]["id"] if record.is_file() else ""
        (folder / "report.html").write_text(f"<p>Model {known}</p>", encoding="utf-8")
    metrics = {
        "metrics": {"MAE": float(np.abs(difference).mean()), "PSNR": None, "SSIM": 0.91},
        "whole_volume": {"MAE": 0.5 * float(np.abs(difference).mean()), "PSNR": 30.0, "SSIM": 0.95},
        "definitions": {"MAE": "mean absolute error", "SSIM": "mean local SSIM"},
        "details": {"MAE": {"unit": "target units", "ideal": 0.0}, "SSIM": {"unit": "", "ideal": 1.0}},
        "calibration": calibration,
        "data_range": 1.8,
        "mask": "reference above 0.1",
        "registration": registration,
        "voxels": int((measured > 0.1).sum()),
    }
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    return {"files": {"metrics": str(folder / "metrics.json"), "maps": str(folder)}, **metrics}


def write_labels(image: sitk.Image) -> None:
    """Two regions, left and right of the middle, with what the real one says about them."""
    shape = sitk.GetArrayFromImage(image).shape
    k, j, i = (size // 4 for size in shape)
    labels = np.zeros(shape, np.uint16)
    labels[k : 3 * k, j : 3 * j, i : 2 * i], labels[k : 3 * k, j : 3 * j, 2 * i : 3 * i] = 1025, 2025
    path = option("--label-map")
    write_like(image, labels, path)
    points = {1025: (i + i // 2, 2 * j, 2 * k), 2025: (2 * i + i // 2, 2 * j, 2 * k)}
    world = {label: image.TransformIndexToPhysicalPoint(point) for label, point in points.items()}
    regions = [
        {"name": "precuneus", "hemisphere": "left", "labels": [1025], "point_lps_mm": world[1025]},
        {"name": "ctx-rh-precuneus", "hemisphere": "right", "labels": [2025], "point_lps_mm": world[2025]},
        {"name": "tau meta-temporal", "hemisphere": "both", "labels": [1025, 2025], "point_lps_mm": world[2025]},
    ]
    Path(path).with_suffix(".json").write_text(json.dumps({"Regions": regions}), encoding="utf-8")


def suvr() -> dict:
    """Three regions, and what was asked for."""
    image = sitk.ReadImage(sys.argv[2])
    write_like(image, sitk.GetArrayFromImage(image) / 1.1, option("--image"))
    table, cohort, mask = Path(option("-o")), option("--normal-cohort"), option("--reference-mask")
    z = [-3.4, 2.6, 1.0] if cohort else ["", "", ""]
    write_table(
        table,
        ["region", "hemisphere", "kind", "volume_ml", "suvr", "sd", "median", "asymmetry_percent", "z"],
        ["precuneus", "left", "region", 10.0, 1.22, 0.1, 1.2, "", z[0]],
        ["cerebellar gray", "both", "meta-region", 92.1, 1.0, 0.1, 1.0, 0.5, z[1]],
        ["tau meta-temporal", "both", "meta-region", 40.2, 1.31, 0.2, 1.3, -4.0, z[2]],
    )
    fwhm, tracer = option("--pvc-fwhm"), option("--tracer")
    record = {
        "Quantity": "SUVR",
        "Units": "SUVR",
        "ReferenceRegion": "custom mask" if mask else option("--reference-region"),
        "ReferenceMean": float(sitk.GetArrayFromImage(sitk.ReadImage(mask)).sum()) if mask else 1.1,
        "PartialVolumeCorrection": {"method": "test", "fwhm_mm": float(fwhm)} if fwhm else None,
        "NormalCohort": Path(cohort).name if cohort else None,
        **({"Centiloid": {"value": 34.2, "tracer": tracer}} if tracer else {}),
    }
    table.with_name(table.name + ".json").write_text(json.dumps(record), encoding="utf-8")
    write_labels(image)
    if option("--z-map"):
        halves = np.zeros(sitk.GetArrayFromImage(image).shape, np.float32)
        halves[:, :, : halves.shape[2] // 2], halves[:, :, halves.shape[2] // 2 :] = -3.4, 1.0
        halves[0] = 0
        write_like(image, halves, option("--z-map"))
    return {"files": {"table": option("-o"), "image": option("--image")}}


def batch() -> dict:
    """A file for every row."""
    with open(sys.argv[2], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    folder = Path(option("-o"))
    for index, row in enumerate(rows):
        say(type="status", row=index, state="running", message="")
        failed = MODE == "partly" and index == 1
        if not failed:
            (folder / f"{row['subject']}.txt").write_text("done", encoding="utf-8")
        say(type="status", row=index, state="failed" if failed else "done", message="no such file" if failed else "")
        progress((index + 1) / len(rows), row["subject"])
    return {"files": {"summary": str(folder)}, "done": len(rows)}


def export() -> dict:
    """A new folder with a note, from a volume with its record."""
    sitk.ReadImage(sys.argv[2])
    record = json.loads(Path(sys.argv[2]).with_suffix(".json").read_text(encoding="utf-8"))
    folder = Path(option("-o"))
    folder.mkdir()
    (folder / "note.json").write_text(json.dumps([option("--format"), record["SyntheticData"]]), encoding="utf-8")
    if option("--source-dicom"):
        files = {path.name: path.read_text(encoding="utf-8") for path in Path(option("--source-dicom")).iterdir()}
        (folder / "source.json").write_text(json.dumps(files), encoding="utf-8")
    return {"files": {"folder": str(folder)}, "step": 1e-4, "largest_error": 5e-5}


def models() -> dict:
    """Install copies a folder; verify and remove print a line."""
    import shutil

    action, what = sys.argv[2], sys.argv[3]
    store = Path(os.environ["MODALITY_SYNTHESIS_MODELS"])
    if action == "install":
        shutil.copytree(what, store / Path(what).name)
        return {"files": {"package": str(store / Path(what).name)}}
    if action == "remove":
        shutil.rmtree(store / what)
    print(f"{what}: {action}")
    raise SystemExit(0)


def serve() -> None:
    """Job after job, until standard input closes."""
    if SERVES == "never":
        raise SystemExit(1)
    jobs: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=read_jobs, args=(jobs,), daemon=True).start()
    say(type="ready")
    while True:
        job = jobs.get()
        if SERVES == "deaf":
            continue
        if SERVES == "dying":
            os._exit(9)
        say(type="job", state="started")
        sys.argv[1:] = job["arguments"]
        code: object = 0
        try:
            run()
        except SystemExit as ended:
            code = ended.code
        say(type="job", state="finished", exit_code=code)
        print(json.dumps({"type": "job", "state": "finished"}), file=sys.stderr, flush=True)


def read_jobs(jobs: queue.SimpleQueue) -> None:
    """Standard input, as it comes."""
    rest = b""
    while data := os.read(0, 65536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            jobs.put(json.loads(line))
    if MODE != "deaf":
        cancelled()


def main() -> None:
    """One command, or job after job."""
    say(type="status", message="Starting", pid=os.getpid())
    if hasattr(os, "setsid"):
        os.setsid()
    if MODE == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, cancelled)
    if sys.argv[1:] == ["--serve"]:
        serve()
    threading.Thread(target=watch_input, daemon=True).start()
    run()


def run() -> None:
    """Run the command."""
    command = sys.argv[1]
    print("a library prints this to stdout", flush=True)
    if command == "doctor":
        print(json.dumps({"version": "0", "devices": {"cpu": "2 threads"}}))
        return
    if MODE == "garbage":
        sys.stdout.buffer.write(b'\xff\xfe{"type": "progress"\n{"type": 12}\n[1]\n')
        sys.stdout.flush()
    if MODE == "flood":
        for number in range(3000):
            print(f"line {number}", file=sys.stderr)
        print("x" * 3_000_000, file=sys.stderr)
        say(type="status", message="y" * 3_000_000)
    if MODE == "deaf":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        Path(PID_FILE).write_text(f"{os.getpid()} {child.pid}")
    progress(0.1, "Reading")
    if MODE in ("slow", "deaf"):
        for step in itertools.count():  # until it is ended
            progress(min(0.1 + step / 1000, 0.9), "Waiting")
            time.sleep(0.05)
    if MODE == "fail":
        say(type="error", code="BAD_INPUT", message="sub-01.nrrd: this is no head <at all>. Choose another volume.")
        raise SystemExit(1)
    if MODE == "memory":
        say(type="error", code="OUT_OF_MEMORY", message="Not enough GPU memory.")
        raise SystemExit(1)
    if MODE == "crash":
        print("Traceback: something broke", file=sys.stderr, flush=True)
        os._exit(1)
    say(type="warning", message="Slices 6.0 mm apart")
    if command not in ("models", "batch"):
        import_libraries()
    result = {f.__name__: f for f in (synthesize, compare, suvr, batch, export, models)}[command]()
    progress(1.0, "Done")
    if MODE != "silent":
        say(type="result", **result)
    if MODE == "partly":
        raise SystemExit(3)


if __name__ == "__main__":
    main()
