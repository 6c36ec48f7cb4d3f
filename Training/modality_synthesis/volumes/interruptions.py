"""Signals are held back while files change places: what was begun there is finished or undone first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from modality_synthesis.errors import CancelledError

_HELD_BACK = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@dataclass
class Shield:
    """The signals that came while they were held back."""

    before: dict[signal.Signals, Any] = field(default_factory=dict)
    waiting: list[signal.Signals] = field(default_factory=list)
    is_settled: bool = False

    def settle(self) -> None:
        """From now on there is nothing left to cancel: signals are ignored, after the shield is gone too."""
        self.is_settled = True

    def deliver(self) -> None:
        """Let what came until now take effect here, where the caller can still undo its work.

        Raises:
            BaseException: whatever the handlers raise; CancelledError where the system ends the process.
        """
        while self.waiting:
            handler = self.before[self.waiting[0]]
            if not callable(handler):  # the system's own: it takes effect when the shield is gone
                raise CancelledError("Cancelled.")
            handler(self.waiting.pop(0), None)


@contextmanager
def shielded() -> Iterator[Shield]:
    """Hold SIGINT, SIGTERM and SIGHUP back until the block has ended; what came meanwhile takes effect then.

    Python runs signal handlers between any two steps of the main thread, in a `finally` too: without this, a second's
    worth of luck would decide whether cleaning up is complete. Other threads are never interrupted.
    """
    shield, over = Shield(), False
    if threading.current_thread() is not threading.main_thread():
        yield shield
        return

    def hold_back(number: int, frame: Any) -> None:
        handler = shield.before[signal.Signals(number)]
        if over and callable(handler):
            handler(number, frame)
        else:
            shield.waiting.append(signal.Signals(number))

    for number in _HELD_BACK:
        handler = signal.getsignal(number)
        # None: set by a program around Python, and could not be put back.
        if handler not in (None, signal.SIG_IGN):
            shield.before[number] = handler
            signal.signal(number, hold_back)
    try:
        yield shield
    finally:
        over = True
        for number, handler in shield.before.items():
            signal.signal(number, (lambda *_: None) if shield.is_settled else handler)
        for number in dict.fromkeys(shield.waiting):
            signal.raise_signal(number)
