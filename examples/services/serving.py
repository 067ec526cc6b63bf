"""What the servers here share: how they start, and when they end.

A server is a process of its own: ``python -m examples.services.NAME --folder FOLDER [--port PORT]``. Its
first line says the port it listens on. It ends when its standard input does, so that none outlives whoever
started it.
"""

from __future__ import annotations

import argparse
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOST = "127.0.0.1"


def arguments(about: str | None) -> argparse.ArgumentParser:
    """The options of every server."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where it keeps what it is given")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    return parser


def until_nobody_listens(port: int) -> None:
    """Say the port, and wait for the end of the standard input."""
    print(port, flush=True)
    sys.stdin.read()


class Handler(BaseHTTPRequestHandler):
    """Requests and answers with a length, over connections that are kept."""

    protocol_version = "HTTP/1.1"

    def body(self) -> bytes:
        """What was sent; raises if the connection ends before its end."""
        length = int(self.headers.get("Content-Length", 0))
        content = self.rfile.read(length)
        if len(content) < length:
            raise ConnectionError("the sender has gone")
        return content

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        """Answer; ``content_type="…"`` is the header ``Content-Type``."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-").title(), value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal is the workflow's."""


def serve(handler: type[Handler], port: int) -> None:
    """Answer requests until nobody listens any more."""
    server = ThreadingHTTPServer((HOST, port), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    until_nobody_listens(server.server_address[1])
    server.shutdown()
    server.server_close()
