import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAULTS = """
import resource, torch
from training.environment import keep_freed_memory
{first}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64 << 20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(), faults())
"""


class TestFreedMemory:
    """What is freed is there for the next one, without a fault of a page."""

    def test_the_second_block_of_a_size_is_the_first_one_again(self) -> None:
        if platform.libc_ver()[0] != "glibc":
            pytest.skip("another C library")
        first, again = faults("keep_freed_memory()")
        given, given_again = faults("")
        pages = (64 << 20) // 4096
        assert given > pages // 2
        assert given_again > pages // 2  # what glibc does by itself
        assert first > pages // 2
        assert again < pages // 100


def faults(first: str) -> list[int]:
    """Of pages, for two blocks of 64 MB, one after the other, in a process of its own."""
    program = [sys.executable, "-c", FAULTS.format(first=first)]
    answer = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    return [int(word) for word in answer.stdout.split()]
