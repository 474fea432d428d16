"""The stages over a folder of photographs, in a store of their own, for the benchmark of their speed."""

import shutil
from pathlib import Path

from benchmarks.decoding import SIZE
from etl.pipeline import bring
from etl.steps import Site
from manifests.recipe import Curate, Extract, Recipe, Transform
from manifests.store import DatasetStore


class Built:
    """The stages over the photographs, in a store of their own."""

    def __init__(self, source: Path, store: Path) -> None:
        self.dataset = DatasetStore(store / "clothing")
        self._source, self._added = source, 0
        self._recipe = Recipe(
            dataset="clothing",
            extract=Extract.model_validate({"source": str(source)}),
            curate=Curate(dedupe="off"),
            transform=Transform(size=(SIZE, SIZE)),
        )

    def forget(self, *stages: str) -> None:
        """What was published of these stages, or all."""
        for folder in [self.dataset.root / stage for stage in stages] or [self.dataset.root]:
            shutil.rmtree(folder, ignore_errors=True)

    def extract(self, workers: int) -> None:
        bring(self._recipe, Site(self.dataset, workers), "extract")

    def all(self, workers: int) -> None:
        """Every stage that is not in force."""
        bring(self._recipe, Site(self.dataset, workers))

    def add(self) -> None:
        """One file more."""
        self._added += 1
        example = next(self._source.rglob("*.jpg"))
        comment = f"number {self._added}".encode()
        marker = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment  # other bytes, the same picture
        data = example.read_bytes()
        example.with_name(f"added-{self._added}.jpg").write_bytes(data[:2] + marker + data[2:])
