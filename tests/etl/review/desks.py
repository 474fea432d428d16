"""Makers for the tests of the review page: rows, a desk over a drawn data set, and a server in a process of its own."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from etl.review.desk import Desk, open_desk
from etl.review.queues import Row
from manifests.recipe import Recipe
from tests.makers import brought, class_folders, digits, recipe, site

ROOT = Path(__file__).parents[3]
SERVE = """
import sys
from pathlib import Path
from etl.pipeline import read_asked
from etl.review.server import serve
from manifests.store import DatasetStore

dataset = DatasetStore(Path(sys.argv[1]))
serve(dataset, read_asked(dataset), Path(sys.argv[2]), ready=lambda address: print(address, flush=True))
"""


def row(number: int, name: str = "a", **values: object) -> Row:
    """A kept training image of a class, like no other, unless said otherwise."""
    sha256 = str(values.get("sha256", digits(number)))
    plain = Row(number, f"{name}/{number:03}.png", sha256, name, "train", "", sha256, 0, "", 0, 64, 48)
    return plain._replace(**values)


def asked_of(source: Path, **curate: object) -> Recipe:
    return recipe(source, curate=curate)


def desk(root: Path, classes: dict[str, int], **curate: object) -> Desk:
    """A desk over so many drawn images of each class; decisions go to ROOT/decisions.csv."""
    asked = asked_of(class_folders(root / "source", classes), **curate)
    done = brought(asked, root / "store", until="extract")
    return open_desk(site(root / "store").dataset, asked, done["extract"], root / "decisions.csv")


class Server:
    """A review server in a process of its own, over ROOT/store/made."""

    def __init__(self, root: Path, file: Path) -> None:
        command = [sys.executable, "-c", SERVE, str(root / "store" / "made"), str(file)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise RuntimeError(self.process.communicate()[1])

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def served(root: Path, file: Path) -> Generator[Server]:
    server = Server(root, file)
    try:
        yield server
    finally:
        server.kill()
