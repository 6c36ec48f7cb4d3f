"""What one job may change in a process, put back for the next one: it finds what a new process would give it."""

from __future__ import annotations

import contextlib
import gc
import inspect
import locale
import logging
import multiprocessing
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from typing import Any

PACKAGE = "modality_synthesis"
_Cached = type(lru_cache(lambda: None))
_PATIENCE_S = 2.0


@contextmanager
def fresh_start() -> Iterator[None]:
    """A block whose traces in this process are removed: settings, random states, caches, child processes.

    The libraries that matter are to be imported before. What the block loaded stays loaded; what it left open or
    running in threads of its own cannot be taken back.
    """
    with ExitStack() as after:
        after.callback(_forget)
        after.callback(_end_children)
        for keep in (_interpreter, _surroundings, _signals, _numbers, _torch, _itk):
            after.callback(keep())
        with warnings.catch_warnings():
            yield


def _interpreter() -> Callable[[], None]:
    streams, arguments, path = (sys.stdin, sys.stdout, sys.stderr), sys.argv[:], sys.path[:]
    depth, hook = sys.getrecursionlimit(), sys.excepthook
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]

    def put_back() -> None:
        sys.stdin, sys.stdout, sys.stderr = streams
        sys.argv[:], sys.path[:], sys.excepthook = arguments, path, hook
        sys.setrecursionlimit(depth)
        root.setLevel(level)
        root.handlers[:] = handlers
        logging.disable(logging.NOTSET)

    return put_back


def _surroundings() -> Callable[[], None]:
    variables, folder, spoken = dict(os.environ), _folder(), locale.setlocale(locale.LC_ALL)
    mask = os.umask(0o077)
    os.umask(mask)

    def put_back() -> None:
        for name in set(os.environ) - set(variables):
            del os.environ[name]
        for name, value in variables.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        if folder is not None:
            with contextlib.suppress(OSError):  # it is gone: where the next job works, it says itself
                os.chdir(folder)
        locale.setlocale(locale.LC_ALL, spoken)
        os.umask(mask)

    return put_back


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _signals() -> Callable[[], None]:
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM") if hasattr(signal, name)]
    handlers = {number: signal.getsignal(number) for number in numbers}

    def put_back() -> None:
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)

    return put_back


def _numbers() -> Callable[[], None]:
    """Python's and NumPy's own random numbers begin anywhere in a new process."""

    def put_back() -> None:
        random.seed()
        numpy = sys.modules.get("numpy")
        if numpy is not None:
            numpy.random.seed()

    return put_back


def _torch() -> Callable[[], None]:
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return lambda: None
    state, seed = torch.get_rng_state(), torch.initial_seed()
    cudnn = torch.backends.cudnn
    settings: list[tuple[Callable[[], Any], Callable[[Any], None]]] = [
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        *[
            (partial(getattr, cudnn, name), partial(setattr, cudnn, name))
            for name in ("enabled", "benchmark", "deterministic")
        ],
    ]
    before = [ask() for ask, _ in settings]

    def put_back() -> None:
        torch.set_rng_state(state)
        for (ask, tell), value in zip(settings, before, strict=True):
            if ask() != value:  # some load half of torch to be told what is so anyway
                tell(value)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(seed)
            torch.cuda.empty_cache()

    return put_back


def _itk() -> Callable[[], None]:
    sitk: Any = sys.modules.get("SimpleITK")
    if sitk is None:
        return lambda: None
    threads, shown = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads(), sitk.ProcessObject.GetGlobalWarningDisplay()

    def put_back() -> None:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)

    return put_back


def _end_children() -> None:
    for child in multiprocessing.active_children():
        child.terminate()
        child.join(_PATIENCE_S)
        if child.is_alive():
            child.kill()
            child.join(_PATIENCE_S)


def _forget() -> None:
    """Empty the package's caches of answers to questions; those without a question hold what ships with it."""
    for name, module in list(sys.modules.items()):
        if name != PACKAGE and not name.startswith(PACKAGE + "."):
            continue
        for cached in list(vars(module).values()):
            if isinstance(cached, _Cached) and inspect.signature(cached).parameters:
                cached.cache_clear()
    matplotlib: Any = sys.modules.get("matplotlib")
    if matplotlib is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            matplotlib.rc_file_defaults()


def give_memory_back() -> None:
    """What a finished job leaves behind is of no use to anybody while the process waits."""
    gc.collect()
    allocator: Any = sys.modules.get(f"{PACKAGE}.synthesis.allocator")
    if allocator is not None:
        allocator.return_freed_memory()
