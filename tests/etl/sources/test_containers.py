import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.sources.containers import Folder, TooLarge, open_container
from etl.sources.entries import clean, original, readable, stamp
from manifests.errors import Exit, UserError
from tests.etl.sources.making import folder

needs_links = pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights on Windows")
needs_raw_names = pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="names are Unicode here")


def paths(root: Path) -> list[str]:
    return [entry.path for entry in Folder(root).entries()]


class TestOpenContainer:
    """A source is a folder or an archive that its name tells; anything else is refused with what is expected."""

    def test_a_missing_source_is_named(self, tmp_path: Path):
        with pytest.raises(
            UserError, match=r"nowhere: there is no such folder or archive. Give a folder, .zip"
        ) as refused:
            open_container(tmp_path / "nowhere", tmp_path)
        assert refused.value.code == Exit.USAGE

    def test_a_file_that_is_no_archive_is_named(self, tmp_path: Path):
        (tmp_path / "cat.jpg").write_bytes(b"x")
        with pytest.raises(UserError, match=r"cat.jpg: a file, but no archive that is known") as refused:
            open_container(tmp_path / "cat.jpg", tmp_path)
        assert refused.value.code == Exit.USAGE


class TestFolder:
    """Every file below a folder, sorted by path."""

    def test_files_are_listed_with_size_and_time(self, tmp_path: Path):
        folder(tmp_path, {"b.jpg": b"12", "a/c.jpg": b"123"})
        entries = Folder(tmp_path).entries()
        assert [(e.path, e.bytes, e.offset) for e in entries] == [("a/c.jpg", 3, -1), ("b.jpg", 2, -1)]
        assert entries[1].stamp == (tmp_path / "b.jpg").stat().st_mtime_ns

    def test_a_file_is_read_whole(self, tmp_path: Path):
        source = Folder(folder(tmp_path, {"a.jpg": b"1234"}))
        assert source.read(source.entries()[0], 4) == b"1234"

    def test_a_file_over_the_limit_is_not_read(self, tmp_path: Path):
        source = Folder(folder(tmp_path, {"a.jpg": b"1234"}))
        with pytest.raises(TooLarge, match=r"a.jpg: 4 bytes, more than 3"):
            source.read(source.entries()[0], 3)

    def test_it_travels_to_workers(self, tmp_path: Path):
        source = Folder(folder(tmp_path, {"a.jpg": b"1234"}))
        again, entry = pickle.loads(pickle.dumps((source, source.entries()[0])))
        assert again.read(entry, 9) == b"1234"

    @needs_links
    def test_links_to_files_are_followed(self, tmp_path: Path):
        folder(tmp_path, {"in/.keep": b"", "out/a.jpg": b"123"})
        (tmp_path / "in/b.jpg").symlink_to(tmp_path / "out/a.jpg")
        assert [(e.path, e.bytes) for e in Folder(tmp_path / "in").entries()] == [(".keep", 0), ("b.jpg", 3)]

    @needs_links
    def test_a_link_to_nothing_is_listed_and_cannot_be_read(self, tmp_path: Path):
        (tmp_path / "a.jpg").symlink_to(tmp_path / "gone.jpg")
        (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
        source = Folder(tmp_path)
        assert [(e.path, e.bytes) for e in source.entries()] == [("a.jpg", 0), ("self.jpg", 0)]
        for entry in source.entries():
            with pytest.raises(OSError, match=entry.path):
                source.read(entry, 9)

    @needs_links
    def test_a_linked_folder_outside_is_followed(self, tmp_path: Path):
        folder(tmp_path, {"in/x.jpg": b"", "out/deep/a.jpg": b""})
        (tmp_path / "in/cat").symlink_to(tmp_path / "out")
        assert paths(tmp_path / "in") == ["cat/deep/a.jpg", "x.jpg"]

    @needs_links
    def test_links_back_up_end(self, tmp_path: Path):
        folder(tmp_path, {"in/cat/a.jpg": b"", "beside.jpg": b""})
        (tmp_path / "in/cat/up").symlink_to(tmp_path / "in")
        (tmp_path / "in/cat/further").symlink_to(tmp_path)
        assert paths(tmp_path / "in") == ["cat/a.jpg"]

    @needs_links
    def test_a_real_folder_keeps_its_real_name(self, tmp_path: Path):
        folder(tmp_path, {"z/a.jpg": b""})
        (tmp_path / "a").symlink_to(tmp_path / "z")
        assert paths(tmp_path) == ["z/a.jpg"]

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read every folder")
    def test_a_folder_that_cannot_be_listed_is_named(self, tmp_path: Path):
        folder(tmp_path, {"cat/a.jpg": b""})
        (tmp_path / "cat").chmod(0)
        try:
            with pytest.raises(UserError, match=r"cat': the folder cannot be listed \(Permission denied\)"):
                paths(tmp_path)
        finally:
            (tmp_path / "cat").chmod(0o700)

    @pytest.mark.skipif(os.name == "nt", reason="no pipes in folders")
    def test_what_is_no_regular_file_is_left_out(self, tmp_path: Path):
        os.mkfifo(tmp_path / "pipe.jpg")
        assert paths(tmp_path) == []


@needs_raw_names
class TestNamesThatAreNotUtf8:
    """A byte that is not UTF-8 stands as %E9 in the path, and the file still opens."""

    def test_it_is_listed_and_read(self, tmp_path: Path):
        raw = os.fsencode(tmp_path)
        os.mkdir(raw + b"/50%\xe9")  # noqa: PTH102 (bytes)
        for name in (b"/50%\xe9/caf\xe9%.jpg", b"/50%\xe9/plain%25.jpg"):
            with open(raw + name, "wb") as file:  # noqa: PTH123 (bytes)
                file.write(name[-9:])
        source = Folder(tmp_path)
        assert {e.path: source.read(e, 99) for e in source.entries()} == {
            "50%25%E9/caf%E9%25.jpg": b"caf\xe9%.jpg",
            "50%25%E9/plain%25.jpg": b"in%25.jpg",
        }

    def test_two_files_that_would_share_a_name_are_refused(self, tmp_path: Path):
        raw = os.fsencode(tmp_path)
        for name in (b"/\xe9.jpg", b"/%E9.jpg"):
            with open(raw + name, "wb"):  # noqa: PTH123 (bytes)
                pass
        with pytest.raises(UserError, match=r"two files would both be called '%E9.jpg'"):
            paths(tmp_path)


class TestNames:
    """Names become what any table holds, and back."""

    @given(st.binary(min_size=1, max_size=20))
    def test_any_name_is_utf8_and_comes_back(self, raw: bytes):
        name = raw.decode(errors="surrogateescape")
        shown = readable(name)
        shown.encode()
        assert name in (shown, original(shown))

    @pytest.mark.parametrize(
        ("name", "path"),
        [
            ("/etc/a.jpg", "etc/a.jpg"),
            ("../../a.jpg", "a.jpg"),
            ("cat/../dog//./a.jpg", "dog/a.jpg"),
            ("C:/cat/a.jpg", "cat/a.jpg"),
            ("..", ""),
        ],
    )
    def test_a_member_name_becomes_a_relative_path(self, name: str, path: str):
        assert clean(name) == path

    @given(st.text(alphabet="ab./:", max_size=20))
    def test_a_clean_name_stays_inside_and_is_clean_already(self, name: str):
        path = clean(name)
        assert not path.startswith("/")
        assert ".." not in path.split("/")
        assert path == "" or all(part not in ("", ".") for part in path.split("/"))

    def test_a_stamp_fits_a_signed_column_and_differs(self):
        stamps = [stamp(number, "x") for number in range(1000)]
        assert len(set(stamps)) == 1000
        assert min(stamps) >= 0
        assert max(stamps) < 2**63
