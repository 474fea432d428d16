"""Where the review page is served: a port of this machine and a token, kept for the next time for this user only."""

import json
import os
import secrets
import socket
from pathlib import Path

from manifests.errors import Exit, UserError

LOOPBACK = "127.0.0.1"


def bound(port: int, last: int) -> socket.socket:
    """A socket on this machine only: at the port asked for, else at the last one, else at any that is free."""
    for number in [port] if port else [last, 0]:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((LOOPBACK, number))
        except OSError:
            listening.close()
            continue
        return listening
    raise UserError(f"--port {port}: in use, or not allowed; leave it out, and a free one is taken.", Exit.USAGE)


def remembered(file: Path) -> tuple[str, int]:
    """Token and port of the last time; a new token where there is none."""
    try:
        found = json.loads(file.read_text("utf-8"))
        token, port = str(found["token"]), int(found["port"])
        if len(token) >= 32 and token.replace("-", "").replace("_", "").isalnum() and 0 < port < 65536:
            return token, port
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return new_token(), 0


def remember(file: Path, token: str, port: int) -> None:
    """For this user only. A store that cannot be written is no reason not to serve."""
    try:
        file.unlink(missing_ok=True)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as out:
            json.dump({"token": token, "port": port}, out)
    except OSError:
        pass


def new_token() -> str:
    return secrets.token_urlsafe(32)
