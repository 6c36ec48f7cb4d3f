"""Run one function over many items in worker processes, with progress, whatever room asks."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import TypeVar

from modality_synthesis.progress import Reporter

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int | None = None,
    reporter: Reporter | None = None,
    stage: str = "",
    on_result: Callable[[int, Result], None] | None = None,
    name: Callable[[Item], str] = lambda item: "",
) -> list[Result]:
    """`[function(item) for item in items]` in worker processes.

    Many items in parallel use the cores better than threads inside one item do, so that each worker computes
    single-threaded. When an item fails, or the run is cancelled, the items not yet started are dropped.

    Args:
        function: a module-level function, or a partial of one.
        items: picklable arguments.
        jobs: worker processes; default one per core. 1 runs in this process.
        reporter: receives progress.
        stage: what the progress bar says.
        on_result: called in this process with index and result of each item as it is finished.
        name: what an item is called in the log, where each finished one has a line.
    """
    on_result = on_result or (lambda index, result: None)
    reporter = reporter or Reporter()
    jobs = min(jobs or os.cpu_count() or 1, len(items))
    if jobs <= 1:
        done = []
        for index, item in enumerate(items):
            reporter.progress(index / len(items), stage)
            done.append(function(item))
            on_result(index, done[-1])
            reporter.finished(len(done), len(items), stage, name(item))
        if not items:
            reporter.progress(1.0, stage)
        return done
    results: dict[int, Result] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker) as pool:
        pending = {pool.submit(function, item): index for index, item in enumerate(items)}
        try:
            while pending:
                finished, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    index = pending.pop(future)
                    results[index] = future.result()
                    on_result(index, results[index])
                    reporter.finished(len(results), len(items), stage, name(items[index]))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [results[index] for index in range(len(items))]


def _start_worker() -> None:
    import signal

    # Ctrl-C reaches the whole process group; the parent alone decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
