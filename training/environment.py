"""Where a run is trained: versions, device, threads, digests; and the switch to algorithms that repeat exactly."""

import os
import platform
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from manifests.digests import digest
from manifests.errors import Exit, UserError
from manifests.recipe import Train
from manifests.shards import Index
from manifests.store import versions
from training.folders import key_settings

ENVIRONMENT = "environment.json"
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # cuBLAS is deterministic only with one of its own memory, fixed before it starts


def environment(settings: Train, index: Index, place: torch.device) -> dict[str, Any]:
    """What may differ between two machines, and the digests that must not."""
    has_gpu = place.type == "cuda"
    return {
        "versions": library_versions() | {"cuda": torch.version.cuda if has_gpu else None},
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "device": torch.cuda.get_device_name(place) if has_gpu else str(place),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "digests": {
            "settings": digest(key_settings(settings, index.contract)),
            "data": index.digest,
            "pixel contract": index.contract.digest,
        },
    }


def library_versions() -> dict[str, str]:
    """Of all that a stage names, and of the libraries of models that are in use."""
    models = {name: str(sys.modules[name].__version__) for name in ("torchvision", "timm") if name in sys.modules}
    return versions() | models


def fix_workspace() -> None:
    """Before cuBLAS starts, which looks at it once: an earlier run of this process may make it start."""
    os.environ.setdefault(WORKSPACE, ":4096:8")


@contextmanager
def only_deterministic(asked: bool) -> Generator[None]:
    """What torch says where it has no such algorithm, as a UserError that names the operation."""
    try:
        yield
    except RuntimeError as error:
        if not asked or "deterministic" not in str(error):
            raise
        reason = str(error).splitlines()[0].split(".")[0]
        raise UserError(f"deterministic: {reason}; leave deterministic out for this model.", Exit.RECIPE) from error


@contextmanager
def deterministic(asked: bool) -> Generator[None]:
    """Only algorithms that give the same numbers every time while the block runs; torch refuses where it has none."""
    before = torch.are_deterministic_algorithms_enabled()
    if asked:
        fix_workspace()
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
