import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from etl.engine import CHUNK, default_workers, each, ordered_map
from tests.etl.tasks import dying, failing, late_when_even, memory_said, never_enough, square

DEADLINE = 20  # seconds that anything here may take at the most


def lost(number: int, why: str) -> int:
    assert why == "its decoder crashed or was killed"
    return -number


class TestOrderedMap:
    """Results come in the order of the items, whoever was first."""

    @pytest.mark.parametrize("workers", [0, 1, 3])
    def test_order_is_kept_for_any_number_of_workers(self, workers: int):
        items = range(5 * CHUNK + 3)
        assert list(ordered_map(each(square), items, workers=workers, lost=lost)) == [n * n for n in items]

    def test_slow_items_hold_no_other_back_but_keep_their_place(self):
        items = range(2 * CHUNK)
        assert list(ordered_map(each(late_when_even), items, workers=2, lost=lost)) == list(items)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_nothing_gives_nothing(self, workers: int):
        assert list(ordered_map(each(square), [], workers=workers, lost=lost)) == []

    def test_a_bounded_number_of_items_is_under_way(self):
        taken = 0

        def counted():
            nonlocal taken
            while taken < 100 * CHUNK:
                taken += 1
                yield taken

        results = ordered_map(each(square), counted(), workers=2, lost=lost)
        assert next(results) == 1
        assert taken <= (2 * 2 + 1) * CHUNK
        results.close()  # type: ignore[attr-defined] # it is a generator, and leaving it early is allowed

    @pytest.mark.parametrize("workers", [0, 2])
    def test_an_exception_reaches_the_caller(self, workers: int):
        results = ordered_map(each(partial(failing, at=20)), range(60), workers=workers, lost=lost)
        with pytest.raises(ValueError, match=r"^item 20$"):
            list(results)

    def test_it_uses_the_processors_that_are_allowed(self):
        assert default_workers() == len(os.sched_getaffinity(0))


class TestLostWorkers:
    """A worker that dies costs the item that killed it, and no other."""

    @pytest.mark.parametrize("at", [(0,), (7,), (39,), (3, 4), (5, 30)])
    def test_only_the_killing_items_are_lost(self, at: tuple[int, ...]):
        found = list(ordered_map(each(partial(dying, at=at)), range(40), workers=2, lost=lost))
        assert found == [-n if n in at else n * 10 for n in range(40)]

    def test_a_worker_that_dies_while_the_caller_is_busy_costs_no_more(self):
        found: list[int] = []
        for result in ordered_map(each(partial(dying, at=(2 * CHUNK,))), range(20 * CHUNK), workers=2, lost=lost):
            time.sleep(1.0 if not found else 0)  # the pool breaks meanwhile, and is noticed when the next is sent
            found.append(result)
        assert found == [-n if n == 2 * CHUNK else n * 10 for n in range(20 * CHUNK)]

    def test_a_worker_that_asks_for_too_much_memory_gets_an_exception_and_lives(self):
        found = list(ordered_map(each(memory_said), range(5), workers=1, lost=lambda n, why: why))
        assert found == ["0", "1", "2", "no memory", "4"]


SCRIPT = """
import sys, time
from functools import partial
from pathlib import Path
from etl.engine import each, ordered_map
from tests.etl.tasks import sleeping
if __name__ == "__main__":
    list(ordered_map(each(partial(sleeping, place=sys.argv[1])), range(100), workers=2, lost=lambda n, why: n))
"""


IMPORTED = """
import sys
sys.path.insert(0, {here!r})
from etl.engine import ordered_map
from tests.etl.tasks import modules
if __name__ == "__main__":
    print([*ordered_map(modules, range(1), workers=1, lost=lambda n, why: why)])
"""


def test_workers_come_with_what_they_need_wherever_the_program_was_started(tmp_path: Path):
    """Forked from a server that has it; each by itself would take a fifth of a second longer."""
    (tmp_path / "run.py").write_text(IMPORTED.format(here=str(Path(__file__).parents[2])))
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=DEADLINE
    )
    assert done.stdout == "[True]\n"


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at /proc")
class TestOrphans:
    """No worker outlives its parent, even one that is killed without a word."""

    def test_workers_die_with_the_parent(self, tmp_path: Path):
        script, place = tmp_path / "run.py", tmp_path / "workers"
        place.mkdir()
        script.write_text(SCRIPT)
        here = str(Path(__file__).parents[2])
        parent = subprocess.Popen([sys.executable, script, place], env=os.environ | {"PYTHONPATH": here})
        until = time.monotonic() + DEADLINE
        while len(list(place.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        workers = [int(file.name) for file in place.iterdir()]
        assert len(workers) == 2
        assert all(map(is_running, workers))
        parent.kill()
        parent.wait()
        while any(map(is_running, workers)) and time.monotonic() < until:
            time.sleep(0.05)
        assert [worker for worker in workers if is_running(worker)] == []


class TestHunger:
    """How much memory there is decides nothing but the fate of what all of it is too little for."""

    @pytest.mark.parametrize("workers", [0, 1, 2])
    def test_an_item_that_is_never_satisfied_is_lost_alone(self, workers: int):
        found = list(
            ordered_map(each(never_enough), range(40), workers=workers, lost=lambda item, why: f"{item}: {why}")
        )
        assert found == [str(n) if n != 7 else "7: it needs more memory than there is" for n in range(40)]
