"""Run one function over many items in worker processes, with progress, whatever room asks.

The one place that starts workers. They are pebble's: of the well-kept pools it is the one in which a worker's death
costs the item it was at, and in which an item can have a time limit (loky gives the whole pool up, and has none).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.context import SpawnContext
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from modality_synthesis import environment
from modality_synthesis.errors import ModalitySynthesisError, WorkerLostError, reported
from modality_synthesis.progress import Collecting, Reported, Reporter, current
from modality_synthesis.stopping import end_with_parent

if TYPE_CHECKING:
    from pebble import ProcessPool

Item = TypeVar("Item")
Result = TypeVar("Result")

_TICK_S = 0.2
# Between being asked to stop and being killed: what is being written is removed meanwhile.
_GRACE_S = 2.5


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int | None = None,
    reporter: Reporter | None = None,
    stage: str = "",
    on_start: Callable[[int], None] | None = None,
    on_result: Callable[[int, Result], None] | None = None,
    on_failure: Callable[[int, ModalitySynthesisError], Result] | None = None,
    limit_s: float | None = None,
    isolate: bool = False,
    name: Callable[[Item], str] = lambda item: "",
) -> list[Result]:
    """`[function(item) for item in items]` in worker processes.

    Many items in parallel use the cores better than threads inside one item do, so that each worker computes
    single-threaded. When the run is cancelled, or an item fails and nothing stands in for it, the other items are
    stopped and dropped. Workers end when this process does, however it ends.

    Args:
        function: a module-level function, or a partial of one.
        items: picklable arguments.
        jobs: worker processes; default one per core. 1 runs in this process, unless `isolate` or `limit_s` is given.
        reporter: receives progress, and the warnings and findings that the function reports to the current reporter.
        stage: what the progress bar says.
        on_start: called in this process with the index of each item that a worker takes up.
        on_result: called in this process with index and result of each item as it is finished.
        on_failure: gives the result of an item that failed, from its index and the error: an exception, a worker that
            the system ended (for want of memory, most often), or the time limit. Without it the error is raised.
        limit_s: seconds that one item may take; its worker is then ended.
        isolate: a worker even for a single job, so that an item that takes its process down takes down nothing else.
        name: what an item is called in the log, where each finished one has a line.

    Raises:
        WorkerLostError: a worker was ended from outside or took too long, and there is no `on_failure`.
    """
    work = _Work(
        Collecting(function), items, reporter or current(), stage, on_start or (lambda _: None),
        on_result or (lambda index, result: None), on_failure, name,
    )  # fmt: skip
    jobs = min(jobs or os.cpu_count() or 1, len(items))
    needs_worker = bool(items) and (jobs > 1 or isolate or limit_s is not None)
    if needs_worker and (obstacle := _no_workers()):
        work.reporter.warning(f"Worker processes cannot be started here ({obstacle}): one after another instead.")
        needs_worker = False
    if needs_worker:
        _in_workers(work, jobs, limit_s)
    else:
        _in_this_process(work)
    return [work.results[index] for index in range(len(items))]


@dataclass
class _Work(Generic[Item, Result]):
    """What is to be done, and what of it is."""

    function: Collecting[Item, Result]
    items: Sequence[Item]
    reporter: Reporter
    stage: str
    on_start: Callable[[int], None]
    on_result: Callable[[int, Result], None]
    on_failure: Callable[[int, ModalitySynthesisError], Result] | None
    name: Callable[[Item], str]
    results: dict[int, Result] = field(default_factory=dict)
    started: set[int] = field(default_factory=set)

    @property
    def left(self) -> list[int]:
        return [index for index in range(len(self.items)) if index not in self.results]

    def start(self, index: int) -> None:
        if index not in self.started:
            self.started.add(index)
            self.on_start(index)

    def done(self, index: int, reported: Reported[Result]) -> None:
        self.finish(index, reported.retell(self.reporter))

    def finish(self, index: int, result: Result) -> None:
        self.start(index)
        self.results[index] = result
        self.on_result(index, result)
        self.reporter.finished(len(self.results), len(self.items), self.stage, self.name(self.items[index]))

    def fail(self, index: int, error: ModalitySynthesisError) -> None:
        if self.on_failure is None:
            raise error
        self.finish(index, self.on_failure(index, error))

    def tell(self) -> None:
        self.reporter.progress(len(self.results) / len(self.items), self.stage)


def _in_this_process(work: _Work[Any, Any]) -> None:
    for index, item in enumerate(work.items):
        work.tell()
        work.start(index)
        try:
            result = work.function(item)
        except Exception as error:
            if work.on_failure is None:
                raise
            work.fail(index, reported(error))
        else:
            work.done(index, result)
    if work.items:
        work.tell()


def _in_workers(work: _Work[Any, Any], jobs: int, limit_s: float | None) -> None:
    while left := work.left:
        try:
            _one_pool(work, left, min(jobs, len(left)), limit_s)
        except BrokenProcessPool as error:
            # A worker that the system ends between two items takes pebble's pool with it: the rest gets another one.
            if len(work.left) == len(left):
                raise WorkerLostError(
                    f"The worker processes end as soon as they start ({error}). Too little memory, or a Python script "
                    "that does its work without `if __name__ == '__main__':`? --jobs 1 may do."
                ) from None


def _one_pool(work: _Work[Any, Any], indices: Sequence[int], jobs: int, limit_s: float | None) -> None:
    from pebble import ProcessPool

    pool = ProcessPool(jobs, initializer=_start_worker, context=_context())
    try:
        pending: dict[Future[Any], int] = {
            pool.schedule(_call, (work.function, work.items[index]), timeout=limit_s): index for index in indices
        }
        while pending:
            work.tell()
            wait(pending, timeout=_TICK_S, return_when=FIRST_COMPLETED)
            # In this order: what is found running has been taken up after what a worker has finished by then.
            running = [index for future, index in pending.items() if future.running()]
            finished = [future for future in pending if future.done()]
            for future in finished:
                _book(work, pending.pop(future), future, limit_s)
            for index in running:
                work.start(index)
            if pending and not finished and not pool.active:
                raise BrokenProcessPool("the pool is gone")
        work.tell()
        pool.close()
        pool.join()
    except BaseException:
        _end(pool)
        raise


def _book(work: _Work[Any, Any], index: int, future: Future[Any], limit_s: float | None) -> None:
    from pebble import ProcessExpired

    try:
        result = future.result()
    except BrokenProcessPool:
        raise
    except ProcessExpired as error:
        work.fail(index, WorkerLostError(_how_it_ended(error.exitcode)))
    except Exception as error:
        if error.args[:1] == ("Task timeout",):
            work.fail(index, WorkerLostError(f"Not done within {limit_s:g} seconds (--row-timeout): stopped."))
        else:
            work.fail(index, reported(error))
    else:
        if isinstance(result, _Failure):
            work.fail(index, result.error)
        else:
            work.done(index, result)


def _how_it_ended(code: int) -> str:
    if code in (-signal.SIGTERM, 128 + signal.SIGTERM):
        return "The worker process was ended by a signal (SIGTERM)."
    if code == -9:
        return (
            "The worker process was killed by the system, most likely because memory ran out. Use fewer --jobs, or a "
            "machine with more memory."
        )
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"The worker process crashed ({name}). Is the input damaged? Please report it if not."
    return f"The worker process ended unexpectedly (exit code {code})."


def _end(pool: ProcessPool) -> None:
    """Stop the workers, all at once, and kill those that do not."""
    workers = multiprocessing.active_children()
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + _GRACE_S
    for worker in workers:
        worker.join(max(deadline - time.monotonic(), 0.01))
        if worker.is_alive():
            worker.kill()
    with contextlib.suppress(Exception):
        pool.stop()
        pool.join()


def _context() -> SpawnContext:
    # Forked workers would inherit locks that this process's threads hold, and a CUDA context they cannot use.
    return multiprocessing.get_context("spawn")


def _no_workers() -> str:
    """Why this machine cannot start workers (no room or no place for semaphores, /dev/shm); empty when it can."""
    try:
        _context().RLock()
    except (OSError, ImportError) as error:
        return str(getattr(error, "strerror", None) or error).lower()
    return ""


@dataclass(frozen=True)
class _Failure:
    """How an item failed, in a form that always passes between processes: many libraries' exceptions do not."""

    error: ModalitySynthesisError


class _EndedError(BaseException):
    """This worker was asked to end."""


_busy = False


def _call(function: Callable[[Item], Result], item: Item) -> Result | _Failure:
    """In the worker: one item."""
    global _busy
    _busy = True
    try:
        return function(item)
    except _EndedError:
        os._exit(128 + signal.SIGTERM)
    except BaseException as error:  # SystemExit too: it would end the parent when it is raised again there
        told = reported(error)
        told.__traceback__ = told.__cause__ = told.__context__ = None
        return _Failure(told)
    finally:
        _busy = False


def _start_worker() -> None:
    """In the worker, before its first item."""
    environment.prepare()
    end_with_parent()
    # Ctrl-C reaches the whole process group; the parent alone decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_worker)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _end_worker(number: int, frame: Any) -> None:
    """Let the item tidy up what it was writing, then end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if _busy:
        raise _EndedError
    os._exit(128 + signal.SIGTERM)
