"""Ctrl-C, SIGTERM and a closed terminal: each stops a command at its next step, and in any case soon.

Python runs signal handlers between two of its own instructions. A process that waits inside a library (for the other
processes of a distributed training, say) would never get there, so that a thread ends it after a short while.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from modality_synthesis.errors import CancelledError

# Schedulers and `docker stop` kill after 5 to 30 seconds; what is to be tidied up takes less than this.
PATIENCE_S = 4.0
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def stoppable(last_words: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Signals raise `CancelledError` inside the block, once; when that does not end it, the process ends all the same.

    Args:
        last_words: called before the process is ended from outside its main thread.

    Only the main thread can have this; in others the block just runs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _stopping
    _stopping = False
    before = {number: signal.signal(number, _cancel) for number in _SIGNALS if _is_ours(number)}
    try:
        with _watched(last_words):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _is_ours(number: signal.Signals) -> bool:
    # nohup says that a closed terminal is not to end the command.
    return number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) is not signal.SIG_IGN


_stopping = False


def _cancel(number: int, frame: Any) -> None:
    global _stopping
    # A second signal must not interrupt the cleaning up that the first one started.
    if not _stopping:
        _stopping = True
        raise CancelledError("Cancelled.")


@contextmanager
def _watched(last_words: Callable[[], None]) -> Iterator[None]:
    """Have a thread told of signals as they arrive, which Python's handlers are not."""
    told, telling = socket.socketpair()
    telling.setblocking(False)
    previous = signal.set_wakeup_fd(telling.fileno(), warn_on_full_buffer=False)
    over = threading.Event()

    def watch() -> None:
        while number := told.recv(1):
            if number[0] in _SIGNALS:
                break
        else:
            return
        if not over.wait(PATIENCE_S):
            for child in multiprocessing.active_children():
                child.kill()
            with contextlib.suppress(Exception):
                last_words()
            os._exit(CancelledError.exit_code)

    thread = threading.Thread(target=watch, name="stopping", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(previous, warn_on_full_buffer=False)
        telling.close()
        thread.join(1.0)
        told.close()


def interrupt() -> None:
    """From another thread: what Ctrl-C does to the main one."""
    if os.name == "nt":
        import _thread

        _thread.interrupt_main()
    else:
        os.kill(os.getpid(), signal.SIGTERM)


def end_with_process(number: int, every_s: float = 1.0) -> None:
    """End this process when its parent, of that number, is gone: for those that multiprocessing did not start."""

    def watch() -> None:
        while os.getppid() == number:
            time.sleep(every_s)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def end_with_parent() -> None:
    """End this worker process when the one that started it is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        time.sleep(0.1)  # the way of an orderly end, on which the worker gets there first
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
