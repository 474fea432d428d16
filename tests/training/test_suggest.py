"""The whole of it on made-up shards whose labels are wrong where we say, and its parts on features drawn here."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.console import Face
from manifests.errors import Exit, UserError
from manifests.recipe import Train
from manifests.shards import open_rows
from manifests.store import DatasetStore, Stage
from manifests.table import write_table
from tests.training.makers import CLASSES, shard_set, squeezenet
from training.confident import Ints
from training.runs import train
from training.suggest import (
    DIGITS,
    SHRINKAGE,
    WIDEST,
    discriminants,
    folds_of,
    out_of_fold,
    read_suggestions,
    suggest,
    suggested,
)

ROWS = {"train": (80, 40), "val": (30,), "test": (30,)}
WRONG = {"train/0-3": "green", "train/1-6": "red", "val/0-7": "blue", "test/0-2": "green"}  # path → the wrong class


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return squeezenet(tmp_path_factory.mktemp("weights"))


def asked(weights: str, **more: Any) -> Train:
    return Train.model_validate({"model": "torchvision/squeezenet1_1", "weights": weights} | more)


def curated(root: Path, wrong: dict[str, str] = WRONG) -> tuple[DatasetStore, str]:
    """Curate, augment and transform as they are published, some labels wrong in all of them; the transform's key."""
    store, found = DatasetStore(root / "made-up"), list[dict[str, Any]]()
    with store.publish(Stage("transform", "0" * 16, {}, {"views": "the views"})) as (folder, finish):
        content = shard_set(folder, rows=ROWS, size=24).digest
        for file in sorted(folder.glob("*.safetensors")):
            mapped, split, number = (
                open_rows(file, writable=True),
                file.name.split("-")[0],
                int(file.stem.split("-")[1]),
            )
            for row, label in enumerate(mapped.labels.tolist()):
                path = f"{split}/{number}-{row}"
                name = wrong.get(path, CLASSES[label])
                mapped.labels[row] = CLASSES.index(name)
                place = {"split": split, "shard": file.name, "row": row}
                found.append({"path": path, "sha256": f"sha {path}", "view": 0, "class": name} | place)
        table = pl.DataFrame(found)
        write_table(table, folder / "rows.parquet")
        finish(content, {})
    with store.publish(Stage("augment", "1" * 16, {}, {"curated": "the curation"})) as (_, finish):
        finish("the views", {})
    with store.publish(Stage("curate", "2" * 16, {}, {})) as (folder, finish):
        write_table(table.select("path", "class", group="sha256"), folder / "images.parquet")
        finish("the curation", {})
    return store, "0" * 16


def taught(store: DatasetStore, key: str) -> Path:
    """A run of one small block, whose features are the mean colours more or less."""
    settings = {"run": "mine", "widths": (8,), "pool": "average", "epochs": 3, "learning_rate": 0.01}
    return train(store, key, Train.model_validate(settings), device="cpu")


def blobs(labels: Ints, *, width: int = 12, seed: int = 0) -> npt.NDArray[np.float32]:
    """Features (N, width) of which the first few say the class."""
    generator = np.random.default_rng(seed)
    return (generator.normal(size=(len(labels), width)) + 4 * np.eye(width)[labels]).astype(np.float32)


class TestSuggest:
    """The images whose labels are wrong are suggested, whatever split they are in, and nothing else happens to them."""

    def test_the_wrong_ones_are_found_with_the_class_they_are_of(self, tmp_path: Path) -> None:
        store, key = curated(tmp_path)
        stage = suggest(store, key, Train(), run=taught(store, key), device="cpu")
        assert stage.settings == {"model": "simple", "run": "mine", "folds": 10, "seed": 0}
        listed = read_suggestions(store.folder("suggest", stage.key))
        assert set(listed["path"]) == set(WRONG)
        assert dict(listed.select("path", "class").iter_rows()) == WRONG
        truth = {path: CLASSES[(int(path[-1]) + int(path[-3])) % 3] for path in WRONG}  # as `shard_set` deals them
        assert dict(listed.select("path", "likely").iter_rows()) == truth
        assert listed["sha256"].to_list() == [f"sha {path}" for path in listed["path"]]
        assert listed["score"].is_sorted(descending=True)
        assert (listed["p_class"] < listed["p_likely"]).all()
        counts = stage.counts
        assert (counts["images"], counts["judged"], counts["flagged"]) == (180, 180, 4)
        assert sum(row["flagged"] for row in counts["per_class"]) == 4

    def test_the_same_input_gives_the_same_bytes_and_is_not_done_twice(self, tmp_path: Path, weights: str) -> None:
        texts: list[bytes] = []
        for place in ("a", "b"):
            store, key = curated(tmp_path / place)
            stage = suggest(store, key, asked(weights), device="cpu")
            texts.append((store.folder("suggest", stage.key) / "suggestions.csv").read_bytes())
            assert suggest(store, key, asked(weights), device="cpu") == stage
            assert len(store.published("suggest")) == 1
        assert texts[0] == texts[1]

    def test_seed_and_folds_are_part_of_the_key(self, tmp_path: Path, weights: str) -> None:
        store, key = curated(tmp_path)
        ways: list[tuple[int, int]] = [(0, 10), (1, 10), (0, 5)]
        keys = {suggest(store, key, asked(weights), device="cpu", seed=seed, folds=folds).key for seed, folds in ways}
        assert len(keys) == 3
        assert len(store.published("features")) == 2  # train and val, and test: made once for all three

    def test_random_features_are_refused(self, tmp_path: Path) -> None:
        store, key = curated(tmp_path)
        with pytest.raises(UserError, match="weights = none: a backbone of random features says nothing") as refused:
            suggest(store, key, Train(), device="cpu")
        assert refused.value.code == Exit.USAGE
        assert store.published("suggest") == []

    def test_one_fold_is_refused(self, tmp_path: Path, weights: str) -> None:
        store, key = curated(tmp_path)
        with pytest.raises(UserError, match="folds = 1"):
            suggest(store, key, asked(weights), folds=1)

    def test_a_curation_that_is_gone_is_said(self, tmp_path: Path, weights: str) -> None:
        store, key = curated(tmp_path)
        (store.folder("curate", "2" * 16) / "stage.json").unlink()
        with pytest.raises(UserError, match="run transform again") as refused:
            suggest(store, key, asked(weights))
        assert refused.value.code == Exit.STALE


class TestSuggested:
    """What a person sees of it."""

    def test_the_first_of_them_and_how_many_more(self, capsys: pytest.CaptureFixture[str]) -> None:
        rows = [(f"sha{n}", f"[red]{n}.jpg", "cat", "dog", 0.01, 0.9, 4.5) for n in range(3)]
        names = ["sha256", "path", "class", "likely", "p_class", "p_likely", "score"]
        counts = {"images": 12, "judged": 10, "flagged": 3, "agreement": 0.7}
        Face().show(*suggested(Stage("suggest", "k", {}, {}, "", counts), pl.DataFrame(rows, names, orient="row"), 2))
        said = capsys.readouterr().out
        assert "3 of 10 images probably carry the wrong class; the classifier agrees with 70.0% of the classes" in said
        assert "Not judged, for want of others of their class: 2" in said
        assert "[red]0.jpg  cat → dog" in said
        assert "[red]2.jpg" not in said
        assert "and 1 more in suggestions.csv" in said


class TestFoldsOf:
    """Every class in every fold as evenly as it goes, and no group in two."""

    @given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3)), min_size=1), st.integers(2, 6), st.integers(0, 9))
    def test_no_group_is_in_two_folds(self, images: list[tuple[int, int]], folds: int, seed: int) -> None:
        groups = pl.Series([f"group {group}" for group, _ in images])
        found = folds_of(groups, np.array([label for _, label in images]), folds, seed)
        assert set(found.tolist()) <= set(range(folds))
        assert len(set(zip(groups, found.tolist(), strict=True))) == groups.n_unique()

    @given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(2, 6), st.integers(0, 9))
    def test_folds_and_classes_in_them_differ_by_one(self, labels: list[int], folds: int, seed: int) -> None:
        numbers = np.array(labels)
        found = folds_of(pl.Series([str(row) for row in range(len(labels))]), numbers, folds, seed)
        for chosen in (numbers >= 0, *(numbers == label for label in set(labels))):
            assert np.ptp(np.bincount(found[chosen], minlength=folds)) <= 1

    def test_an_image_more_elsewhere_leaves_the_order_within_a_class(self) -> None:
        groups = pl.Series([f"group {row}" for row in range(20)])
        few = folds_of(groups, np.zeros(20, np.int64), 5, 0)
        more = folds_of(pl.concat([groups, pl.Series(["another"])]), np.array([0] * 20 + [1]), 5, 0)
        assert more[:20].tolist() == few.tolist()
        assert few.tolist() != folds_of(groups, np.zeros(20, np.int64), 5, 1).tolist()


class TestOutOfFold:
    """No image has a say in its own probabilities."""

    labels = np.arange(60) % 3
    folds = np.arange(60) // 3 % 5

    def test_they_are_probabilities_and_right_where_classes_lie_apart(self) -> None:
        found, judged = out_of_fold(blobs(self.labels), self.labels, self.folds, 3)
        assert judged.all()
        assert found.sum(axis=1) == pytest.approx(np.ones(60))
        assert (found.argmax(axis=1) == self.labels).all()

    def test_its_own_label_changes_nothing_for_an_image(self) -> None:
        features, other = blobs(self.labels), self.labels.copy()
        other[7] = (other[7] + 1) % 3
        before, _ = discriminants(features, self.labels, self.folds, 3)
        after, _ = discriminants(features, other, self.folds, 3)
        own = self.folds == self.folds[7]
        assert after[own] == pytest.approx(before[own], abs=1e-9)
        assert (np.abs(after - before).max(axis=1)[~own] > 1e-6).all()
        found, _ = out_of_fold(features, other, self.folds, 3)
        assert found[7].argmax() == self.labels[7]

    @pytest.mark.parametrize("folds", [2, 5, 20])
    def test_the_closed_form_is_linear_discriminant_analysis(self, folds: int) -> None:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        features, numbers = blobs(self.labels), np.arange(60) // 3 % folds
        found, _ = discriminants(features, self.labels, numbers, 3)
        for fold in range(folds):
            held = numbers == fold
            theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
            wanted = theirs.fit(features[~held].astype(np.float64), self.labels[~held]).decision_function(
                features[held]
            )
            ours, wanted = (each - each.mean(axis=1, keepdims=True) for each in (found[held], np.asarray(wanted)))
            assert ours * (wanted.std() / ours.std()) == pytest.approx(wanted, rel=1e-6, abs=1e-6)

    def test_the_number_of_threads_moves_no_digit_that_is_written(self) -> None:
        from threadpoolctl import threadpool_limits

        features = blobs(self.labels, width=200)
        for threads in (1, 2):
            with threadpool_limits(threads):
                found, _ = out_of_fold(features, self.labels, self.folds, 3)
            assert (
                found.round(DIGITS).tolist()
                == out_of_fold(features, self.labels, self.folds, 3)[0].round(DIGITS).tolist()
            )

    def test_classes_with_fewer_images_than_folds(self) -> None:
        labels = np.array([0] * 20 + [1] * 20 + [2, 2, 3])
        folds = folds_of(pl.Series([str(row) for row in range(43)]), labels, 5, 0)
        found, judged = out_of_fold(blobs(labels), labels, folds, 5)
        assert np.flatnonzero(~judged).tolist() == [42]  # the only one of its class: nothing to judge it by
        assert found[:, 4].tolist() == [0.0] * 43  # nothing is of a class without images
        assert found[judged].sum(axis=1) == pytest.approx(np.ones(42))

    def test_one_class_cannot_be_judged(self) -> None:
        _, judged = out_of_fold(blobs(np.zeros(9, np.int64)), np.zeros(9, np.int64), np.arange(9) % 3, 1)
        assert not judged.any()

    def test_features_that_say_nothing_give_the_shares_of_the_classes(self) -> None:
        found, judged = out_of_fold(np.ones((60, 4), np.float32), self.labels, self.folds, 3)
        assert judged.all()
        assert found == pytest.approx(np.full((60, 3), 1 / 3), abs=1e-6)

    def test_more_features_than_the_covariance_takes_are_folded(self) -> None:
        found, _ = out_of_fold(blobs(self.labels, width=WIDEST + 50) * 5, self.labels, self.folds, 3)
        assert found.shape == (60, 3)
        assert found.sum(axis=1) == pytest.approx(np.ones(60))

    def test_features_that_are_not_finite_are_refused(self) -> None:
        features = blobs(self.labels)
        features[3, 3] = np.nan
        with pytest.raises(UserError, match="not finite") as refused:
            out_of_fold(features, self.labels, self.folds, 3)
        assert refused.value.code == Exit.DIVERGED
