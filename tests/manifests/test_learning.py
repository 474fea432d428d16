import pytest

from manifests.errors import UserError
from manifests.recipe import Recipe, Train, checked


class TestSeeds:
    """A run of several seeds is several runs, and each name is one run's."""

    def test_a_run_a_seed(self):
        each = Train.model_validate({"name": "net", "seed": 4, "seeds": 3}).repeated()
        assert [(one.run, one.seed, one.seeds) for one in each] == [
            ("net-seed4", 4, 1),
            ("net-seed5", 5, 1),
            ("net-seed6", 6, 1),
        ]
        assert [one.run for one in Train.model_validate({"name": "net"}).repeated()] == ["net"]

    def test_a_seeds_name_cannot_be_another_runs(self):
        runs = [{"name": "net", "seeds": 2}, {"name": "net-seed1"}]
        with pytest.raises(UserError, match="'net-seed1' stands twice"):
            checked(Recipe, {"dataset": "x", "runs": runs}, "file.toml")

    def test_one_seed_of_several_can_become_a_run_of_its_own(self):
        recipe = Recipe.model_validate({"dataset": "x", "runs": [{"name": "a"}, {"name": "net", "seeds": 3}]})
        own = Train.model_validate({"name": "net-seed1", "seed": 1, "epochs": 20})
        found = recipe.with_run(own)
        assert [run.run for run in found.runs] == ["a", "net-seed0", "net-seed2", "net-seed1"]
        assert Recipe.model_validate(found.asked()) == found

    def test_a_run_takes_the_place_of_the_one_of_its_name(self):
        recipe = Recipe.model_validate({"dataset": "x", "runs": [{"name": "net", "seeds": 2}, {"name": "a"}]})
        found = recipe.with_run(Train.model_validate({"name": "net", "seeds": 5}))
        assert [(run.run, run.seeds) for run in found.runs] == [("a", 1), ("net", 5)]
