"""Synthesize a cohort without a window, in Slicer or in plain Python.

    Slicer --no-splash --no-main-window --python-script synthesize_batch.py -- --cohort cohort.csv --model demo-t1w-fdg -o out
    PythonSlicer synthesize_batch.py --cohort cohort.csv --model demo-t1w-fdg -o out
    python synthesize_batch.py --cohort cohort.csv --model demo-t1w-fdg -o out

Slicer does not end by itself after a script, and on Windows it prints nothing: this script always ends the application
with the right code, and leaves `batch.log` and `batch.json` in the output folder. Codes: 0 all rows done, 1 failed, 2 wrong
arguments, 3 some rows done, 130 cancelled.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import traceback

EXIT_FAILED, EXIT_USAGE, EXIT_PARTLY, EXIT_CANCELLED = 1, 2, 3, 130
CODES = {0: "OK", EXIT_USAGE: "USAGE", EXIT_PARTLY: "PARTLY", EXIT_CANCELLED: "CANCELLED"}


def find_worker() -> str:
    """The worker script: beside this file's package when installed, in the source tree otherwise."""
    here = os.path.dirname(os.path.abspath(globals().get("__file__", sys.argv[0])))
    parents = (os.path.join(here, "..", "..", ".."), os.path.join(here, "..", "..", "Training"))
    for parent in parents:
        path = os.path.abspath(os.path.join(parent, "modality_synthesis", "slicer", "worker.py"))
        if os.path.isfile(path):
            return path
    raise FileNotFoundError(f"modality_synthesis was not found near {here}. Reinstall the extension.")


def find_python() -> str:
    """The Python that runs the worker: the user's choice, PythonSlicer inside Slicer, or the running one."""
    chosen = os.environ.get("MODALITY_SYNTHESIS_PYTHON")
    app = slicer_application()
    if chosen or app is None:
        return chosen or sys.executable
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    beside = os.path.join(app.slicerHome, "bin", name)
    return beside if os.path.isfile(beside) else shutil.which("PythonSlicer") or sys.executable


def slicer_application() -> object:
    """Slicer's application object; None in plain Python and in PythonSlicer."""
    return getattr(sys.modules.get("slicer"), "app", None)


def read_arguments(arguments: list) -> argparse.Namespace:
    """The command line, without the `--` that Slicer leaves before it."""
    parser = argparse.ArgumentParser(prog="synthesize_batch.py", description="Synthesize every row of a cohort table.")
    parser.add_argument("--cohort", required=True, help="CSV or TSV with a column subject and one per modality")
    parser.add_argument("--model", required=True, help="id or folder of a model package")
    parser.add_argument("-o", "--output", required=True, help="folder for the results")
    parser.add_argument("--resume", action="store_true", help="skip the rows that are done")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args([argument for argument in arguments if argument != "--"])


def run(options: argparse.Namespace) -> int:
    """Run the batch in a child process; returns its exit code."""
    os.makedirs(options.output, exist_ok=True)
    command = [find_python(), find_worker(), "batch", options.cohort, "--model", options.model, "-o", options.output]
    command += ["--device", options.device, "--seed", str(options.seed), "--progress", "json"]
    command += ["--resume"] if options.resume else []
    summary = {"command": command[2:], "started": time.strftime("%Y-%m-%dT%H:%M:%S"), "rows": [], "warnings": []}
    with open(os.path.join(options.output, "batch.log"), "w", encoding="utf-8") as log:
        # The open pipe on standard input tells the worker that this process lives.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment()
        )
        try:
            for raw in process.stdout:
                line = raw.decode("utf-8", errors="replace").rstrip()
                log.write(line + "\n")
                log.flush()
                print(line, flush=True)
                take(line, summary)
        finally:
            process.stdin.close()
            code = process.wait()
    if code not in CODES:
        code = EXIT_FAILED
    write_summary(options.output, code, summary)
    return code


def environment() -> dict:
    """The worker's environment: UTF-8, unbuffered."""
    return {**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}


def take(line: str, summary: dict) -> None:
    """Keep what a protocol message says about rows, warnings, the result and the error."""
    try:
        message = json.loads(line)
    except ValueError:
        return
    if not isinstance(message, dict):
        return
    kind = message.get("type")
    if isinstance(message.get("row"), int):
        row = {key: message[key] for key in ("row", "state", "message") if key in message}
        rows = {known["row"]: known for known in summary["rows"]} | {row["row"]: row}
        summary["rows"] = [rows[number] for number in sorted(rows)]
    elif kind == "warning":
        summary["warnings"].append(message.get("message"))
    elif kind in ("result", "error"):
        summary[kind] = {key: value for key, value in message.items() if key != "type"}


def write_summary(folder: str, code: int, summary: dict) -> None:
    """Write `batch.json`."""
    facts = {
        "code": CODES.get(code, "FAILED"),
        "exit_code": code,
        **summary,
        "ended": time.strftime("%Y-%m-%dT%H:%M:%S"),
    }
    with open(os.path.join(folder, "batch.json"), "w", encoding="utf-8") as file:
        json.dump(facts, file, indent=2, ensure_ascii=False)


def main(arguments: list) -> int:
    """Everything, with an exit code in every case."""
    try:
        return run(read_arguments(arguments))
    except SystemExit as stop:  # argparse
        return stop.code if isinstance(stop.code, int) else EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_CANCELLED
    except BaseException:
        traceback.print_exc()
        return EXIT_FAILED


def leave(code: int) -> None:
    """End Slicer, or the Python, with a code."""
    if slicer_application() is not None:
        import slicer

        slicer.util.exit(code)
    else:
        sys.exit(code)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
