import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAULTS = """
import resource, torch
from manifests.memory import keep_freed_memory
{first}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    for size in (64, 40, 52):
        torch.ones(size << 20, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


class TestFreedMemory:
    """What is freed is there for what comes next, without a fault of a page."""

    def test_blocks_of_a_loop_are_the_same_ones_again_and_again(self) -> None:
        if platform.libc_ver()[0] != "glibc":
            pytest.skip("another C library")
        pages = 20 * ((64 + 40 + 52) << 20) // 4096
        assert faults("") > pages // 2  # what glibc does by itself
        assert faults("keep_freed_memory()") < pages // 5


def faults(first: str) -> int:
    """Of pages, in a process of its own."""
    program = [sys.executable, "-c", FAULTS.format(first=first)]
    return int(subprocess.run(program, cwd=ROOT, capture_output=True, check=True, timeout=120).stdout)
