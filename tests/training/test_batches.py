import os
import resource
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import Exit, UserError
from tests.training.makers import everything, shard_set
from training.batches import RESIDENT_SHARE, Batches, fit, in_order, permutation
from training.mapped import Mapped
from training.ring import RING

KINDS = [{"ahead": False}, {"ahead": True}, {"resident": True}]  # as on the CPU, streaming to a GPU, lying on a GPU


def bits(images: torch.Tensor) -> np.ndarray[Any, Any]:
    """Whatever the type, the bytes."""
    return images.contiguous().view(torch.uint8).numpy().copy()


class TestOrder:
    """An epoch is a permutation of the whole split that seed and epoch decide."""

    @given(rows=st.integers(1, 300), seed=st.integers(0, 2**31), epoch=st.integers(0, 1000))
    def test_a_permutation_holds_every_row_once(self, rows: int, seed: int, epoch: int) -> None:
        assert np.arange(rows).tolist() == sorted(permutation(rows, seed, epoch).tolist())

    def test_the_order_never_changes_between_versions(self) -> None:
        assert permutation(10, 0, 1).tolist() == [7, 4, 5, 1, 9, 8, 6, 2, 0, 3]

    def test_epochs_and_seeds_differ(self) -> None:
        orders = {tuple(permutation(50, seed, epoch).tolist()) for seed in range(5) for epoch in range(5)}
        assert len(orders) == 25


class TestGather:
    """Whatever the shards, the batch size and where it happens, a batch is what plain indexing gives."""

    @settings(max_examples=40, deadline=None)
    @given(
        cuts=st.lists(st.integers(1, 9), min_size=1, max_size=5),
        size=st.integers(1, 12),
        seed=st.none() | st.integers(0, 9),
        kind=st.sampled_from(KINDS),
        side=st.sampled_from([3, 4]),  # rows of 27 bytes and of 48: read as bytes and as words
    )
    def test_every_row_once_and_as_stored(
        self, cuts: list[int], size: int, seed: int | None, kind: Any, side: int
    ) -> None:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            shard_set(folder, rows={"train": tuple(cuts)}, size=side)
            images, labels = everything(folder, "train")
            with Batches(folder, "train", size, "cpu", seed=seed, **kind) as batches:
                order = np.arange(len(labels)) if seed is None else permutation(len(labels), seed, 7)
                wanted = [np.sort(order[a:b]) for a, b in pairwise(batches.cuts)]
                seen = [(bits(x), y.tolist()) for x, y in batches.epoch(7)]
        assert sorted(np.concatenate(wanted).tolist()) == list(range(len(labels)))
        assert len(wanted) == len(seen)
        for rows, (x, y) in zip(wanted, seen, strict=True):
            assert np.array_equal(images[rows], x)
            assert labels[rows].tolist() == y

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
    def test_floats_arrive_in_their_own_type(self, tmp_path: Path, dtype: Any) -> None:
        shard_set(tmp_path, dtype=dtype)
        images, _ = everything(tmp_path, "train")
        seen = [x.clone() for x, _ in in_order(tmp_path, "train", 8, torch.device("cpu"))]
        assert {getattr(torch, dtype)} == {x.dtype for x in seen}
        assert np.array_equal(images.view(np.uint8), np.concatenate([bits(x) for x in seen]))

    def test_in_order_ends_with_a_smaller_batch(self, tmp_path: Path) -> None:
        shard_set(tmp_path)
        assert [len(y) for _, y in in_order(tmp_path, "train", 8, torch.device("cpu"))] == [8, 8, 8, 6]

    def test_a_single_last_row_joins_the_batch_before_when_training(self, tmp_path: Path) -> None:
        shard_set(tmp_path, rows={"train": (10, 7)})
        with Batches(tmp_path, "train", 8, "cpu", seed=0) as batches:
            assert [len(y) for _, y in batches.epoch()] == [8, 9]

    @pytest.mark.parametrize("kind", KINDS)
    def test_an_epoch_can_begin_at_any_batch(self, tmp_path: Path, kind: Any) -> None:
        shard_set(tmp_path)
        with Batches(tmp_path, "train", 4, "cpu", seed=3, **kind) as batches:
            whole = [bits(x).tobytes() for x, _ in batches.epoch(2)]
            for start in range(batches.steps + 1):
                assert whole[start:] == [bits(x).tobytes() for x, _ in batches.epoch(2, start)]

    def test_only_the_split_that_is_asked_for_is_opened(self, tmp_path: Path) -> None:
        shard_set(tmp_path, rows={"train": (9,), "test": (4,)})
        (tmp_path / "test-00000.safetensors").unlink()
        assert sum(len(y) for _, y in in_order(tmp_path, "train", 4, torch.device("cpu"))) == 9


class TestMemory:
    """Buffers go round; a batch is the caller's until the next is asked for."""

    @pytest.mark.parametrize(("kind", "buffers"), [(KINDS[0], 1), (KINDS[1], RING), (KINDS[2], 1)])
    def test_no_epoch_allocates(self, tmp_path: Path, kind: Any, buffers: int) -> None:
        shard_set(tmp_path)
        with Batches(tmp_path, "train", 4, "cpu", seed=0, **kind) as batches:
            places = [{(x.data_ptr(), y.data_ptr()) for x, y in batches.epoch(epoch)} for epoch in range(5)]
        assert len(set().union(*places)) == buffers

    def test_a_batch_stays_as_it_is_until_the_next_is_asked_for(self, tmp_path: Path) -> None:
        shard_set(tmp_path)
        with Batches(tmp_path, "train", 4, "cpu", seed=0, ahead=True) as batches:
            for images, labels in batches.epoch():
                before = bits(images), labels.clone()
                time.sleep(0.01)  # the thread fills every other buffer meanwhile
                assert np.array_equal(before[0], bits(images))
                assert torch.equal(before[1], labels)

    def test_a_split_larger_than_the_buffers_does_not_make_the_process_grow(self, tmp_path: Path) -> None:
        if not Path("/proc/self/status").exists():
            pytest.skip("needs /proc")
        index = shard_set(tmp_path, rows={"train": (400, 400)}, size=128)  # 39 MB in batches of 2 MB
        size = sum(shard.bytes for shard in index.splits["train"])
        with Batches(tmp_path, "train", 40, "cpu", seed=0) as batches:
            list(batches.epoch(1))
            before = own_memory()
            list(batches.epoch(2))
            assert own_memory() - before < size / 10


def own_memory() -> int:
    """Bytes of this process's own: mapped files are the kernel's, which takes them back when it likes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


class TestReadingAhead:
    """What is not in memory is asked for before it is needed; what is asked for changes nothing else."""

    def test_a_plan_comes_out_as_it_went_in(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        shard_set(tmp_path, rows={"train": (9, 6)})
        monkeypatch.setattr("training.mapped.AHEAD", 500)  # bytes: less than three rows
        plan = [np.array([0, 3]), np.array([8, 9, 10]), np.array([14])]
        assert [each.tolist() for each in Mapped(tmp_path, "train").read_ahead(plan)] == [
            each.tolist() for each in plan
        ]

    def test_rows_that_the_cache_lost_are_there_after_asking(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not hasattr(os, "RWF_NOWAIT"):
            pytest.skip("needs Linux")
        shard_set(tmp_path, rows={"train": (40, 60)}, size=64)
        mapped = Mapped(tmp_path, "train")
        disk = mapped._disk  # pyright: ignore[reportPrivateUsage] # what the kernel holds has no public face
        monkeypatch.setattr("training.mapped.CACHE_SHARE", 0.0)  # no room for all of it
        forget(tmp_path)
        if disk.has(1, 30):
            pytest.skip("this file system forgets nothing")
        list(mapped.read_ahead([np.array([5, 70, 71])]))
        deadline = time.monotonic() + 10
        while not (disk.has(0, 5) and disk.has(1, 30) and disk.has(1, 31)):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def test_all_of_the_split_is_read_where_there_is_room_for_it(self, tmp_path: Path) -> None:
        if not hasattr(os, "RWF_NOWAIT"):
            pytest.skip("needs Linux")
        shard_set(tmp_path, rows={"train": (40, 60)}, size=64)
        mapped = Mapped(tmp_path, "train")
        disk = mapped._disk  # pyright: ignore[reportPrivateUsage] # what the kernel holds has no public face
        forget(tmp_path)
        if disk.has(1, 59):  # looking has the kernel read what was missing: not the row that is looked for below
            pytest.skip("this file system forgets nothing")
        list(mapped.read_ahead([np.array([5])]))
        assert [disk.has(shard, row) for shard, row in ((0, 0), (0, 39), (1, 0))] == [True] * 3

    def test_a_cold_epoch_is_the_same_as_a_warm_one(self, tmp_path: Path) -> None:
        shard_set(tmp_path, rows={"train": (40, 60)}, size=32)
        with Batches(tmp_path, "train", 8, "cpu", seed=1) as batches:
            warm = [bits(x).tobytes() for x, _ in batches.epoch(1)]
        forget(tmp_path)  # which spares what is mapped
        with Batches(tmp_path, "train", 8, "cpu", seed=1) as batches:
            disk = Mapped(tmp_path, "train")._disk  # pyright: ignore[reportPrivateUsage] # what the kernel holds
            if disk.has(1, 59):
                pytest.skip("this file system forgets nothing")
            assert warm == [bits(x).tobytes() for x, _ in batches.epoch(1)]

    def test_closing_closes_the_files(self, tmp_path: Path) -> None:
        folder = Path("/proc/self/fd")
        if not folder.exists():
            pytest.skip("needs /proc")
        shard_set(tmp_path)
        batches = Batches(tmp_path, "train", 8, "cpu", seed=1)

        def held() -> list[str]:
            return [str(each.readlink()) for each in folder.iterdir() if each.is_symlink()]

        assert (
            len([file for file in held() if str(tmp_path) in file]) == 3
        )  # one a shard, of which there may be hundreds
        batches.close()
        assert not any(str(tmp_path) in file for file in held())


def forget(folder: Path) -> None:
    """Have the kernel drop the shards from its page cache, as far as it will."""
    for file in folder.glob("*.safetensors"):
        handle = os.open(file, os.O_RDONLY)
        os.fsync(handle)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


class TestFit:
    """Splits may lie on the device where all of them together take no more than the share of what is free."""

    def test_two_may_not_where_one_may(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        index, cuda = shard_set(tmp_path), torch.device("cuda")
        size = sum(shard.bytes for shards in index.splits.values() for shard in shards)
        for free, both in ((size / RESIDENT_SHARE, True), (size / RESIDENT_SHARE - 1, False)):
            monkeypatch.setattr(torch.cuda, "mem_get_info", {cuda: (free, 0)}.__getitem__)
            assert fit(tmp_path, ["train"], cuda)
            assert fit(tmp_path, ["val"], cuda)
            assert fit(tmp_path, ["train", "val"], cuda) == both

    def test_on_the_cpu_nothing_is_copied_that_lies_in_memory_already(self, tmp_path: Path) -> None:
        shard_set(tmp_path)
        with Batches(tmp_path, "train", 4, "cpu") as batches:
            assert not batches.is_resident


def threads() -> int:
    return sum(thread.name == "batches" for thread in threading.enumerate())


class TestEnds:
    """Threads and maps end with the epoch, however it ends."""

    def test_a_loop_that_is_left_ends_its_thread(self, tmp_path: Path) -> None:
        shard_set(tmp_path)
        with Batches(tmp_path, "train", 2, "cpu", seed=0, ahead=True) as batches:
            for _ in batches.epoch():
                assert threads() == 1
                break
            assert threads() == 0

    def test_a_loop_that_raises_ends_its_thread_with_the_batches(self, tmp_path: Path) -> None:
        shard_set(tmp_path)

        def broken() -> None:
            with Batches(tmp_path, "train", 2, "cpu", seed=0, ahead=True) as batches:
                for _ in batches.epoch():
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            broken()
        assert threads() == 0

    def test_a_new_epoch_ends_the_one_before(self, tmp_path: Path) -> None:
        shard_set(tmp_path)
        with Batches(tmp_path, "train", 2, "cpu", seed=0, ahead=True) as batches:
            first = batches.epoch(1)
            next(first)
            assert len(list(batches.epoch(2))) == batches.steps
            assert list(first) == []

    def test_closing_unmaps_the_shards(self, tmp_path: Path) -> None:
        maps = Path("/proc/self/maps")
        if not maps.exists():
            pytest.skip("needs /proc")
        shard_set(tmp_path)
        batches = Batches(tmp_path, "train", 2, "cpu", seed=0, ahead=True)
        list(batches.epoch())
        assert str(tmp_path) in maps.read_text()
        batches.close()
        assert str(tmp_path) not in maps.read_text()
        with pytest.raises(RuntimeError, match="closed"):
            batches.epoch()

    def test_what_goes_wrong_in_the_thread_reaches_the_caller(self, tmp_path: Path) -> None:
        shard_set(tmp_path)
        with Batches(tmp_path, "train", 4, "cpu", ahead=True) as batches:
            source = batches._source  # pyright: ignore[reportPrivateUsage] # the public plan cannot go wrong
            with pytest.raises(TypeError, match="0-dimensional"):
                list(source.batches(iter([np.arange(4), np.zeros((1, 1, 1), np.int64)])))
            assert threads() == 0


class TestOpenFiles:
    """Each shard's map holds a file open; the process allows itself as many as that takes."""

    def test_more_shards_than_open_files_were_allowed(self, tmp_path: Path) -> None:
        shard_set(tmp_path, rows={"train": (1,) * 400, "val": (1,) * 300})
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/dev/fd").iterdir())) + 40, hard))
        try:
            with Batches(tmp_path, "train", 90, "cpu") as train, Batches(tmp_path, "val", 90, "cpu") as val:
                assert [sum(len(labels) for _, labels in each.epoch(1)) for each in (train, val)] == [400, 300]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def test_more_than_the_system_allows_are_refused_with_the_remedy(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def limits(_: int) -> tuple[int, int]:
            return 50, 60

        shard_set(tmp_path)
        monkeypatch.setattr(resource, "getrlimit", limits)
        with pytest.raises(UserError, match=r"this system allows 60; make the shards larger") as caught:
            Batches(tmp_path, "train", 4, "cpu")
        assert caught.value.code == Exit.REFUSED


class TestRefusal:
    """What cannot be read is refused before the first batch, with the place."""

    def test_a_split_without_rows(self, tmp_path: Path) -> None:
        shard_set(tmp_path)
        with pytest.raises(UserError, match="test has no rows") as caught:
            Batches(tmp_path, "test", 4, "cpu")
        assert caught.value.code == Exit.REFUSED

    @pytest.mark.parametrize("cut", [0, 1, 5000, None])
    def test_a_shard_cut_short_or_gone(self, tmp_path: Path, cut: int | None) -> None:
        shard_set(tmp_path)
        file = tmp_path / "train-00001.safetensors"
        if cut is None:
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:cut])
        with pytest.raises(UserError, match=r"train-00001\.safetensors: damaged") as caught:
            Batches(tmp_path, "train", 4, "cpu")
        assert caught.value.code == Exit.STALE
