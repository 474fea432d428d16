"""The tools that alacena is measured against, in one run: `python -m benchmarks.peers`.

How each feeds is in `feeding`, how each writes in `writing`. None of them is in alacena's own environment:
benchmarks/requirements-peers.txt says how to make one that has them.
"""

import importlib
from importlib.metadata import version
from typing import Any

FFCV = ("ffcv", ("ffcv.loader", "ffcv.writer", "ffcv.fields.basics", "ffcv.transforms"))
DISTRIBUTIONS = {  # name in the tables → what it is installed as, and what is imported of it before any clock runs
    "FFCV": FFCV,
    "FFCV, tuned": FFCV,
    "LitData": ("litdata", ("litdata",)),
    "MosaicML Streaming": ("mosaicml-streaming", ("streaming", "streaming.base.util")),
    "WebDataset": ("webdataset", ("webdataset",)),
    "tensordict, memmap": ("tensordict", ("tensordict",)),
    "HF datasets": ("datasets", ("datasets",)),
}


def module(name: str) -> Any:
    """A peer's module; Any, because the checker runs where no peer is installed."""
    return importlib.import_module(name)


def installed() -> dict[str, str]:
    """Name → name with its version, of the peers that can be imported; says of each other why it is left out."""
    found: dict[str, str] = {}
    for name, (distribution, modules) in DISTRIBUTIONS.items():
        try:
            for each in modules:
                module(each)
        except ImportError as why:  # also where a shared library of it is missing
            print(f"{name} is left out: {why}")
        else:
            tool, comma, form = name.partition(",")
            found[name] = f"{tool} {version(distribution)}{comma}{form}"
    return found
