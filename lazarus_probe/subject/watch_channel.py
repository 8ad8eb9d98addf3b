"""Connections between the first of several processes and the others, beside mlx's: lines of JSON over TCP."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

LONGEST = 2**16  # bytes of a line that is not over
SECONDS = 5.0  # to connect
LAST = 2.0  # to read what still comes


@dataclass(eq=False)
class Line:
    """A connection to one process.

    Attributes:
        rank: of that process.
        socket: the connection.
    """

    rank: int
    socket: socket.socket
    _begun: bytes = field(default=b"", repr=False)
    _sending: Lock = field(default_factory=Lock, repr=False)

    def send(self, message: dict[str, Any]) -> None:
        """Send a message, unless the other end is gone or does not read: what is not heard of there is noticed."""
        with suppress(OSError), self._sending:
            self.socket.sendall(json.dumps(message).encode() + b"\n")

    def finish(self) -> None:
        """Send no more, and read for a moment what still comes.

        A connection that is closed with something unread is reset, and what was sent last may be lost with it.
        """
        until = time.monotonic() + LAST
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
            self.socket.settimeout(LAST)
            while time.monotonic() < until and self.socket.recv(LONGEST):
                pass

    def messages(self) -> list[dict[str, Any]] | None:
        """Messages that have come; None where the other end is gone."""
        try:
            received = self.socket.recv(LONGEST)
        except (BlockingIOError, TimeoutError):
            return []
        except OSError:
            return None
        if not received or len(self._begun) > LONGEST:
            return None
        *whole, self._begun = (self._begun + received).split(b"\n")
        try:
            return [dict(json.loads(text)) for text in whole]
        except (ValueError, TypeError):
            return None


@dataclass(frozen=True, eq=False)
class Server:
    """Where the others connect to.

    Attributes:
        socket: that listens.
        address: how it is reached, as text.
        token: what a process of this run begins with; others are turned away.
    """

    socket: socket.socket
    address: str
    token: str

    def accepted(self) -> Line | None:
        """The next process that connects; None if it is none of this run."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            connection, _ = self.socket.accept()
            connection.settimeout(SECONDS)
            greeting = b""
            while not greeting.endswith(b"\n") and len(greeting) < 256 and (more := connection.recv(1)):
                greeting += more
            hello = json.loads(greeting)
            if secrets.compare_digest(str(hello["token"]), self.token):
                return Line(int(hello["rank"]), connection)
            connection.close()
        return None


def listening() -> Server:
    """A server at the address that the processes know this one by."""
    hosts = list(dict.fromkeys(_hosts()))
    alone = all(host in ("127.0.0.1", "localhost") for host in hosts[:1])
    server = socket.create_server(("127.0.0.1" if alone else "", 0))
    token = secrets.token_hex(16)
    address = {"hosts": hosts[:1] if alone else hosts, "port": server.getsockname()[1], "token": token}
    return Server(server, json.dumps(address), token)


def called(address: str, rank: int) -> Line | None:
    """A connection to the first process, whose address it has given; None where it cannot be reached."""
    server = json.loads(address)
    for host in server["hosts"]:
        with suppress(OSError):
            connection = socket.create_connection((host, server["port"]), timeout=SECONDS)
            line = Line(rank=0, socket=connection)
            line.send({"token": server["token"], "rank": rank})
            return line
    return None


def _hosts() -> Iterator[str]:
    """Names and addresses of this machine, that of mlx's ring first."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        first = json.loads(Path(os.environ["MLX_HOSTFILE"]).read_text(encoding="utf-8"))[0]
        yield str(first[0] if isinstance(first, list) else first).rpartition(":")[0]
    if host := os.environ.get("NCCL_HOST_IP"):
        yield host
    yield socket.gethostname()
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_way:
        any_way.connect(("192.0.2.1", 9))  # of documentation: nothing is sent, a way out is chosen
        yield str(any_way.getsockname()[0])
    yield "127.0.0.1"
