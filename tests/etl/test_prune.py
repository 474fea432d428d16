from pathlib import Path

from etl.prune import remove, unused
from manifests.store import DatasetStore
from tests.makers import brought, class_folders, png_bytes, recipe, write


def bytes_below(place: Path) -> int:
    """Of the files there, each counted once, whatever names it has."""
    found = {file.stat().st_ino: file.stat().st_size for file in place.rglob("*") if file.is_file()}
    return sum(found.values())


def test_what_is_said_to_be_freed_is_freed_though_shard_sets_share_files(tmp_path: Path):
    place = class_folders(tmp_path / "source", {"a": 30, "b": 30})
    asked = recipe(place, transform={"size": 200, "shard_mb": 1})
    for number in range(3):
        write(place, {f"a/new-{number}.png": png_bytes(seed=5000 + number)})
        brought(asked, tmp_path)
    found = unused(asked, dataset := DatasetStore(tmp_path / "made"))
    assert sum(each.path.parent.name == "transform" for each in found) == 2
    before = bytes_below(tmp_path / "made")
    remove(found)
    assert sum(each.bytes for each in found) == before - bytes_below(tmp_path / "made") > 0
    assert [stage.counts["copied"] for stage in dataset.published("transform")] == [62]
