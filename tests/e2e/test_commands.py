"""The commands, from outside: what they print, how they end, and what they leave alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from tests.e2e.runner import CLI, alacena, done
from tests.makers import class_folders, write

TRAIN = ("train", "--model", "simple", "--widths", "4,4", "--epochs", "2", "--batch-size", "8")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small data set, extracted, curated, augmented and transformed by the commands."""
    here = tmp_path_factory.mktemp("commands")
    class_folders(here / "photos", {"cup": 12, "jar": 10, "pan": 8})
    write(here / "photos", {"readme.txt": b"hello", ".DS_Store": b"\0"})
    done("extract", "photos", cwd=here)
    done("curate", "--max-per-class", "10", cwd=here)
    done("augment", "--copies", "1", cwd=here)
    done("transform", "--size", "16", "--workers", "1", cwd=here)
    return here


class TestStages:
    """Each command does its stage, says what came out, and nothing twice."""

    def test_extract_says_the_layout_and_what_is_there(self, shards: Path):
        counts = json.loads(done("extract", "photos", "--json", cwd=shards))
        assert counts["layouts"] == ["class-folders: 3 class folders"]
        assert (counts["found"], counts["usable"], counts["system_files"]) == (31, 30, 1)
        assert counts["problems"] == {"not an image": 1}

    def test_the_funnel_adds_up(self, shards: Path):
        counts = json.loads(done("curate", "--max-per-class", "10", "--json", cwd=shards))
        assert counts["found"] == 31 == counts["kept"] + sum(counts["rejected"].values())
        assert counts["rejected"] == {"over the cap": 2, "unusable": 1}
        assert counts["kept"] == sum(row[s] for row in counts["per_class"] for s in ("train", "val", "test"))

    def test_a_second_command_finds_everything_fresh(self, shards: Path):
        ended = alacena("transform", "--size", "16", cwd=shards)
        assert ended.returncode == 0
        assert "transform: fresh, nothing to do" in ended.stderr
        assert "made" not in ended.stderr

    def test_any_number_of_workers_gives_the_same_digest(self, shards: Path):
        digests: set[str] = set()
        for workers in ("1", "2"):
            said = json.loads(
                done("transform", "--size", "12", "--workers", workers, "--json", cwd=shards, store=f"store{workers}")
                if Path(shards / f"store{workers}").exists()
                else _fresh(shards, workers)
            )
            digests.add(said["digest"])
        assert len(digests) == 1

    def test_results_go_to_stdout_and_remarks_to_stderr(self, shards: Path):
        ended = alacena("transform", "--size", "16", "--json", cwd=shards)
        assert json.loads(ended.stdout)["rows"]["train"] == 2 * 22
        quiet = alacena("transform", "--size", "16", "--quiet", cwd=shards)
        assert quiet.stderr == ""

    def test_no_colour_codes_leave_where_no_terminal_is(self, shards: Path):
        ended = alacena("status", cwd=shards)
        assert "\x1b" not in ended.stdout + ended.stderr


def _fresh(here: Path, workers: str) -> str:
    store = f"store{workers}"
    done("extract", "photos", "--workers", workers, cwd=here, store=store)
    done("augment", "--copies", "1", cwd=here, store=store)
    return done("transform", "--size", "12", "--workers", workers, "--json", cwd=here, store=store)


class TestSuggest:
    """Suggestions from a run of one's own; without weights or a run there is nothing to go by."""

    def test_a_run_judges_each_image_by_the_others(self, shards: Path):
        done(*TRAIN, "--run", "judge", cwd=shards)
        said = json.loads(done("suggest", "--run", "judge", "--folds", "3", "--json", cwd=shards))
        assert said["images"] == said["judged"] == 28
        assert len(said["suggestions"]) == said["flagged"]
        lines = (shards / said["file"]).read_text().splitlines()
        assert lines[0] == "sha256,path,class,likely,p_class,p_likely,score"
        assert len(lines) == said["flagged"] + 1

    def test_random_features_are_refused(self, shards: Path):
        ended = alacena("suggest", "--model", "torchvision/resnet18", "--weights", "none", cwd=shards)
        assert ended.returncode == 2
        assert "name --weights FILE.safetensors or default" in ended.stderr


class TestRuns:
    """Training, evaluating, and going on after an interruption."""

    def test_a_run_is_trained_evaluated_and_told(self, shards: Path):
        said = json.loads(done(*TRAIN, "--run", "first", "--json", cwd=shards))
        assert said["run"] == "first"
        assert (Path(said["folder"]) / "best.safetensors").is_file() or (shards / said["folder"]).is_dir()
        figures = json.loads(done("evaluate", "--run", "first", "--json", cwd=shards))
        assert figures["split"] == "val"
        assert 0 <= figures["accuracy"] <= 1
        assert figures["images"] == 6
        told = done("why", pl.read_csv(shards / figures["folder"] / "predictions.csv")["path"][0], cwd=shards)
        assert "first: predicted" in told
        status = json.loads(done("status", "--json", cwd=shards))
        assert [run["state"] for run in status["runs"] if run["run"] == "first"] == ["fresh"]
        assert all(stage["fresh"] for stage in status["stages"])

    def test_an_interrupted_run_goes_on_to_the_same_weights(self, shards: Path):
        long = ["train", "--model", "simple", "--widths", "4,4", "--epochs", "40", "--batch-size", "8"]
        whole = json.loads(done(*long, "--run", "whole", "--json", cwd=shards))
        command = [sys.executable, str(CLI), *long, "--run", "cut"]
        environment = os.environ | {"ALACENA_STORE": "store", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            command, cwd=shards, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip().startswith("3 "):
                process.send_signal(signal.SIGINT)
                break
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 130
        assert "--resume --run cut" in errors
        ended = json.loads(done("train", "--resume", "--run", "cut", "--json", cwd=shards))
        read = [(shards / said["folder"] / "best.safetensors").read_bytes() for said in (whole, ended)]
        assert _without_name(read[0]) == _without_name(read[1])

    def test_a_recipe_runs_whole_and_then_has_nothing_to_do(self, shards: Path):
        recipe = write(shards, {"tiny.toml": TINY.encode()}) / "tiny.toml"
        first = json.loads(done("run", str(recipe), "--json", "--quiet", cwd=shards, store="other"))
        assert [run["state"] for run in first["runs"]] == ["fresh"]
        again = alacena("run", str(recipe), cwd=shards, store="other")
        assert again.returncode == 0
        assert "made" not in again.stderr
        assert "run tiny-run: fresh, nothing to do" in again.stderr

    def test_nothing_to_do_loads_no_torch(self, shards: Path):
        recipe = write(shards, {"tiny.toml": TINY.encode()}) / "tiny.toml"
        done("run", str(recipe), "--quiet", cwd=shards, store="other")
        for arguments in (["run", str(recipe)], ["status"], ["--help"]):
            code = f"import sys; sys.argv = ['alacena', *{arguments!r}]; sys.path.insert(0, {str(CLI.parent)!r})\n"
            code += "import cli\ntry: cli.main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
            ended = subprocess.run(
                [sys.executable, "-c", code], cwd=shards, env=os.environ | {"ALACENA_STORE": "other"},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert ended.returncode == 0, ended.stderr


TINY = """
dataset = "tiny"
[extract]
source = "photos"
[transform]
size = 16
[[runs]]
name = "tiny-run"
widths = [4, 4]
epochs = 1
[runs.reported]
accuracy = 0.5
"""


def _without_name(data: bytes) -> bytes:
    """A checkpoint's bytes without its metadata, which has the run's name."""
    return data[8 + int.from_bytes(data[:8], "little") :]


class TestRefusals:
    """What a person can put right is one sentence, an exit code, and nothing lost."""

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (
                ["curate", "--dedupe", "phsah:4"],
                2,
                "unknown method 'phsah'. Known: near, phash, dhash, exact, off.",
            ),
            (
                ["curate", "--classes", "cupp"],
                4,
                "has no class 'cupp'. Known: cup, jar, pan. Did you mean 'cup'?",
            ),
            (["curate", "--min-per-class", "9"], 4, "pan (8)"),
            (["curate", "--min-side", "5000"], 4, "nothing is left of 31 files"),
            (["curate", "--split", "0.8,0.8"], 2, "add up to 1"),
            (["curate", "--reject", "gone.csv"], 2, "gone.csv: no such list of decisions"),
            (["augment", "--policy", "rotat:3"], 3, "unknown augmentation 'rotat'"),
            (["train", "--model", "torchvision/resnet81"], 3, "Did you mean 'resnet18'?"),
            (["extract", "photos", "--dataset", ".."], 2, "letters, digits and . _ + - only"),
            (["transform", "--size", "huge"], 2, "a number of pixels (224)"),
            (["transform", "--normalise", "half"], 2, "belongs to the run"),
            (["extract", "nowhere"], 2, "nowhere"),
            (["evaluate", "--run", "nobody"], 2, "no run"),
            (["why", "nothing.png"], 2, "no image of photos"),
            (["status", "--dataset", "other"], 2, "no data set 'other' here; it holds photos"),
            (["run", "missing.toml"], 2, "missing.toml: no such recipe"),
            (["train", "--freeze", "backbone"], 2, "weights = none"),
            (["train", "--model", "simpel"], 2, "--model = 'simpel': unknown."),
            (["nonsense"], 2, "nonsense"),
        ],
    )
    def test_a_bad_request_is_one_sentence(self, shards: Path, arguments: list[str], code: int, words: str):
        before = sorted(shards.joinpath("store").rglob("*"))
        ended = alacena(*arguments, cwd=shards)
        assert ended.returncode == code, ended.stderr
        assert words in " ".join(ended.stderr.split())
        assert "Traceback" not in ended.stderr
        assert sorted(shards.joinpath("store").rglob("*")) == before

    def test_a_bad_recipe_names_file_key_value_and_the_nearest_word(self, shards: Path):
        write(shards, {"bad.toml": b'dataset = "x"\n[curate]\nmax_per_clas = 3\n'})
        ended = alacena("run", "bad.toml", cwd=shards)
        assert ended.returncode == 3
        assert "bad.toml: unknown key curate.max_per_clas." in ended.stderr
        assert "Did you mean 'max_per_class'?" in ended.stderr

    def test_a_damaged_shard_is_found(self, shards: Path, tmp_path: Path):
        class_folders(tmp_path / "photos", {"a": 4, "b": 4})
        done("extract", "photos", cwd=tmp_path)
        done("transform", "--size", "8", cwd=tmp_path)
        assert "every byte as it was written" in done("verify", cwd=tmp_path)
        shard = next(tmp_path.glob("store/photos/transform/*/train-00000.safetensors"))
        data = bytearray(shard.read_bytes())
        data[-1] ^= 1
        shard.write_bytes(bytes(data))
        ended = alacena("verify", cwd=tmp_path)
        assert ended.returncode == 5
        assert "train-00000.safetensors: sha256" in ended.stderr


class TestSettings:
    """Every value can say where it came from, and the store can be put in order."""

    def test_show_settings_gives_each_value_with_its_origin(self, shards: Path):
        write(shards, {"part.toml": b'dataset = "x"\n[curate]\nmax_per_class = 7\nseed = 3\n'})
        shown = json.loads(
            done("curate", "--recipe", "part.toml", "--seed", "5", "--show-settings", "--json", cwd=shards)
        )
        assert shown["max_per_class"] == {"value": 7, "from": "part.toml"}
        assert shown["seed"] == {"value": 5, "from": "--seed"}
        assert shown["dedupe"] == {"value": "near:64", "from": "default"}

    def test_prune_frees_what_nothing_asks_for(self, tmp_path: Path):
        class_folders(tmp_path / "photos", {"a": 4, "b": 4})
        done("extract", "photos", cwd=tmp_path)
        done("transform", "--size", "8", cwd=tmp_path)
        done("transform", "--size", "9", cwd=tmp_path)
        listed = json.loads(done("prune", "--json", cwd=tmp_path))
        assert [Path(folder).parent.name for folder in listed["folders"]] == ["transform"]
        assert Path(tmp_path / listed["folders"][0]).is_dir()
        done("prune", "--yes", cwd=tmp_path)
        assert not Path(tmp_path / listed["folders"][0]).exists()
        assert json.loads(done("status", "--json", cwd=tmp_path))["stages"][-1]["fresh"] is True

    @pytest.mark.parametrize("name", ["extract", "curate", "augment", "transform", "train", "evaluate", "run", "why"])
    def test_help_shows_an_example(self, name: str, tmp_path: Path):
        assert f"Example: alacena {name}" in " ".join(done(name, "--help", cwd=tmp_path).split())

    def test_the_documented_commands_are_up_to_date(self, tmp_path: Path):
        script = CLI.parent / "docs" / "write_cli.py"
        ended = subprocess.run(
            [sys.executable, str(script), "--check"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr


def test_a_killed_extract_leaves_nothing_in_the_way(tmp_path: Path):
    class_folders(tmp_path / "photos", {"a": 40, "b": 40})
    process = subprocess.Popen(
        [sys.executable, str(CLI), "extract", "photos"], cwd=tmp_path, env=os.environ | {"ALACENA_STORE": "store"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(0.7)
    process.kill()
    process.wait()
    first = json.loads(done("extract", "photos", "--json", cwd=tmp_path))
    assert first["usable"] == 80
    assert not list(tmp_path.glob("store/**/.*.tmp"))


class TestInForce:
    """What was asked last is what counts, whole, and wherever the store lies."""

    def test_a_run_with_pixels_of_its_own_gets_them(self, tmp_path: Path):
        class_folders(tmp_path / "photos", {"a": 8, "b": 8})
        text = 'dataset = "photos"\n[[runs]]\nname = "own"\nwidths = [4]\nepochs = 1\ntransform = { size = 16 }\n'
        write(tmp_path, {"own.toml": text.encode()})
        done("extract", "photos", cwd=tmp_path)
        done("transform", "--size", "24", cwd=tmp_path)
        said = json.loads(done("train", "--recipe", "own.toml", "--quiet", "--json", cwd=tmp_path))
        facts = json.loads((tmp_path / said["folder"] / "run.json").read_text())
        assert facts["contract"]["height"] == 16

    def test_a_recipe_that_is_fresh_is_in_force_again(self, tmp_path: Path):
        class_folders(tmp_path / "photos", {"a": 8, "b": 8})
        write(tmp_path, {"r.toml": b'dataset = "photos"\n[extract]\nsource = "photos"\n[transform]\nsize = 16\n'})
        done("run", "r.toml", cwd=tmp_path)
        done("transform", "--size", "12", cwd=tmp_path)
        done("run", "r.toml", cwd=tmp_path)
        stages = json.loads(done("status", "--json", cwd=tmp_path))["stages"]
        assert [stage["fresh"] for stage in stages] == [True] * 4
        asked = json.loads((tmp_path / "store/photos/settings.json").read_text())
        assert asked["transform"]["size"] == [16, 16]

    def test_a_store_whose_name_looks_like_a_pattern_is_a_folder(self, tmp_path: Path):
        class_folders(tmp_path / "photos", {"a": 4, "b": 4})
        done("extract", "photos", cwd=tmp_path, store="z[1]/s*")
        assert json.loads(done("curate", "--json", cwd=tmp_path, store="z[1]/s*"))["kept"] == 8

    def test_a_source_that_is_gone_is_said_by_extract(self, tmp_path: Path):
        class_folders(tmp_path / "photos", {"a": 4, "b": 4})
        done("extract", "photos", cwd=tmp_path)
        (tmp_path / "photos").rename(tmp_path / "elsewhere")
        ended = alacena("extract", "photos", cwd=tmp_path)
        assert ended.returncode == 2
        assert "photos: there is no such folder" in ended.stderr
