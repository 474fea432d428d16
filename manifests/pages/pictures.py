"""A picture as it stands in a page: made small, encoded anew, and never the original file."""

import base64
import io

from PIL import Image

QUALITY = 72  # of WebP: about 3 kB for a photograph of 128 pixels


def webp(picture: Image.Image, side: int, quality: int = QUALITY) -> bytes:
    """An L or RGB picture as a WebP file whose longer side has at most `side` pixels; no metadata goes along."""
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=quality, method=4)
    return out.getvalue()


def data_url(file: bytes) -> str:
    """A WebP file as an address that needs no other file."""
    return "data:image/webp;base64," + base64.b64encode(file).decode()
