import io
import os
import pickle
import tarfile
import tempfile
import zipfile
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.sources.containers import Container, Entry, TooLarge, open_container
from manifests.errors import UserError
from tests.etl.sources.making import Tree, folder, images, member, reading_of, tarred, zipped

TREE: Tree = {**images("set/cat/ñandú 1.jpg", "set/dog/1.jpg", "set/dog/2.jpg"), "set/.DS_Store": b"", "README": b"x"}
FORMS = {"a.zip": "", "a.tar": "w:", "a.tar.gz": "w:gz", "a.TGZ": "w:gz", "a.tar.bz2": "w:bz2", "a.tar.xz": "w:xz"}


def packed(place: Path, name: str, tree: Tree) -> Path:
    return tarred(place / name, tree, FORMS[name]) if FORMS[name] else zipped(place / name, tree)


def contents(source: Path, spool: Path) -> dict[str, bytes]:
    container = open_container(source, spool)
    return {entry.path: container.read(entry, 1 << 20) for entry in container.entries()}


def read_in_worker(container: Container, entry: Entry) -> bytes:
    return container.read(entry, 1 << 20)


class TestAnyForm:
    """A tree is the same in whatever it is packed."""

    @pytest.mark.parametrize("name", FORMS)
    def test_paths_bytes_and_reading_are_those_of_the_folder(self, tmp_path: Path, name: str):
        plain, archive = folder(tmp_path / "plain", TREE), packed(tmp_path, name, TREE)
        assert contents(archive, tmp_path / "spool") == contents(plain, tmp_path / "spool")
        assert len(contents(plain, tmp_path)) == len(TREE)
        assert reading_of(archive, tmp_path / "spool") == reading_of(plain, tmp_path / "spool")

    @settings(max_examples=25, deadline=None)
    @given(
        st.dictionaries(
            st.lists(st.sampled_from(["cat", "dog", "train", "é"]), min_size=1, max_size=3).map(
                lambda parts: "/".join(parts) + ".jpg"
            ),
            st.binary(max_size=700),
            min_size=1,
        )
    )
    def test_any_tree_is_the_same_in_any_form(self, tree: Tree):
        with tempfile.TemporaryDirectory() as place:
            plain = contents(folder(Path(place, "plain"), tree), Path(place))
            for name in ("a.zip", "a.tar", "a.tar.gz"):
                assert contents(packed(Path(place), name, tree), Path(place, "spool")) == plain

    @pytest.mark.parametrize("name", FORMS)
    def test_the_last_of_two_members_of_one_name_counts(self, tmp_path: Path, name: str):
        archive = packed(tmp_path, name, {"cat/1.jpg": b"old", "dog.jpg": b"", "./cat//1.jpg": b"newer"})
        assert contents(archive, tmp_path) == {"cat/1.jpg": b"newer", "dog.jpg": b""}

    @pytest.mark.parametrize("name", FORMS)
    def test_a_member_over_the_limit_is_not_read(self, tmp_path: Path, name: str):
        container = open_container(packed(tmp_path, name, {"a.jpg": b"1234"}), tmp_path)
        with pytest.raises(TooLarge, match=r"a.jpg: 4 bytes, more than 3"):
            container.read(container.entries()[0], 3)

    @pytest.mark.parametrize("name", FORMS)
    def test_names_that_lead_out_are_names_only(self, tmp_path: Path, name: str):
        archive = packed(tmp_path, name, {"../../up.jpg": b"1", "/root.jpg": b"2"})
        before = sorted(path.name for path in tmp_path.parent.iterdir())
        assert contents(archive, tmp_path / "spool") == {"up.jpg": b"1", "root.jpg": b"2"}
        assert sorted(path.name for path in tmp_path.parent.iterdir()) == before

    @pytest.mark.parametrize("name", FORMS)
    def test_what_is_not_what_its_name_says_is_refused(self, tmp_path: Path, name: str):
        (tmp_path / name).write_bytes(b"this is no archive" * 100)
        with pytest.raises(UserError, match=rf"{name}: .*damaged"):
            contents(tmp_path / name, tmp_path / "spool")

    @pytest.mark.parametrize("name", FORMS)
    @pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
    def test_a_truncated_archive_is_refused(self, tmp_path: Path, name: str, kept: float):
        noise = os.urandom(20_000)
        tree: Tree = {f"cat/{number}.jpg": noise[number:] for number in range(20)}
        whole = packed(tmp_path, name, tree).read_bytes()
        (tmp_path / name).write_bytes(whole[: int(kept * len(whole))])
        with pytest.raises(UserError, match=rf"{name}: .*(damaged|truncated).*Fetch it again"):
            contents(tmp_path / name, tmp_path / "spool")
        assert not list((tmp_path / "spool").glob("*"))

    @pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
    @pytest.mark.parametrize("start", ["fork", "spawn"])
    def test_workers_read_what_the_parent_listed(self, tmp_path: Path, name: str, start: str):
        if start == "fork" and os.name == "nt":
            pytest.skip("no fork on Windows")
        tree: Tree = {f"cat/{number}.jpg": os.urandom(5000) for number in range(40)}
        container = open_container(packed(tmp_path, name, tree), tmp_path / "spool")
        entries = container.entries()
        container.read(entries[0], 1 << 20)
        with get_context(start).Pool(2) as pool:
            read = pool.starmap(read_in_worker, [(container, entry) for entry in entries], chunksize=1)
        assert dict(zip((entry.path for entry in entries), read, strict=True)) == tree

    @pytest.mark.parametrize("name", FORMS)
    def test_stamps_change_with_the_archive(self, tmp_path: Path, name: str):
        def stamps() -> set[int]:
            return {e.stamp for e in open_container(packed(tmp_path, name, tree), tmp_path / "spool").entries()}

        tree = images("a.jpg")
        before = stamps()
        tree = images("a.jpg", "b.jpg")
        assert before.isdisjoint(stamps())


class TestZip:
    """What only a zip can hold."""

    def test_an_encrypted_zip_is_refused_with_a_remedy(self, tmp_path: Path):
        whole = bytearray(zipped(tmp_path / "a.zip", {"cat/1.jpg": b"x"}).read_bytes())
        whole[whole.index(b"PK\x01\x02") + 8] |= 1  # the flag in the directory
        (tmp_path / "a.zip").write_bytes(whole)
        with pytest.raises(UserError, match=r"a.zip: 'cat/1.jpg' is encrypted. Unpack the archive with its password"):
            contents(tmp_path / "a.zip", tmp_path)

    def test_backslashes_of_windows_packers_part_folders(self, tmp_path: Path):
        assert contents(zipped(tmp_path / "a.zip", {"cat\\": b"", "cat\\1.jpg": b"x"}), tmp_path) == {"cat/1.jpg": b"x"}

    def test_names_in_utf8_without_a_flag_are_understood(self, tmp_path: Path):
        whole = zipped(tmp_path / "a.zip", {"cat/ñ.jpg": b"x"}).read_bytes()
        unflagged = whole.replace(b"\x00\x08\x08\x00", b"\x00\x00\x08\x00")  # bit 11 of the flags, before deflate
        assert unflagged != whole
        (tmp_path / "a.zip").write_bytes(unflagged)
        assert list(contents(tmp_path / "a.zip", tmp_path)) == ["cat/ñ.jpg"]

    def test_links_are_left_out(self, tmp_path: Path):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            link = zipfile.ZipInfo("b.jpg")
            link.create_system, link.external_attr = 3, 0o120777 << 16
            archive.writestr(link, "a.jpg")
            archive.writestr("a.jpg", b"x")
        assert contents(tmp_path / "a.zip", tmp_path) == {"a.jpg": b"x"}

    def test_a_damaged_member_fails_alone(self, tmp_path: Path):
        tree: Tree = {"a.jpg": b"first" * 50, "b.jpg": b"other" * 50}
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for name, text in tree.items():
                archive.writestr(name, text)
        whole = (tmp_path / "a.zip").read_bytes()
        (tmp_path / "a.zip").write_bytes(whole.replace(b"otherother", b"otherOTHER", 1))
        container = open_container(tmp_path / "a.zip", tmp_path)
        first, second = container.entries()
        assert container.read(first, 1000) == tree["a.jpg"]
        with pytest.raises(OSError, match="damaged in the archive"):
            container.read(second, 1000)


class TestTar:
    """What only a tar can hold."""

    def test_a_hard_link_is_the_file_it_links_to(self, tmp_path: Path):
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            archive.addfile(member("./a.jpg", size=3), io.BytesIO(b"abc"))
            archive.addfile(member("b.jpg", type=tarfile.LNKTYPE, link="a.jpg"))
            archive.addfile(member("c.jpg", type=tarfile.LNKTYPE, link="b.jpg"))
        assert contents(tmp_path / "a.tar", tmp_path) == {"a.jpg": b"abc", "b.jpg": b"abc", "c.jpg": b"abc"}

    def test_a_hard_link_to_what_is_not_there_is_refused(self, tmp_path: Path):
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            archive.addfile(member("b.jpg", type=tarfile.LNKTYPE, link="a.jpg"))
        with pytest.raises(UserError, match=r"'b.jpg' is a link to 'a.jpg', which is not in the archive"):
            contents(tmp_path / "a.tar", tmp_path)

    def test_symbolic_links_devices_and_folders_are_left_out(self, tmp_path: Path):
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            archive.addfile(member("cat", type=tarfile.DIRTYPE))
            archive.addfile(member("cat/a.jpg", size=1), io.BytesIO(b"a"))
            archive.addfile(member("b.jpg", type=tarfile.SYMTYPE, link="cat/a.jpg"))
            archive.addfile(member("null", type=tarfile.CHRTYPE))
        assert contents(tmp_path / "a.tar", tmp_path) == {"cat/a.jpg": b"a"}

    def test_a_broken_header_in_the_middle_is_not_taken_for_the_end(self, tmp_path: Path):
        whole = bytearray(tarred(tmp_path / "a.tar", images("a.jpg", "b.jpg", "c.jpg")).read_bytes())
        whole[1024 + 150] ^= 1  # in the checksum of b.jpg's header
        (tmp_path / "a.tar").write_bytes(whole)
        with pytest.raises(UserError, match=r"no end mark at byte 1,024"):
            contents(tmp_path / "a.tar", tmp_path)

    def test_names_that_are_not_utf8_are_escaped(self, tmp_path: Path):
        with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
            archive.addfile(member("café.jpg", size=1), io.BytesIO(b"a"))
        assert contents(tmp_path / "a.tar", tmp_path) == {"caf%E9.jpg": b"a"}


class TestUnpacked:
    """A packed tar is unpacked once."""

    def test_it_is_found_again(self, tmp_path: Path):
        archive = tarred(tmp_path / "a.tar.gz", TREE, "w:gz")
        open_container(archive, tmp_path / "spool")
        (plain,) = (tmp_path / "spool").iterdir()
        before = plain.stat().st_mtime_ns, plain.stat().st_ino
        open_container(archive, tmp_path / "spool")
        (plain,) = (tmp_path / "spool").iterdir()
        assert (plain.stat().st_mtime_ns, plain.stat().st_ino) == before

    def test_it_is_unpacked_again_when_the_archive_changed(self, tmp_path: Path):
        archive = tarred(tmp_path / "a.tar.gz", images("a.jpg"), "w:gz")
        assert list(contents(archive, tmp_path / "spool")) == ["a.jpg"]
        tarred(archive, images("b.jpg", "c.jpg"), "w:gz")
        assert list(contents(archive, tmp_path / "spool")) == ["b.jpg", "c.jpg"]

    def test_a_place_that_cannot_be_written_is_named(self, tmp_path: Path):
        archive = tarred(tmp_path / "a.tar.gz", TREE, "w:gz")
        with pytest.raises(UserError, match=r"a.tar.gz/spool: .* cannot be unpacked there \(Not a directory\)"):
            open_container(archive, archive / "spool")

    def test_it_travels_to_workers(self, tmp_path: Path):
        container = open_container(tarred(tmp_path / "a.tgz", images("a.jpg"), "w:gz"), tmp_path / "spool")
        again: Container = pickle.loads(pickle.dumps(container))
        assert again == container
        assert str(again) == str(tmp_path / "a.tgz")


class TestListed:
    """A tar is listed once; its list is kept beside what is unpacked."""

    @pytest.mark.parametrize("name", [name for name in FORMS if FORMS[name]])
    def test_the_kept_list_is_the_list(self, tmp_path: Path, name: str):
        archive, spool = packed(tmp_path, name, TREE), tmp_path / "spool"
        first = open_container(archive, spool).entries()
        (kept,) = spool.glob("*.json")
        before = kept.stat().st_mtime_ns, kept.stat().st_ino
        assert open_container(archive, spool).entries() == first
        assert len(first) == len(TREE)
        assert (kept.stat().st_mtime_ns, kept.stat().st_ino) == before

    def test_what_it_says_is_believed_as_long_as_the_tar_is_the_same(self, tmp_path: Path):
        archive, spool = tarred(tmp_path / "a.tar", images("a.jpg")), tmp_path / "spool"
        open_container(archive, spool).entries()
        (kept,) = spool.glob("*.json")
        kept.write_text('[["b.jpg", 1, 512]]', "utf-8")
        assert [(e.path, e.bytes, e.offset) for e in open_container(archive, spool).entries()] == [("b.jpg", 1, 512)]
        os.utime(archive, ns=(0, 0))
        assert [entry.path for entry in open_container(archive, spool).entries()] == ["a.jpg"]

    @pytest.mark.parametrize("left", ["", '[["a.jpg", 1', "\x00", "null", "[1]", '[["a.jpg", 1]]'])
    def test_a_damaged_list_is_made_again(self, tmp_path: Path, left: str):
        archive, spool = tarred(tmp_path / "a.tar", TREE), tmp_path / "spool"
        first = open_container(archive, spool).entries()
        (kept,) = spool.glob("*.json")
        whole = kept.read_bytes()
        kept.write_text(left, "utf-8")
        assert open_container(archive, spool).entries() == first
        assert kept.read_bytes() == whole

    def test_a_place_that_cannot_be_written_keeps_none(self, tmp_path: Path):
        archive = tarred(tmp_path / "a.tar", TREE)
        container = open_container(archive, archive / "spool")
        assert [entry.path for entry in container.entries()] == sorted(TREE)

    def test_names_of_any_bytes_are_kept(self, tmp_path: Path):
        with tarfile.open(tmp_path / "a.tar", "w:", encoding="latin-1", format=tarfile.GNU_FORMAT) as archive:
            archive.addfile(member("café %.jpg", size=1), io.BytesIO(b"a"))
        first, again = (open_container(tmp_path / "a.tar", tmp_path / "spool").entries() for _ in range(2))
        assert [entry.path for entry in first] == ["caf%E9 %25.jpg"]
        assert again == first
