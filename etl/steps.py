"""One stage as it is asked for now, and where its work is done: what `etl.pipeline` and the stages hand each other."""

from dataclasses import dataclass

from etl.keys import Listed
from manifests.progress import Progress, silent
from manifests.recipe import Settings
from manifests.store import DatasetStore, Stage


@dataclass(frozen=True)
class Site:
    """Where and how the work is done; none of it changes a result."""

    dataset: DatasetStore
    workers: int
    progress: Progress = silent


@dataclass(frozen=True)
class Step:
    """One stage as it is asked for now."""

    stage: str
    settings: Settings
    key: str | None  # None while the stage before is not there: its content is not known yet
    inputs: dict[str, str]
    found: Stage | None
    why: str  # why it is stale; empty where it is fresh
    seconds: float | None = None  # what it cost the last time it was made
    listed: list[Listed] | None = None  # extract: the files that are there now

    @property
    def is_fresh(self) -> bool:
        return self.found is not None

    @property
    def begun(self) -> Stage:
        """What is published when the work is done, but for its content."""
        return Stage(self.stage, str(self.key), self.settings.asked(), dict(self.inputs))
