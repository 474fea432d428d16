from pathlib import Path

import pytest

from manifests.errors import Exit, UserError
from manifests.shards import read_index
from tests.training.report.made import contract, made
from training.checks import refuse_mismatch, refuse_other
from training.folders import read_facts


class TestRefusal:
    """A run and a shard set that do not belong together are refused with both sides shown."""

    def test_other_classes(self, tmp_path: Path):
        run, shards = made(tmp_path, ("ant", "bee"), evaluated=())
        with pytest.raises(UserError, match=r"2 \(bee, ant\) here, 2 \(ant, bee\) there") as caught:
            refuse_mismatch(run, shards, read_facts(run) | {"classes": ["bee", "ant"]}, read_index(shards))
        assert caught.value.code == Exit.STALE

    def test_other_pixels(self, tmp_path: Path):
        run, shards = made(tmp_path, evaluated=())
        with pytest.raises(UserError, match="height: 16 here, 8 there; width: 16 here, 8 there"):
            refuse_other(run, shards, ("ant", "bee"), contract(16), read_index(shards))

    def test_other_rows(self, tmp_path: Path):
        run, shards = made(tmp_path, evaluated=())
        with pytest.raises(UserError, match=f"trained on rows {'f' * 16}… and not on those of"):
            refuse_mismatch(run, shards, read_facts(run) | {"data": "f" * 64}, read_index(shards))
