"""Bytes → pixels or a named problem, and the facts of a file. With `etl.jpeg`, nothing else here decodes an image.

The same rules hold for hashing, training and prediction: first frame, EXIF orientation applied, transparency over the
background, 16 bits scaled, floats scaled. A JPEG is decoded at the smallest DCT scale that is not below what is asked
for, and resized once. https://pillow.readthedocs.io/en/stable/handbook/image-file-formats.html
"""

import hashlib
import io
import warnings
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from etl import jpeg
from etl.measures import DETAIL_SIDE, SILENT, Planes, measures, planes, turned_hashes
from manifests.pixels import PixelContract

R = TypeVar("R")
Pixels = npt.NDArray[np.uint8]

# Only these decoders run: left to itself, Pillow would start Ghostscript for an EPS that is named .jpg.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
JPEGS = {"JPEG", "MPO"}
FRAMED = {"GIF", "PNG", "WEBP", "TIFF", "AVIF"}  # may hold several pictures; what an MPO holds are previews

SIGNATURES = {  # what a file says it is, where its decoder cannot read on
    b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF",
}  # fmt: skip
FOREIGN = {  # images and documents that are no photograph we read; named, so that a person knows what to convert
    b"%!PS": "EPS", b"%PDF": "PDF", b"8BPS": "PSD", b"<svg": "SVG", b"<?xml": "XML", b"\0\0\1\0": "ICO",
    b"<!DO": "HTML", b"<htm": "HTML", b"PK\3\4": "zip archive", b"\x1f\x8b": "gzip archive",
}  # fmt: skip

UPRIGHT = {  # EXIF orientation → what makes it upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION = 0x0112  # EXIF tag

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}


class Unusable(Exception):  # noqa: N818 - a reason, not an error
    """Why a file cannot be used, in words a person understands."""


class Facts(NamedTuple):
    """What extract writes down of one file; the columns of the image table have the meanings."""

    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    mode: str | None = None
    orientation: int | None = None
    animated: bool | None = None
    chroma: float | None = None
    pixels: str | None = None
    phash: int | None = None
    dhash: int | None = None
    phash256: str | None = None
    dhash256: str | None = None
    turned: str | None = None
    luma_mean: float | None = None
    luma_std: float | None = None
    luma_low: float | None = None
    luma_high: float | None = None
    sharpness: float | None = None
    problem: str | None = None


class Sight(NamedTuple):
    """A file opened once; several are measured together."""

    facts: Facts
    planes: Planes | None = None  # None where there is a problem


def facts(data: bytes, *, max_pixels: int, background: str, turned: bool = False) -> Facts:
    """Everything extract wants to know of a file, from its bytes. Never raises for bad bytes.

    MemoryError is the engine's affair: it tries the file again with all the memory there is.
    """
    seen = sight(data, max_pixels=max_pixels, background=background)
    return silence_told(measured([seen], turned=turned)[0], lambda: data, background)


def sight(data: bytes, *, max_pixels: int, background: str) -> Sight:
    """What stands in a file's header, and the planes that the rest is measured of."""
    sha256 = hashlib.sha256(data).hexdigest()

    def loaded(image: ImageFile.ImageFile) -> Sight:
        mode, kind, animated, orientation = image.mode, image.format, _is_animated(image), _orientation(image)
        stored_size = image.size[::-1] if orientation >= 5 else image.size
        upright = _scaled_down(image, data, "RGB", (DETAIL_SIDE, DETAIL_SIDE))
        width, height = stored_size if kind in JPEGS else upright.size
        seen = Facts(sha256, width, height, kind, mode, orientation, animated)
        return Sight(seen, planes(eight_bit(upright, background)))

    try:
        return _decoded(data, max_pixels, loaded)
    except Unusable as reason:
        return Sight(Facts(sha256, problem=str(reason)))


def measured(sights: Sequence[Sight], *, turned: bool) -> list[Facts]:
    """The facts of these files, measured; with `turned`, and the hashes of each picture laid the seven other ways."""
    facts = [sight.facts for sight in sights]
    seen = {number: sight.planes for number, sight in enumerate(sights) if sight.planes is not None}
    found = measures(list(seen.values()))
    ways = turned_hashes([each.small for each in seen.values()]) if turned and seen else repeat(None, len(seen))
    for number, all_measures, others in zip(seen, found, ways, strict=True):
        facts[number] = facts[number]._replace(**all_measures._asdict(), turned=others)
    return facts


def silence_told(seen: Facts, read: Callable[[], bytes], background: str) -> Facts:
    """With the digest of its pixels, if the picture says nothing to a hash: the file is decoded again, in full."""
    if seen.luma_std is None or seen.luma_std >= SILENT:
        return seen
    try:
        data = read()
        if hashlib.sha256(data).hexdigest() != seen.sha256:
            raise Unusable("changed while it was read")
        return seen._replace(pixels=_pixels_digest(data, background))
    except Unusable as reason:
        return Facts(seen.sha256, problem=str(reason))


def _pixels_digest(data: bytes, background: str) -> str:
    """Of every pixel as it is seen: two files with the same digest show the same, however they are stored."""
    picture = _decoded(data, None, lambda image: eight_bit(_upright(image), background).convert("RGB"))
    return hashlib.sha256(f"{picture.width}x{picture.height}".encode() + picture.tobytes()).hexdigest()


def _is_animated(image: Image.Image) -> bool:
    """Whether it has several frames; a second one that cannot be read is none."""
    try:
        return image.format in FRAMED and bool(getattr(image, "is_animated", False))
    except Exception:  # whatever a decoder throws: the first frame is what counts
        return False


def pixels(data: bytes, contract: PixelContract) -> Pixels:
    """(H, W, C) uint8 by the contract, before any normalisation. Raises Unusable."""
    return array(picture(data, contract), contract)


def array(image: Image.Image, contract: PixelContract) -> Pixels:
    """(H, W, C) uint8 of a picture that has the contract's size and channels."""
    return np.asarray(image).reshape(contract.shape)


def picture(data: bytes, contract: PixelContract) -> Image.Image:
    """The picture at the contract's size, L or RGB. Raises Unusable."""

    def loaded(image: ImageFile.ImageFile) -> Image.Image:
        width, height = image.size[::-1] if _orientation(image) >= 5 else image.size
        least = _inner(width, height, contract) if contract.resize == "pad" else (contract.width, contract.height)
        mode = "RGB" if contract.channels == "rgb" else "L"
        return eight_bit(_scaled_down(image, data, mode, least), contract.background).convert(mode)

    return resized(_decoded(data, None, loaded), contract)


def resized(picture: Image.Image, contract: PixelContract) -> Image.Image:
    """The picture at the contract's size, by one antialiased resize."""
    size, filtered = (contract.width, contract.height), FILTERS[contract.interpolation]
    if contract.resize == "squash":
        return picture.resize(size, filtered)
    if contract.resize == "pad":
        inner = _inner(*picture.size, contract)
        canvas = Image.new("RGB", size, contract.background).convert(picture.mode)
        canvas.paste(picture.resize(inner, filtered), ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
        return canvas
    width, height = picture.size
    scale = min(width / size[0], height / size[1])
    # Rounding may leave a side that fits exactly a hair below 0, which the resize would refuse.
    left, top = max(0.0, (width - size[0] * scale) / 2), max(0.0, (height - size[1] * scale) / 2)
    return picture.resize(size, filtered, box=(left, top, width - left, height - top))


def _inner(width: int, height: int, contract: PixelContract) -> tuple[int, int]:
    """The largest size of the picture's own aspect inside the contract's, at least one pixel each way."""
    scale = min(contract.width / width, contract.height / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def eight_bit(image: Image.Image, background: str) -> Image.Image:
    """Any mode as L or RGB: 16 bits and floats scaled, transparency over the background."""
    if image.mode in {"I;16", "I;16L", "I;16B", "I", "F"}:
        return _scaled(image)
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, background)
        return Image.alpha_composite(canvas, image).convert("RGB")
    if image.mode in {"L", "RGB"}:
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _scaled(image: Image.Image) -> Image.Image:
    """Wide grey values as 8 bits. I;16 is 0…65535. I and F may be anything: [0, 1] for floats, [0, 255], [0, 65535]."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise Unusable("unreadable: pixel values that are not finite")
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I;16"):
        top = 65535.0
    else:
        top = next(
            (limit for limit in (1.0, 255.0, 65535.0) if high <= limit and (limit > 1 or image.mode == "F")), 0.0
        )
    if low < 0 or top == 0:
        raise Unusable(f"unreadable: pixel values from {low:g} to {high:g}; expected 0 to 1, 255 or 65535")
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))


def _decoded(data: bytes, max_pixels: int | None, load: Callable[[ImageFile.ImageFile], R]) -> R:
    """Open, check, verify, and load; whatever the decoder throws meanwhile becomes a reason."""
    if not data:
        raise Unusable("empty")
    Image.MAX_IMAGE_PIXELS = None  # our own limit is checked below, before any decode, and can be raised
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of broken metadata; broken pixels raise
        try:
            with _open(data) as image:
                width, height = image.size
                if max_pixels is not None and width * height > max_pixels:
                    raise Unusable(f"too many pixels: {width}×{height} is over {max_pixels:,}")
                if type(image).verify is not ImageFile.ImageFile.verify:  # PNG has checksums; the others nothing
                    image.verify()
                    with _open(data) as again:
                        return load(again)
                return load(image)
        except (Unusable, MemoryError):  # how much memory there is belongs to the machine, not to the file
            raise
        except UnidentifiedImageError:
            raise Unusable(_unidentified(data)) from None
        except Exception as error:
            spoken = isinstance(error, OSError | SyntaxError | ValueError)  # the rest is a decoder that stumbled
            text = (str(error) if spoken else "") or "its data is damaged"
            if "truncated" in text or "Truncated" in text or isinstance(error, EOFError) or _is_cut_off(data):
                raise Unusable("truncated") from None
            raise Unusable(f"unreadable: {text}") from None


def _open(data: bytes) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(data), formats=FORMATS)


def _unidentified(data: bytes) -> str:
    head = data[:16]
    if head[4:12] == b"ftypavif":
        return "truncated" if _is_cut_off(data) else "unreadable: an AVIF whose header is damaged"
    for signature, name in SIGNATURES.items():
        if head.startswith(signature):
            return f"unreadable: a {name} whose header is cut off or damaged"
    for signature, name in FOREIGN.items():
        if head.lstrip().startswith(signature):
            return f"not an image: {name}"
    return "not an image"


def _is_cut_off(data: bytes) -> bool:
    """Whether a WebP or an AVIF says that it is longer than it is; their decoders name no such reason."""
    if data[:4] == b"RIFF":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    end = 0
    while data[4:8] == b"ftyp" and end < len(data):  # a file of boxes, each led by its size
        size = int.from_bytes(data[end : end + 4], "big")
        if size < 8:  # the last box, which says no size of its own, or none at all
            break
        end += size
    return end > len(data)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where it is missing or the metadata is broken."""
    try:
        value: Any = image.getexif().get(ORIENTATION, 1)
    except Exception:  # broken metadata does not make the pixels unusable
        return 1
    return int(value) if value in UPRIGHT else 1  # some cameras write it as a fraction


def _scaled_down(image: ImageFile.ImageFile, data: bytes, mode: str, least: tuple[int, int]) -> Image.Image:
    """The same; a JPEG at the smallest DCT scale at which neither side, as it is seen, is below `least`."""
    if image.format not in JPEGS:
        return _upright(image)
    stored_least = (least[1], least[0]) if _orientation(image) >= 5 else least
    # Sides of less than a block of the format are left to Pillow: scaled, they would hold what pads the block.
    is_block = min(image.size) >= 8
    quick = jpeg.scaled(data, mode if image.mode == "RGB" else image.mode, stored_least) if is_block else None
    if quick is not None:
        return _turned(quick, image)
    image.draft(mode, stored_least)
    return _upright(image)


def _upright(image: ImageFile.ImageFile) -> Image.Image:
    """Loaded whole and turned."""
    image.load()
    return _turned(image, image)


def _turned(picture: Image.Image, image: ImageFile.ImageFile) -> Image.Image:
    """The picture of an image, turned as that says. After loading, because Pillow's TIFF reader turns it itself."""
    turn = UPRIGHT.get(_orientation(image))
    return picture if turn is None else picture.transpose(turn)
