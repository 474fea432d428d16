"""Zip and tar as containers: members are names and bounded streams, and nothing is ever unpacked under its name.

Where an archive holds a name twice the last one counts, as it would when unpacking. Links inside an archive are
left out, but for the hard links of a tar, which are the file they link to.
"""

import bz2
import gzip
import json
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, BinaryIO, cast

from etl.sources.entries import Entry, TooLarge, clean, stamp
from manifests.errors import UserError

BLOCK = 1 << 20  # bytes unpacked at a time
REMEDY = "Fetch it again, or unpack it and give the folder."
LISTED = "1"  # raise it when the same tar gives other entries: lists that were kept are made again


@dataclass(frozen=True, slots=True)
class Zip:
    """A zip archive, as it was when it was opened."""

    path: Path
    mtime_ns: int
    size: int

    def __str__(self) -> str:
        return str(self.path)

    def entries(self) -> list[Entry]:
        members = self._directory()[1]
        locked = next((path for path, member in members.items() if member.flag_bits & 0x1), None)
        if locked is not None:
            raise UserError(
                f"{self.path}: {locked!r} is encrypted. Unpack the archive with its password and give the folder."
            )
        return sorted(
            (Entry(path, m.file_size, stamp(self.mtime_ns, self.size, m.CRC), -1) for path, m in members.items()),
            key=lambda entry: entry.path,
        )

    def read(self, entry: Entry, limit: int) -> bytes:
        archive, members = self._directory()
        member = members[entry.path]
        if member.file_size > limit:
            raise TooLarge(f"{entry.path}: {member.file_size:,} bytes, more than {limit:,}")
        try:
            with archive.open(member) as stream:
                content = stream.read(member.file_size)  # no more than this, whatever the stream holds
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError) as error:
            raise OSError(f"damaged in the archive ({error})") from error
        if len(content) < member.file_size:
            raise OSError(f"cut short in the archive ({len(content):,} of {member.file_size:,} bytes)")
        return content

    def _directory(self) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
        # By process too: a forked worker would share the file's position with its parent.
        return _zip_directory(self.path, self.mtime_ns, self.size, os.getpid())


@lru_cache(maxsize=256)
def _zip_directory(
    path: Path, _mtime_ns: int, _size: int, _process: int
) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """The open archive and its files by path: parsed once a process, not once a member."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, struct.error) as error:
        raise UserError(f"{path}: not a zip archive, or a damaged one ({error}). {REMEDY}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from error
    named = ((_zip_name(member), member) for member in archive.infolist())
    files = {clean(name): m for name, m in named if not name.endswith("/") and not stat.S_ISLNK(m.external_attr >> 16)}
    files.pop("", None)
    return archive, files


def _zip_name(member: zipfile.ZipInfo) -> str:
    """The name with '/', and as UTF-8 where the packer wrote UTF-8 without saying so, as macOS does."""
    name = member.filename.replace("\\", "/")
    if name.isascii() or member.flag_bits & 0x800:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


@dataclass(frozen=True, slots=True)
class Tar:
    """A tar: members are read by offset and size, so workers neither parse it nor wait for one another."""

    source: Path  # what the person gave
    path: Path  # the plain tar: the same, or where it was unpacked to
    stamp: int  # of the source
    listing: Path  # where its entries are kept

    def __str__(self) -> str:
        return str(self.source)

    def entries(self) -> list[Entry]:
        """Of a tar that did not change, as they were listed the first time.

        tarfile takes 2.4 s for 100,000 members, reading the kept list 0.3 s (benchmarks/starting.py).
        """
        if (kept := self._kept()) is not None:
            return kept
        found = self._found()
        with suppress(OSError):  # a store that cannot be written can still be read
            self.listing.parent.mkdir(parents=True, exist_ok=True)
            rows = json.dumps([(entry.path, entry.bytes, entry.offset) for entry in found])
            _write_whole(self.listing, iter([rows.encode()]))
        return found

    def _kept(self) -> list[Entry] | None:
        try:
            rows = json.loads(self.listing.read_bytes())
            return [Entry(path, size, self.stamp, offset) for path, size, offset in rows]
        except (OSError, ValueError, TypeError):  # not there, or not as it was written: listed anew
            return None

    def _found(self) -> list[Entry]:
        files: dict[str, Entry] = {}
        left_out: set[str] = set()  # links and devices
        for member in self._members():
            path = clean(member.name)
            if member.isreg():
                files[path] = Entry(path, member.size, self.stamp, member.offset_data)
            elif member.islnk() and (target := files.get(clean(member.linkname))):
                files[path] = Entry(path, target.bytes, self.stamp, target.offset)
            elif member.islnk() and clean(member.linkname) not in left_out:
                raise UserError(
                    f"{self.source}: {path!r} is a link to {member.linkname!r}, which is not in the archive. {REMEDY}"
                )
            elif not member.isdir():
                files.pop(path, None)
                left_out.add(path)
        files.pop("", None)
        return sorted(files.values(), key=lambda entry: entry.path)

    def read(self, entry: Entry, limit: int) -> bytes:
        if entry.bytes > limit:
            raise TooLarge(f"{entry.path}: {entry.bytes:,} bytes, more than {limit:,}")
        with self.path.open("rb") as stream:
            stream.seek(entry.offset)
            content = stream.read(entry.bytes)
        if len(content) < entry.bytes:
            raise OSError(f"cut short in the archive ({len(content):,} of {entry.bytes:,} bytes)")
        return content

    def _members(self) -> Iterator[tarfile.TarInfo]:
        try:
            with tarfile.open(self.path, "r:", encoding="utf-8", errors="surrogateescape") as archive:
                for member in archive:
                    if member.issparse():
                        raise UserError(f"{self.source}: {member.name!r} is stored sparse. Pack it without --sparse.")
                    yield member
                # tarfile takes a broken header for the end: what follows would be lost without a word.
                stream = cast(BinaryIO, archive.fileobj)
                stream.seek(archive.offset)
                if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise tarfile.ReadError(f"no end mark at byte {archive.offset:,}")
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise UserError(
                f"{self.source}: not a tar archive, or a damaged or truncated one ({error}). {REMEDY}"
            ) from error
        except OSError as error:
            raise UserError(f"{self.source}: cannot be read ({error.strerror or error}).") from error


def tar_at(source: Path, spool: Path, *, packed: bool) -> Tar:
    """The tar at `source`. What is made of it lies in `spool`: its list and, of a packed one, the plain tar."""
    status = source.stat()
    key = f"{source.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    plain = unpacked(source, _spooled(spool, key, "tar")) if packed else source
    return Tar(source, plain, stamp(status.st_mtime_ns, status.st_size), _spooled(spool, f"{key}\0{LISTED}", "json"))


def _spooled(spool: Path, key: str, kind: str) -> Path:
    return spool / f"{blake2b(key.encode(errors='surrogateescape'), digest_size=16).hexdigest()}.{kind}"


def unpacked(source: Path, target: Path) -> Path:
    """The plain tar of a compressed one, at `target`: written once, whole or not at all, and found again later."""
    if target.exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(target, _blocks(source))
    except OSError as error:
        raise UserError(f"{target.parent}: {source} cannot be unpacked there ({error.strerror or error}).") from error
    return target


def _write_whole(target: Path, blocks: Iterator[bytes]) -> None:
    with NamedTemporaryFile(dir=target.parent, prefix=target.stem, suffix=".part", delete=False) as part:
        try:
            for block in blocks:
                part.write(block)
            part.flush()
            os.fsync(part.fileno())
            Path(part.name).replace(target)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise


def _blocks(source: Path) -> Iterator[bytes]:
    suffix = source.suffix.lower()
    opener = gzip.open if suffix in (".gz", ".tgz") else bz2.open if suffix in (".bz2", ".tbz2") else lzma.open
    try:
        opened = cast(IO[bytes], opener(source, "rb"))
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror or error}).") from error
    with opened as stream:
        while block := _block(source, stream):
            yield block


def _block(source: Path, stream: IO[bytes]) -> bytes:
    try:
        return stream.read(BLOCK)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{source}: damaged or truncated ({error}). {REMEDY}") from error
