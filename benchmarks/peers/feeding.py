"""How each peer feeds: its own quickest raw format, written once, then whole shuffled epochs of uint8 batches.

An opener writes the set where it does not lie yet and gives back a function that runs one epoch. Where a peer has
several settings that a user would try, all are tried at opening, outside of the clock, and the quickest is kept; each
is held to give every row once, pixels and labels as they were handed over.
"""

import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.peers import module

Images = npt.NDArray[np.uint8]  # (N, 224, 224, 3)
Labels = npt.NDArray[np.int64]
Epoch = Callable[[], None]
Opener = Callable[[Images, Labels, Path, int], Epoch]  # images, labels, folder of the peer's own, rows of a batch
Batches = Callable[[], Iterable[Any]]  # one epoch of (images, labels)

SHARD_BYTES = 64 << 20
PROCESSES = 2
TRIALS = 2  # epochs by which the settings of one peer are compared
KEPT: list[Any] = []  # numba 0.68 complains on stderr when compiled loaders are collected


def open_ffcv(images: Images, labels: Labels, folder: Path, batch: int) -> Epoch:
    """As it comes: as many threads as cores, three batches ahead; the quickest of its raw forms and shuffled orders."""
    return quickest("FFCV", ffcv(images, labels, folder, batch, ((PROCESSES, 3),)), images, labels, batch)


def open_ffcv_tuned(images: Images, labels: Labels, folder: Path, batch: int) -> Epoch:
    """One batch ahead, with one thread or more: it allocates its buffers anew in every epoch, and these are fewer."""
    settings = ffcv(images, labels, folder, batch, ((1, 1), (PROCESSES, 1)))
    return quickest("FFCV, tuned", settings, images, labels, batch)


def ffcv(
    images: Images, labels: Labels, folder: Path, batch: int, pairs: Iterable[tuple[int, int]]
) -> dict[str, Batches]:
    """Each raw form in each shuffled order with each pair of threads and batches ahead, from the page cache."""
    fields, to_tensor = module("ffcv.fields"), module("ffcv.transforms").ToTensor
    arrays, pictures = module("ffcv.fields.ndarray"), module("ffcv.fields.rgb_image")
    forms = {
        "ndarray": (fields.NDArrayField(np.dtype("uint8"), images.shape[1:]), arrays.NDArrayDecoder),
        "RGB raw": (fields.RGBImageField(write_mode="raw"), pictures.SimpleRGBImageDecoder),
    }
    settings: dict[str, Batches] = {}
    for name, (field, decoder) in forms.items():
        if not (file := folder / f"{name}.beton").exists():
            columns = {"image": field, "label": fields.IntField()}
            writer = module("ffcv.writer").DatasetWriter(str(file), columns, num_workers=PROCESSES)
            writer.from_indexed_dataset(Pairs(images, labels))
        for (threads, ahead), order in product(pairs, ("RANDOM", "QUASI_RANDOM")):
            batches = ffcv_loader(file, batch, (decoder, to_tensor), order, threads, ahead)
            settings[f"{name}, {order}, threads={threads}, batches_ahead={ahead}"] = partial(iter, batches)
    return settings


def ffcv_loader(file: Path, batch: int, steps: tuple[Any, Any], order: str, threads: int, ahead: int) -> Any:
    loader, number = module("ffcv.loader"), module("ffcv.fields.basics").IntDecoder
    decoder, to_tensor = steps
    batches = loader.Loader(
        str(file),
        batch_size=batch,
        num_workers=threads,
        os_cache=True,
        order=loader.OrderOption[order],
        drop_last=False,
        batches_ahead=ahead,
        pipelines={"image": [decoder(), to_tensor()], "label": [number(), to_tensor()]},
    )
    KEPT.append(batches)
    return batches


def open_litdata(images: Images, labels: Labels, folder: Path, batch: int) -> Epoch:
    """`batch_decode=0`: by default whole windows of a chunk are decoded for one shuffled row, 60 with arrays."""
    litdata = module("litdata")
    settings: dict[str, Batches] = {}
    for form in ("bytes", "tensor"):
        if not (place := folder / form).exists():
            litdata.optimize(
                partial(sample, form, images, labels),
                list(range(len(images))),
                str(place),
                chunk_bytes=SHARD_BYTES,
                num_workers=PROCESSES,
                start_method="fork",
                verbose=False,
            )
        dataset = litdata.StreamingDataset(str(place), shuffle=True, seed=0, batch_decode=0)
        settings[form] = one_thread(
            litdata.StreamingDataLoader(dataset, batch_size=batch, num_workers=0, collate_fn=stacked)
        )
    return quickest("LitData", settings, images, labels, batch)


def open_streaming(images: Images, labels: Labels, folder: Path, batch: int) -> Epoch:
    streaming = module("streaming")
    shape = ",".join(map(str, images.shape[1:]))
    settings: dict[str, Batches] = {}
    for form, encoding in (("bytes", "bytes"), ("ndarray", f"ndarray:uint8:{shape}")):
        if not (place := folder / form).exists():
            columns = {"image": encoding, "label": "int"}
            with streaming.MDSWriter(out=str(place), columns=columns, size_limit=SHARD_BYTES) as writer:
                for row in range(len(images)):
                    writer.write(sample(form, images, labels, row))
        dataset = streaming.StreamingDataset(local=str(place), shuffle=True, batch_size=batch)
        settings[form] = one_thread(torch.utils.data.DataLoader(dataset, batch, num_workers=0, collate_fn=stacked))
    return quickest("MosaicML Streaming", settings, images, labels, batch)


def open_webdataset(images: Images, labels: Labels, folder: Path, batch: int) -> Epoch:
    """Shuffled as WebDataset can: the shards, and a thousand rows at a time."""
    webdataset = module("webdataset")
    if not any(folder.glob("*.tar")):
        with webdataset.ShardWriter(str(folder / "%05d.tar"), maxsize=SHARD_BYTES, verbose=0) as writer:
            for row in range(len(images)):
                image, label = images[row].tobytes(), int(labels[row])
                writer.write({"__key__": f"{row:08d}", "image.bin": image, "label.cls": label})
    shards = sorted(map(str, folder.glob("*.tar")))
    rows = webdataset.WebDataset(shards, shardshuffle=len(shards)).shuffle(1000)
    rows = rows.map(of_members)
    batches = rows.batched(batch, collation_fn=stacked, partial=True)
    return quickest("WebDataset", {"": one_thread(batches)}, images, labels, batch)


def open_tensordict(images: Images, labels: Labels, folder: Path, batch: int) -> Epoch:
    tensordict = module("tensordict").TensorDict
    if not any(folder.iterdir()):
        tensors = {"image": torch.from_numpy(images), "label": torch.from_numpy(labels)}
        tensordict(tensors, batch_size=[len(images)]).memmap(str(folder))
    rows = tensordict.load_memmap(str(folder))

    def batches(threads: int) -> Iterable[Any]:
        torch.set_num_threads(threads)
        for chosen in torch.randperm(len(rows)).split(batch):
            part = rows[chosen]
            yield part["image"], part["label"]

    settings: dict[str, Batches] = {f"threads={n}": partial(batches, n) for n in (1, 2)}
    return quickest("tensordict, memmap", settings, images, labels, batch)


def open_datasets(images: Images, labels: Labels, folder: Path, batch: int) -> Epoch:
    """A column of bytes, handed over in Arrow's own memory."""
    datasets = module("datasets")
    datasets.disable_progress_bars()
    if not any(folder.iterdir()):
        kinds = datasets.Features(image=datasets.Value("large_binary"), label=datasets.Value("int64"))
        rows = datasets.Dataset.from_generator(
            partial(samples, images, labels), features=kinds, cache_dir=str(folder / "cache"), writer_batch_size=100
        )
        rows.save_to_disk(str(folder / "set"), max_shard_size=SHARD_BYTES)
    rows = datasets.load_from_disk(str(folder / "set")).with_format("arrow")

    def batches() -> Iterable[Any]:
        for chosen in np.array_split(np.random.default_rng().permutation(len(rows)), range(batch, len(rows), batch)):
            part = rows[chosen].combine_chunks()
            data = part["image"].chunk(0).buffers()[2]
            yield np.frombuffer(data, np.uint8).reshape(-1, *images.shape[1:]), part["label"].to_numpy()

    return quickest("HF datasets", {"": batches}, images, labels, batch)


PEERS: dict[str, Opener] = {
    "FFCV": open_ffcv,
    "FFCV, tuned": open_ffcv_tuned,
    "LitData": open_litdata,
    "MosaicML Streaming": open_streaming,
    "WebDataset": open_webdataset,
    "tensordict, memmap": open_tensordict,
    "HF datasets": open_datasets,
}


class Pairs:
    """Images and labels as the indexable dataset that FFCV's writer reads."""

    def __init__(self, images: Images, labels: Labels) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Images, int]:
        return self.images[row], int(self.labels[row])


def sample(form: str, images: Images, labels: Labels, row: int) -> dict[str, Any]:
    image = images[row]
    forms = {"bytes": image.tobytes, "tensor": lambda: torch.from_numpy(image.copy()), "ndarray": image.copy}
    return {"image": forms[form](), "label": int(labels[row])}


def samples(images: Images, labels: Labels) -> Iterable[dict[str, Any]]:
    for row in range(len(images)):
        yield sample("bytes", images, labels, row)


def stacked(rows: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of bytes, arrays or tensors as one batch, by NumPy: quicker for all of them than torch's own collation."""
    images = np.stack([pixels_of(row["image"]) for row in rows]).reshape(len(rows), 224, 224, 3)
    return torch.from_numpy(images), torch.tensor([row["label"] for row in rows])


def of_members(row: dict[str, Any]) -> dict[str, Any]:
    """A row of WebDataset by the names that `stacked` knows."""
    return {"image": row["image.bin"], "label": int(row["label.cls"])}


def pixels_of(image: Any) -> Images:
    return np.frombuffer(image, np.uint8) if isinstance(image, bytes | memoryview) else np.asarray(image)


def one_thread(batches: Iterable[Any]) -> Batches:
    """For peers that copy in Python, one row after another: torch has nothing to share out."""

    def epoch() -> Iterable[Any]:
        torch.set_num_threads(1)
        return batches

    return epoch


def quickest(peer: str, settings: dict[str, Batches], images: Images, labels: Labels, batch: int) -> Epoch:
    """The setting whose best epoch of a few is the quickest; says which where there is a choice.

    RuntimeError where an epoch of any does not hold the rows that were handed over.
    """
    handed = sums([(images, labels)])
    for name, batches in settings.items():
        if (found := sums(batches())) != handed:
            raise RuntimeError(f"{peer}, {name}: an epoch gave other rows than it was handed: {found}, not {handed}")
    seconds = {name: min(timed(batches) for _ in range(TRIALS)) for name, batches in settings.items()}
    best = min(seconds, key=seconds.__getitem__)
    if len(settings) > 1:
        print(f"{peer}, batches of {batch}: {best} is the quickest of {len(settings)} settings")
    return partial(drain, settings[best])


def sums(batches: Iterable[Any]) -> tuple[int, int, int]:
    """Rows, and the sums of all words of eight bytes and of all labels: the same in whatever order rows come."""
    rows, words, classes = 0, 0, 0
    for images, labels in batches:
        rows += len(images)
        words += int(np.asarray(images).reshape(-1).view(np.uint64).sum())
        classes += int(np.asarray(labels).sum())
    return rows, words % 2**64, classes


def drain(batches: Batches) -> None:
    for _ in batches():
        pass


def timed(batches: Batches) -> float:
    started = time.perf_counter()
    drain(batches)
    return time.perf_counter() - started
