import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from etl.keys import decoder
from etl.opened import Found, Opened, decoder_note, find, opened
from manifests.errors import Exit, UserError
from manifests.shards import open_rows, read_index
from tests.makers import (
    PIXELS,
    brought,
    class_folders,
    contract,
    encoded,
    folder,
    image,
    jpeg_bytes,
    png_bytes,
    quarters,
    recipe,
    write,
)

FILES = {"a/1.png": png_bytes(seed=1), "a/2.jpg": jpeg_bytes(seed=2), "b/3.PNG": png_bytes(seed=3)}
LEFT_ALONE = {"notes.txt": b"words", ".hidden.png": b"x", "__MACOSX/a.png": b"x", "a/Thumbs.db": b"x"}


def names(found: Found) -> list[str]:
    return [place.name for place in found.places]


def asked(found: Found, workers: int = 0, **changes: Any) -> list[Opened]:
    return list(opened(found.places, contract(8, **changes), workers=workers))


class TestFind:
    """Sources become files to be opened: images by name in folders and archives, and whatever is named itself."""

    def test_a_folder_gives_its_images_in_order_and_counts_what_else_lies_there(self, tmp_path: Path):
        write(tmp_path, FILES | LEFT_ALONE)
        found = find([tmp_path], tmp_path)
        assert names(found) == [f"{tmp_path}/{name}" for name in ("a/1.png", "a/2.jpg", "b/3.PNG")]
        assert found.others == 1  # notes.txt; hidden and system files are not spoken of

    @pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
    def test_an_archive_gives_what_the_folder_gives(self, tmp_path: Path, kind: str):
        write(tmp_path / "source", FILES | LEFT_ALONE)
        archive = tmp_path / f"pictures.{kind}"
        if kind == "zip":
            with zipfile.ZipFile(archive, "w") as out:
                for name, data in (FILES | LEFT_ALONE).items():
                    out.writestr(name, data)
        else:
            with tarfile.open(archive, "w:gz" if kind == "tgz" else "w") as out:
                out.add(tmp_path / "source", ".")
        inside, outside = find([archive], tmp_path / "spool"), find([tmp_path / "source"], tmp_path)
        assert names(inside) == [f"{archive}/{name}" for name in ("a/1.png", "a/2.jpg", "b/3.PNG")]
        assert inside.others == outside.others
        for one, other in zip(asked(inside), asked(outside), strict=True):
            assert one.pixels is not None
            assert np.array_equal(one.pixels, other.pixels)  # pyright: ignore[reportArgumentType] # it is there, as one is

    def test_a_file_that_is_named_is_tried_whatever_its_name(self, tmp_path: Path):
        write(tmp_path, {"download": png_bytes()})
        found = find([tmp_path / "download"], tmp_path)
        assert names(found) == [f"{tmp_path}/download"]
        assert asked(found)[0].problem is None

    def test_sources_stand_in_the_order_in_which_they_were_named(self, tmp_path: Path):
        write(tmp_path, FILES)
        found = find([tmp_path / "b", tmp_path / "a" / "2.jpg", tmp_path / "b"], tmp_path)
        assert names(found) == [f"{tmp_path}/{name}" for name in ("b/3.PNG", "a/2.jpg", "b/3.PNG")]

    def test_where_there_is_no_image_it_says_so(self, tmp_path: Path):
        write(tmp_path, {"a.txt": b"", "b.csv": b""})
        with pytest.raises(UserError, match="no image found among 2 files") as caught:
            find([tmp_path], tmp_path)
        assert caught.value.code == Exit.REFUSED

    def test_a_source_that_is_not_there_is_named(self, tmp_path: Path):
        with pytest.raises(UserError, match="nowhere: no such file; name images, folders or archives"):
            find([tmp_path / "nowhere"], tmp_path)


class TestPixels:
    """A file gives, bit for bit, the row that the transform made of it."""

    @pytest.mark.parametrize("pixels", PIXELS)
    def test_it_is_the_row_of_the_shard(self, tmp_path: Path, pixels: dict[str, Any]):
        source = class_folders(tmp_path / "source", {"cat": 6, "dog": 6})
        write(source, {f"cat/{n}.jpg": jpeg_bytes(200 + n, 150, seed=900 + n) for n in range(4)})
        shards = folder(tmp_path, brought(recipe(source, transform=pixels), tmp_path)["transform"])
        index, rows = read_index(shards), pl.read_parquet(shards / "rows.parquet")
        found = find([source / path for path in rows["path"]], tmp_path)
        seen = list(opened(found.places, index.contract, workers=0))
        assert len(seen) == 16
        for row, one in zip(rows.iter_rows(named=True), seen, strict=True):
            stored = open_rows(shards / row["shard"]).images[row["row"]]
            assert one.pixels is not None
            assert one.pixels.dtype == stored.dtype
            assert one.pixels.tobytes() == stored.tobytes()

    def test_a_photo_stored_sideways_and_one_that_is_upright_are_the_same(self, tmp_path: Path):
        exif = image().getexif()
        exif[0x0112] = 6
        turned = quarters().rotate(90, expand=True)
        files = {"a.png": encoded(quarters()), "b.png": encoded(turned, exif=exif)}
        upright, sideways = asked(find([write(tmp_path, files)], tmp_path))
        assert upright.pixels is not None
        assert np.array_equal(upright.pixels, sideways.pixels)  # pyright: ignore[reportArgumentType] # it is there, as upright is


class TestProblems:
    """What cannot be opened keeps its place, with the reason."""

    @pytest.mark.parametrize("workers", [0, 2])
    def test_the_others_are_not_harmed(self, tmp_path: Path, workers: int):
        files = {
            "1.png": png_bytes(),
            "2.jpg": jpeg_bytes()[:300],
            "3.png": b"%PDF-1.4",
            "4.png": b"",
            "5.png": png_bytes(),
        }
        found = find([write(tmp_path, files)], tmp_path)
        (tmp_path / "5.png").unlink()
        seen = asked(found, workers)
        assert [one.name for one in seen] == [f"{tmp_path}/{name}" for name in files]
        assert [one.problem for one in seen] == [
            None, "truncated", "not an image: PDF", "empty", "unreadable: No such file or directory",
        ]  # fmt: skip
        assert [one.pixels is None for one in seen] == [False, True, True, True, True]

    def test_pictures_are_opened_only_as_they_are_asked_for(self, tmp_path: Path):
        found = find([class_folders(tmp_path, {"a": 3})], tmp_path)
        seen = opened(found.places, contract(8), workers=0)
        assert next(seen).problem is None
        (tmp_path / "a" / "001.png").unlink()
        assert next(seen).problem == "unreadable: No such file or directory"
        assert next(seen).problem is None

    def test_progress_is_told_of_every_file(self, tmp_path: Path):
        found, told = find([write(tmp_path, FILES)], tmp_path), list[tuple[int, int]]()
        list(opened(found.places, contract(8), workers=0, progress=lambda _, done, total: told.append((done, total))))
        assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


class TestDecoder:
    """Where the model learned from pixels of another decoder, that is said and no reason to refuse."""

    def test_of_the_same_versions_nothing_is_said(self):
        assert decoder_note(contract(8, decoder=decoder())) is None

    def test_of_others_both_sides_are_shown(self):
        note = decoder_note(contract(8, decoder="pixels 1, pillow 9"))
        assert note is not None
        assert "pixels 1, pillow 9" in note
        assert decoder() in note
