import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from manifests.digests import file_digest
from manifests.errors import Exit, UserError
from manifests.store import (
    HOST,
    DatasetStore,
    Stage,
    dataset_names,
    open_dataset,
    read_stage,
    stage_key,
    sweep,
    write_whole,
)

BEGUN = Stage("curate", "0123456789abcdef", {"seed": 1}, {"images": "x"})


def store(root: Path) -> DatasetStore:
    return DatasetStore(root / "made")


def published(root: Path, text: str = "content", begun: Stage = BEGUN) -> Stage:
    with store(root).publish(begun) as (folder, finish):
        (folder / "images.txt").write_text(text)
        return finish("digest", {"kept": 3})


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def refusal(code: Exit, call: object, *args: object) -> str:
    assert callable(call)
    with pytest.raises(UserError) as raised:
        call(*args)
    assert raised.value.code == code
    return str(raised.value)


def gone_process() -> int:
    """The id of a process that was, and is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class TestKey:
    """A key is made of the stage, its settings and what it reads."""

    def test_each_part_counts_and_the_order_of_keys_does_not(self):
        base = stage_key("curate", {"a": 1, "b": 2}, {"i": "x"})
        others = [("augment", {"a": 1, "b": 2}, {"i": "x"}), ("curate", {"a": 2, "b": 2}, {"i": "x"})]
        others += [("curate", {"a": 1, "b": 2}, {"i": "y"})]
        assert len({base, *(stage_key(*other) for other in others)}) == 4
        assert base == stage_key("curate", {"b": 2, "a": 1}, {"i": "x"})
        assert len(base) == 16


class TestPublish:
    """A stage is there whole or not at all."""

    def test_what_was_written_is_there_and_says_what_it_is(self, tmp_path: Path):
        done = published(tmp_path)
        folder = store(tmp_path).folder("curate", BEGUN.key)
        assert names(folder) == ["images.txt", "stage.json"]
        assert (folder / "images.txt").read_text() == "content"
        assert done == read_stage(folder) == store(tmp_path).find("curate", BEGUN.key)
        assert (done.settings, done.inputs, done.digest, done.counts) == (
            BEGUN.settings,
            BEGUN.inputs,
            "digest",
            {"kept": 3},
        )
        assert done.files == {"images.txt": file_digest(folder / "images.txt")}
        assert done.versions["python"] == sys.version.split()[0]
        assert names(folder.parent) == [BEGUN.key]

    def test_files_that_are_known_are_not_read_again_and_folders_are_kept(self, tmp_path: Path):
        with store(tmp_path).publish(BEGUN) as (folder, finish):
            (folder / "deep").mkdir()
            (folder / "deep/a").write_text("1")
            (folder / "b").write_text("2")
            done = finish("d", {}, {"b": "known"})
        assert done.files == {
            "b": "known",
            "deep/a": file_digest(store(tmp_path).folder("curate", BEGUN.key) / "deep/a"),
        }

    def test_an_exception_leaves_nothing(self, tmp_path: Path):
        with pytest.raises(ZeroDivisionError), store(tmp_path).publish(BEGUN) as (folder, _):  # noqa: PT012
            (folder / "images.txt").write_text("half")
            raise ZeroDivisionError
        assert names(tmp_path / "made/curate") == []

    def test_leaving_without_finish_leaves_nothing(self, tmp_path: Path):
        with store(tmp_path).publish(BEGUN) as (folder, _):
            (folder / "images.txt").write_text("half")
        assert names(tmp_path / "made/curate") == []

    def test_the_first_of_two_publishers_of_a_key_stays(self, tmp_path: Path):
        with store(tmp_path).publish(BEGUN) as (folder, finish):
            (folder / "images.txt").write_text("slow")
            other = folder.with_name(
                f".{BEGUN.key}.{HOST}-1.tmp"
            )  # as another process would have it; 1 is always alive
            other.mkdir()
            (other / "images.txt").write_text("fast")
            (other / "stage.json").write_text(
                json.dumps({"stage": "curate", "key": BEGUN.key, "settings": {}, "inputs": {}, "digest": "same"})
            )
            other.rename(store(tmp_path).folder("curate", BEGUN.key))
            assert finish("same", {}).files == {}
        assert (store(tmp_path).folder("curate", BEGUN.key) / "images.txt").read_text() == "fast"
        assert names(tmp_path / "made/curate") == [BEGUN.key]

    def test_what_comes_out_otherwise_takes_the_place_of_what_was_there(self, tmp_path: Path):
        published(tmp_path)
        with store(tmp_path).publish(BEGUN) as (folder, finish):
            (folder / "images.txt").write_text("readable now")
            finish("another digest", {})
        assert (store(tmp_path).folder("curate", BEGUN.key) / "images.txt").read_text() == "readable now"
        assert names(tmp_path / "made/curate") == [BEGUN.key]

    def test_what_another_host_writes_is_left_alone(self, tmp_path: Path):
        theirs = tmp_path / f"made/curate/.feedfeedfeedfeed.elsewhere-{gone_process()}.tmp"
        theirs.mkdir(parents=True)
        published(tmp_path)
        assert theirs.is_dir()

    def test_a_folder_in_the_way_is_named(self, tmp_path: Path):
        target = store(tmp_path).folder("curate", BEGUN.key)
        target.mkdir(parents=True)
        (target / "mine.txt").write_text("keep")
        said = refusal(Exit.REFUSED, published, tmp_path)
        assert said == f"{target}: a folder without stage.json stands in the way; remove it and run again."
        assert names(target) == ["mine.txt"]

    def test_a_full_disk_is_said_and_leaves_nothing(self, tmp_path: Path):
        with pytest.raises(UserError, match="the disk is full; nothing was changed"), store(tmp_path).publish(BEGUN):
            raise OSError(errno.ENOSPC, "No space left on device")
        assert names(tmp_path / "made/curate") == []

    def test_another_os_error_is_our_bug(self, tmp_path: Path):
        with pytest.raises(OSError, match="odd"), store(tmp_path).publish(BEGUN):
            raise OSError(errno.EIO, "odd")

    def test_a_store_that_cannot_be_written_is_named(self, tmp_path: Path):
        (tmp_path / "made").write_text("a file")
        assert refusal(Exit.REFUSED, published, tmp_path).startswith(
            f"{tmp_path}/made/curate: the store cannot be written here (Not a directory); name another with --store"
        )


class TestSweep:
    """What a process that is gone left behind is removed; what a living one writes is not."""

    def test_the_next_publisher_removes_what_the_dead_left(self, tmp_path: Path):
        parent = tmp_path / "made/curate"
        left, alive = (
            parent / f".feedfeedfeedfeed.{HOST}-{gone_process()}.tmp",
            parent / f".feedfeedfeedfeed.{HOST}-{os.getppid()}.tmp",
        )
        for folder in (left, alive):
            folder.mkdir(parents=True)
            (folder / "half").write_text("x")
        published(tmp_path)
        assert names(parent) == sorted([alive.name, BEGUN.key])

    def test_what_a_crash_of_this_very_id_left_is_replaced(self, tmp_path: Path):
        mine = tmp_path / f"made/curate/.{BEGUN.key}.{HOST}-{os.getpid()}.tmp"
        mine.mkdir(parents=True)
        (mine / "half").write_text("x")
        assert list(published(tmp_path).files) == ["images.txt"]

    def test_other_names_are_left_alone(self, tmp_path: Path):
        for name in (".x.tmp", ".a.b.tmp", "mine.tmp"):
            (tmp_path / name).mkdir()
        sweep(tmp_path)
        assert names(tmp_path) == [".a.b.tmp", ".x.tmp", "mine.tmp"]


class TestRead:
    """Stages are found again; a damaged one is one clear error."""

    def test_none_is_there_before_it_is_made(self, tmp_path: Path):
        assert store(tmp_path).find("curate", "x") is None
        assert store(tmp_path).published("curate") == []

    def test_published_come_newest_first(self, tmp_path: Path):
        for number, key in enumerate(["aaaa", "cccc", "bbbb"]):
            published(tmp_path, begun=Stage("curate", key, {}, {}))
            os.utime(store(tmp_path).folder("curate", key) / "stage.json", (number, number))
        assert [stage.key for stage in store(tmp_path).published("curate")] == ["bbbb", "cccc", "aaaa"]

    @pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"{}", b'{"other": 1}', b"\xff\xfe", b"3"])
    def test_a_damaged_stage_is_named_with_its_remedy(self, tmp_path: Path, text: bytes):
        published(tmp_path)
        folder = store(tmp_path).folder("curate", BEGUN.key)
        (folder / "stage.json").write_bytes(text)
        expected = f"{folder}/stage.json: damaged; remove {folder} and run the stage again."
        assert refusal(Exit.STALE, store(tmp_path).find, "curate", BEGUN.key) == expected


class TestAsked:
    """What was last asked is remembered, replaced at once."""

    def test_nothing_is_asked_at_first(self, tmp_path: Path):
        assert store(tmp_path).asked() == {}

    def test_what_is_asked_is_read_again_and_leaves_no_other_file(self, tmp_path: Path):
        for asked in ({"curate": {"seed": 1}}, {"extract": {"source": "ñ"}}):
            store(tmp_path).ask(asked)
            assert store(tmp_path).asked() == asked
        assert names(tmp_path / "made") == ["settings.json"]

    def test_damaged_settings_are_named(self, tmp_path: Path):
        write_whole(tmp_path / "made/settings.json", "{")
        expected = f"{tmp_path}/made/settings.json: not readable as JSON; remove it and name the settings again."
        assert refusal(Exit.STALE, store(tmp_path).asked) == expected

    def test_a_reader_sees_the_old_text_or_the_new_never_a_part(self, tmp_path: Path):
        file, texts = tmp_path / "f", ["a" * 100_000, "b" * 100_000]
        write_whole(file, texts[0])
        writer = subprocess.Popen(
            [sys.executable, "-c", "import sys; from pathlib import Path; from manifests.store import write_whole\n"
             "for n in range(60): write_whole(Path(sys.argv[1]), 'ba'[n % 2] * 100_000)", str(file)],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        reads: list[str] = []
        until = time.monotonic() + 20
        while writer.poll() is None and time.monotonic() < until:
            reads.append(file.read_text())
        assert writer.wait() == 0
        assert set(reads) <= set(texts)
        assert len(reads) > 10


class TestOpenDataset:
    """The data set of a name, or the only one there."""

    def test_the_only_one_needs_no_name(self, tmp_path: Path):
        store(tmp_path).ask({"dataset": "x"})
        assert open_dataset(tmp_path, None) == open_dataset(tmp_path, "made") == store(tmp_path)
        assert store(tmp_path).name == "made"

    def test_of_several_one_must_be_named(self, tmp_path: Path):
        for name in ("b", "a"):
            DatasetStore(tmp_path / name).ask({"dataset": "x"})
        (tmp_path / "no data set").mkdir()
        assert dataset_names(tmp_path) == ["a", "b"]
        expected = f"{tmp_path}: holds a, b; say which with --dataset NAME."
        assert refusal(Exit.USAGE, open_dataset, tmp_path, None) == expected

    def test_none_and_an_unknown_one_say_how_to_begin(self, tmp_path: Path):
        assert refusal(Exit.USAGE, open_dataset, tmp_path / "no", None) == (
            f"{tmp_path}/no: no data set here yet; begin with: alacena extract SOURCE --dataset NAME"
        )
        assert refusal(Exit.USAGE, open_dataset, tmp_path, "x") == (
            f"{tmp_path}: no data set 'x' here; it is empty. Begin with: alacena extract SOURCE --dataset x"
        )
        store(tmp_path).ask({"dataset": "x"})
        assert "here; it holds made. Begin" in refusal(Exit.USAGE, open_dataset, tmp_path, "x")
