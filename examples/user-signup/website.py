"""The web site that people sign up on.

    POST /signup  email=…&password=…    202 and {"run": ID}: leaves the password in a file, and starts a run
    GET  /verify?run=ID&token=TOKEN     200, and the run is told; 403 for a token that is not the one

It starts runs and sends signals, as any program may; whoever executes them is another process, such as
``flowctl worker``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from examples.services import serving

WORKFLOW = "user-signup.yaml"


class Site(serving.Handler):
    """The requests. ``project`` is set before there are any."""

    project: Path

    def do_POST(self) -> None:
        if self.path != "/signup":
            self.answer(404)
            return
        form = parse_qs(self.body().decode())
        email, password = form.get("email", [""])[0], form.get("password", [""])[0]
        ticket = self._leave(password)
        data = {"email": email, "ticket": ticket, "site": f"http://{self.headers['Host']}"}
        started = self._flowctl("start", WORKFLOW, "--input", json.dumps(data))
        if started.returncode != 0:
            (self.project / "tickets" / ticket).unlink()
            self.answer(400, b"that is no address")
            return
        self._say(202, {"run": json.loads(started.stdout)["id"]})

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        run, token = asked.get("run", [""])[0], asked.get("token", [""])[0]
        if not self._is_right(run, token):
            self._say(403, {"error": "this link is not valid, or not any more"})
            return
        # However often somebody clicks: with one dedup id it is one signal.
        told = self._flowctl("signal", run, "clicked", "--dedup-id", "the link")
        self._say(200 if told.returncode == 0 else 409, {"run": run})

    def _leave(self, password: str) -> str:
        """Put a password where only the workflow's activity finds it; the name of the file."""
        ticket = secrets.token_hex(16)
        file = os.open(self.project / "tickets" / ticket, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(file, "wb") as stream:
            stream.write(password.encode())
            stream.flush()
            os.fsync(stream.fileno())
        return ticket

    def _is_right(self, run: str, token: str) -> bool:
        with closing(sqlite3.connect(self.project / "users.db")) as users:
            found = users.execute("SELECT token FROM accounts WHERE run = ? AND token IS NOT NULL", [run])
            known = (found.fetchone() or [""])[0]
        return hmac.compare_digest(known, hashlib.sha256(token.encode()).hexdigest())

    def _flowctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flowctl", *arguments, "--json"],
            cwd=self.project,
            capture_output=True,
            text=True,
            check=False,
        )

    def _say(self, status: int, content: dict[str, str]) -> None:
        self.answer(status, json.dumps(content).encode(), content_type="application/json")


def main() -> None:
    options = serving.arguments(__doc__).parse_args()
    Site.project = options.folder.parent
    serving.serve(Site, options.port)


if __name__ == "__main__":
    main()
