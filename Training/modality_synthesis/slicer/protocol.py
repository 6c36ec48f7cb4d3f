"""The worker protocol as the panel reads it: JSON objects, one a line, in pieces as they come."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field

OK, PARTLY, CANCELLED = "OK", "PARTLY", "CANCELLED"
READY, JOB = "ready", "job"  # what a worker that serves many jobs says beside what the job says
KINDS = ("status", "progress", "warning", "result", "error", READY, JOB)
CANCELLED_EXIT = 130
_EXIT_CODES = {0: OK, 3: PARTLY, CANCELLED_EXIT: CANCELLED}
# A library that floods standard error must not fill the panel's memory; the last lines say what happened.
MOST_LOG_LINES = 2000


class LineReader:
    """Puts bytes together into lines; a line may come in many pieces."""

    def __init__(self, longest: int | None = None) -> None:
        """
        :param longest: bytes of a line to keep; what follows in it is dropped.
        """
        self._longest = longest
        self._pieces: list[bytes] = []
        self._kept = 0

    def feed(self, data: bytes) -> list[str]:
        """The complete lines."""
        *ends, rest = data.split(b"\n")
        lines = [self._completed(end) for end in ends]
        self._keep(rest)
        return [line.decode("utf-8", errors="replace").strip() for line in lines if line.strip()]

    def _completed(self, end: bytes) -> bytes:
        self._keep(end)
        line = b"".join(self._pieces)
        self._pieces, self._kept = [], 0
        return line

    def _keep(self, piece: bytes) -> None:
        if self._longest is not None:
            piece = piece[: max(self._longest - self._kept, 0)]
        if piece:
            self._pieces.append(piece)
            self._kept += len(piece)

    def finish(self) -> list[str]:
        """What is left when the stream ends."""
        return self.feed(b"\n")


def parse_line(line: str) -> dict | None:
    """The message on a line; None when the line is something else (a library that prints)."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) and message.get("type") in KINDS else None


@dataclass
class Outcome:
    """How a run of the worker ended.

    Attributes:
        code: OK, PARTLY, CANCELLED, or the error's code.
        message: for the user, when it is not OK.
        result: the `result` message, empty when there was none.
        warnings: in the order they came.
        log: what the worker wrote beside the protocol.
        exit_code: of the process; None when it did not end by itself.
    """

    code: str
    message: str = ""
    result: dict = field(default_factory=dict)
    warnings: list = field(default_factory=list)
    log: list = field(default_factory=list)
    exit_code: int | None = None

    @property
    def ok(self) -> bool:
        return self.code in (OK, PARTLY)

    @property
    def files(self) -> dict:
        """The files written, by what they are."""
        return self.result.get("files") or {}


class Transcript:
    """Everything a worker said. It ends in an `Outcome`."""

    def __init__(self) -> None:
        self.result: dict = {}
        self.error: dict = {}
        self.warnings: list = []
        self.log: deque = deque(maxlen=MOST_LOG_LINES)

    def note(self, line: str) -> None:
        """Keep a line that is no message of the protocol."""
        self.log.append(line)

    def add(self, line: str) -> dict | None:
        """Take one line of standard output; returns its message."""
        message = parse_line(line)
        if message is None:
            self.note(line)
        elif message["type"] == "result":
            self.result = message
        elif message["type"] == "error":
            self.error = message
        elif message["type"] == "warning":
            self.warnings.append(str(message.get("message", "")))
        return message

    def outcome(self, exit_code: int | None, cancelled: bool = False, needs_result: bool = True) -> Outcome:
        """Judge the run: success needs the right exit code and, unless told otherwise, a result message."""
        code, message = _EXIT_CODES.get(exit_code, "INTERNAL"), ""
        if cancelled:
            code = CANCELLED
        elif self.error:
            code = str(self.error.get("code", "INTERNAL"))
        elif code == OK and needs_result and not self.result:
            code, message = "INTERNAL", "The worker ended without a result."
        elif code == "INTERNAL":
            message = self._last_words(exit_code)
        message = "Cancelled." if code == CANCELLED else str(self.error.get("message", message))
        result = self.result if code in (OK, PARTLY) else {}
        return Outcome(code, message, result, list(self.warnings), list(self.log), exit_code)

    def _last_words(self, exit_code: int | None) -> str:
        last = next((line.strip("│ ") for line in reversed(self.log) if line.strip("│╭╮╰╯─ ")), "")
        if last.startswith("Error: "):
            return last[len("Error: ") :]
        ended = "was ended from outside" if exit_code is None else f"stopped with exit code {exit_code}"
        return f"The worker {ended}. {last}".strip()
