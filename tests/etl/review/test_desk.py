from pathlib import Path

import pytest

from etl.decisions import read_decisions
from etl.images import Unusable
from etl.review.ledger import Wish
from tests.etl.review.desks import desk
from tests.makers import png_bytes, write


class TestDesk:
    """What every tab sees."""

    def test_a_file_that_changed_since_extract_is_not_shown_in_its_place(self, tmp_path: Path):
        here = desk(tmp_path, {"hat": 2})
        before, path = here.pictures.read(0), here.row(0).path
        write(tmp_path / "source", {path: png_bytes(seed=999)})
        with pytest.raises(Unusable, match="changed"):
            here.pictures.read(0)
        write(tmp_path / "source", {path: before})
        assert here.pictures.read(0) == before
        here.close()

    def test_a_rejection_by_another_list_is_not_its_own(self, tmp_path: Path):
        (tmp_path / "other.csv").write_text("path,reason\nhat/000.png,dark\n")
        here = desk(tmp_path, {"hat": 3}, reject=[str(tmp_path / "other.csv")])
        one = here.row(1)
        here.decide("", [Wish(one.sha256, one.path, "stays", to={"decision": "reject"})])
        assert [(each["mark"], each["foreign"]) for each in here.told([0, 1, 2])] == [
            ("reject", True), ("reject", False), ("", False),
        ]  # fmt: skip
        assert here.changes(0)["decided"] == len(read_decisions([tmp_path / "decisions.csv"])) == 1
        here.close()
