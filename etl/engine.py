"""Where the work runs: an ordered map over worker processes with a bounded number of items under way.

The one seam between what is done and where. A worker that dies, killed by its decoder or by the kernel for its memory,
costs the item that killed it and no other: what was under way is done again, item by item, in a process of its own.
"""

import multiprocessing
import os
import resource
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from multiprocessing import active_children, forkserver
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

from manifests.memory import keep_freed_memory

T = TypeVar("T")
R = TypeVar("R")

CHUNK = 16  # items sent at a time: the pipe's cost is shared, and a crash repeats only so many
HUNGRY = "it needs more memory than there is"
LEAST_MEMORY = 1 << 30  # bytes a worker may always have
PRELOAD = ["etl.opening", "etl.filling"]  # imported once, by the server that workers are forked from
HERE = str(Path(__file__).parents[1])  # where these are; some versions of Python do not tell the server sys.path


def default_workers() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    task: Callable[[list[T]], list[R]], items: Iterable[T], *, workers: int, lost: Callable[[T, str], R]
) -> Iterator[R]:
    """What `task` makes of the items, in their order, from `workers` processes; 0 does the work in this one.

    `task` gets a few items at a time and has a result for each (`each` makes one of what is done to a single item). It
    is a module's function, or a functools.partial of one. An exception in it is raised here. `lost(item, why)` stands
    in for the result of an item whose process died, or that all the memory is too little for.
    """
    if workers == 0:
        for item in items:
            try:
                yield from task([item])
            except MemoryError:
                yield lost(item, HUNGRY)
        return
    source, flight = iter(items), deque[tuple[list[T], Future[list[R]]]]()
    others = active_children()
    pool = _pool(workers)
    try:
        while True:
            while len(flight) < 2 * workers + 1 and (chunk := list(islice(source, CHUNK))):
                flight.append((chunk, _sent(pool, task, chunk)))
            if not flight:
                return
            chunk, future = flight.popleft()
            try:
                yield from future.result()
            except MemoryError:
                yield from _one_by_one(task, chunk, lost)
            except BrokenProcessPool:
                _give_up(pool, others)
                for broken in [chunk, *(waiting for waiting, _ in flight)]:
                    yield from _one_by_one(task, broken, lost)
                flight.clear()
                pool = _working(_pool(workers), others)
    finally:
        _stop(pool)


def each(task: Callable[[T], R]) -> Callable[[list[T]], list[R]]:
    """What does this to each of some items."""
    return partial(_each, task)


def _each(task: Callable[[T], R], chunk: list[T]) -> list[R]:
    return [task(item) for item in chunk]


def _sent(pool: ProcessPoolExecutor, task: Callable[[list[T]], list[R]], chunk: list[T]) -> Future[list[R]]:
    """The chunk's future; where the pool broke meanwhile, that comes out when its turn comes."""
    try:
        return pool.submit(task, chunk)
    except BrokenProcessPool as broken:
        future = Future[list[R]]()
        future.set_exception(broken)
        return future


def _one_by_one(task: Callable[[list[T]], list[R]], chunk: list[T], lost: Callable[[T, str], R]) -> Iterator[R]:
    """Each item by itself, with all the memory there is: the one that kills its process is known, and what an item
    may need does not depend on the number of workers."""
    others = active_children()
    pool = _pool(1)
    try:
        for item in chunk:
            try:
                yield from pool.submit(task, [item]).result()
            except MemoryError:
                yield lost(item, HUNGRY)
            except BrokenProcessPool:
                _give_up(pool, others)
                pool = _working(_pool(1), others)
                yield lost(item, "its decoder crashed or was killed")
    finally:
        _stop(pool)


def prepare() -> None:
    """Have the server that workers are forked from import what they need, while this process does something else."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOAD)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([HERE, before] if before else [HERE])
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _pool(workers: int) -> ProcessPoolExecutor:
    # A fork server, not fork: this process has threads (polars'), and a forked copy of their locks can hang.
    prepare()
    context = multiprocessing.get_context("forkserver")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    memory = max(LEAST_MEMORY, int(0.8 * total) // workers)
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(memory,))


def _working(pool: ProcessPoolExecutor, others: list[BaseProcess]) -> ProcessPoolExecutor:
    """The pool, if its workers can start at all: else every item would be taken for one that kills its process."""
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool:
        _give_up(pool, others)
        raise RuntimeError("worker processes cannot start; a script needs `if __name__ == '__main__':`") from None
    return pool


def _give_up(pool: ProcessPoolExecutor, others: list[BaseProcess]) -> None:
    """Stop a broken pool, and all children but these: one that it was just starting when it broke is not ended by it,
    but waited for without end."""
    for child in active_children():
        if child not in others:
            child.kill()
    _stop(pool)


def _stop(pool: ProcessPoolExecutor) -> None:
    pool.shutdown(wait=True, cancel_futures=True)


def _begin(memory: int) -> None:
    """In the worker: Ctrl-C is the parent's affair, memory has a bound, and no worker outlives its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    if hasattr(resource, "RLIMIT_DATA"):
        resource.setrlimit(resource.RLIMIT_DATA, (memory, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    if parent := multiprocessing.parent_process():
        sentinel = parent.sentinel
        threading.Thread(target=lambda: (wait([sentinel]), os._exit(1)), daemon=True).start()
