"""A gRPC server that refuses every call, and a gate before a real one that can be shut while it is used.

Of HTTP/2 it speaks as much as a refusal takes: to every request it answers with trailers alone. What comes is
not read but for the frames; a key is recognised by how HPACK packs it.

    python -m tests.temporal.refusing

lets the keys of a worker, and of ``flowctl run``, expire while they work, and prints what they say, which is
after a minute: as long does Temporal's SDK hope. Exits with 1 if that is not one line, or if the run does not
go on with another key.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from tests.temporal.server import Server, serving

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, SETTINGS, PING = 1, 4, 6
END_STREAM, ACK, END_HEADERS = 1, 1, 4
STATUS_200 = b"\x88"

UNAUTHENTICATED, PERMISSION_DENIED = 16, 7

SHORT = "012aceiost"
"""The characters of which HPACK makes five bits each, which are their places here."""


def as_sent(key: str) -> bytes:
    """How HPACK packs ``Bearer KEY``. The key has eight characters, or a multiple, all of them ``SHORT``."""
    bits = "1011101001010001110110000101101100010100"  # "Bearer "
    bits += "".join(f"{SHORT.index(character):05b}" for character in key)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


class Gate:
    """Listens at ``target``. What comes is passed on to ``beyond`` until the gate is ``shut``; from then on,
    or from the beginning if there is nothing beyond, every call is refused with the status ``code``.
    """

    def __init__(self, code: int, beyond: str | None = None) -> None:
        self.heard = b""
        """All that came since it was shut."""
        self._code = code
        self._beyond = beyond
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._passing: list[socket.socket] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def shut(self) -> None:
        """Pass nothing on any more, not even what has been connected."""
        with self._lock:
            self._beyond = None
            for passing in self._passing:
                with contextlib.suppress(OSError):
                    passing.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                come, _ = self._listener.accept()
                serve = self._refuse if self._beyond is None else self._pass_on
                threading.Thread(target=serve, args=[come], daemon=True).start()

    def _pass_on(self, come: socket.socket) -> None:
        with self._lock:
            if self._beyond is None:
                come.close()
                return
            host, _, port = self._beyond.partition(":")
            there = socket.create_connection((host, int(port)))
            self._passing += [come, there]
        back = threading.Thread(target=_pump, args=[there, come], daemon=True)
        back.start()
        _pump(come, there)
        back.join()
        come.close()
        there.close()

    def _refuse(self, come: socket.socket) -> None:
        with come, contextlib.suppress(OSError, EOFError):
            self._read(come, len(PREFACE))
            come.sendall(_frame(SETTINGS))
            for kind, flags, stream, body in self._frames(come):
                if kind == HEADERS:
                    come.sendall(_frame(HEADERS, END_HEADERS | END_STREAM, stream, self._refusal()))
                elif kind in (SETTINGS, PING) and not flags & ACK:
                    come.sendall(_frame(kind, ACK, 0, body if kind == PING else b""))

    def _frames(self, come: socket.socket) -> Iterator[tuple[int, int, int, bytes]]:
        while True:
            head = self._read(come, 9)
            kind, flags, stream = struct.unpack(">BBI", head[3:])
            yield kind, flags, stream, self._read(come, int.from_bytes(head[:3], "big"))

    def _read(self, come: socket.socket, size: int) -> bytes:
        found = b""
        while len(found) < size:
            more = come.recv(size - len(found))
            if not more:
                raise EOFError
            self.heard += more
            found += more
        return found

    def _refusal(self) -> bytes:
        said = {"content-type": "application/grpc", "grpc-status": str(self._code), "grpc-message": "no"}
        return STATUS_200 + b"".join(_literal(name) + _literal(value, b"") for name, value in said.items())


def _literal(text: str, first: bytes = b"\0") -> bytes:
    return first + bytes([len(text)]) + text.encode()


def _frame(kind: int, flags: int = 0, stream: int = 0, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


DOCUMENT = "dsl: 1\nname: doze\nsteps: [{id: doze, sleep: 5s}]\n"
HANDS_OVER_WITHIN = 120


def expire(server: Server, folder: Path, words: Sequence[str], code: int) -> tuple[str, bool]:
    """What a command says whose key expires while it works, and whether all is as it should be."""
    queue = f"{words[0]}-{code}"
    with Gate(code, beyond=server.target) as gate:
        address = f"temporal://{gate.target}/default?task_queue={queue}"
        working = subprocess.Popen(
            [sys.executable, "-m", "flowctl", *words, "--db", address],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        start = [sys.executable, "-m", "flowctl", "start", "doze.yaml", "--id", queue, "--db", address]
        subprocess.run(start, cwd=folder, check=True, capture_output=True)
        gate.shut()
        _, said = working.communicate(timeout=HANDS_OVER_WITHIN)
    anew = [sys.executable, "-m", "flowctl", "resume", queue, "--db", server.url(task_queue=queue)]
    goes_on = subprocess.run(anew, cwd=folder, check=False, capture_output=True).returncode == 0
    return said, working.returncode == 74 and said.count("\n") == 1 and goes_on


def main() -> int:
    """Play it."""
    with tempfile.TemporaryDirectory() as name, serving(Path(name)) as server:
        folder = Path(name)
        (folder / "doze.yaml").write_text(DOCUMENT, encoding="utf-8")
        wrong = 0
        for code in (UNAUTHENTICATED, PERMISSION_DENIED):
            for words in (["worker"], ["run", "doze.yaml"]):
                said, right = expire(server, folder, words, code)
                wrong += not right
                print(f"{words[0]}: {'' if right else 'WRONG: '}{said}", end="")
        return 1 if wrong else 0


if __name__ == "__main__":
    os.environ |= {"TEMPORAL_API_KEY": "ac01ties", "TEMPORAL_TLS": "false"}
    sys.exit(main())
