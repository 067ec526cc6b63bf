"""An object store on this machine: PUT, GET, HEAD and DELETE of ``/BUCKET/KEY``, as S3 has them.

A key's parts are letters, digits and ``._~:-``, none beginning with a dot, so that each object can be a file
of that name. An object is there whole or not at all. ``--quota`` is how many bytes fit: 507 beyond it.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from pathlib import Path

from examples.services import serving

KEY = re.compile(r"(/[A-Za-z0-9_~:-][A-Za-z0-9._~:-]*){2,}\Z")


class Objects(serving.Handler):
    """The requests. ``folder`` and ``quota`` are set before there are any."""

    folder: Path
    quota: int
    lock = threading.Lock()

    def _file(self) -> Path | None:
        """The file of the object that is asked for; answers 400 if that is none."""
        if KEY.match(self.path):
            return self.folder / self.path.removeprefix("/")
        self.answer(400, b"that is not /BUCKET/KEY")
        return None

    def do_PUT(self) -> None:
        content, file = self.body(), self._file()
        if file is None:
            return
        with self.lock:
            others = sum(each.stat().st_size for each in self.folder.rglob("*") if each.is_file())
            kept = file.stat().st_size if file.is_file() else 0
            if others - kept + len(content) > self.quota:
                self.answer(507, b"the quota is used up")
                return
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as written:
                written.write(content)
            os.replace(written.name, file)
        self.answer(201, etag=etag(content))

    def do_GET(self) -> None:
        file = self._file()
        if file is None:
            return
        if not file.is_file():
            self.answer(404, b"there is no such object")
            return
        content = file.read_bytes()
        self.answer(200, content, etag=etag(content))

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        """Delete an object; one that is not there is gone as well."""
        file = self._file()
        if file is None:
            return
        with self.lock:
            file.unlink(missing_ok=True)
            for folder in file.relative_to(self.folder).parents:
                if (
                    folder.name
                    and (self.folder / folder).is_dir()
                    and not any(os.scandir(self.folder / folder))
                ):
                    (self.folder / folder).rmdir()
        self.answer(204)


def etag(content: bytes) -> str:
    """What tells one content from another, as S3 has it for a plain upload."""
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def main() -> None:
    parser = serving.arguments(__doc__)
    parser.add_argument("--quota", type=int, default=1 << 30, help="bytes that fit")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    Objects.folder, Objects.quota = options.folder, options.quota
    serving.serve(Objects, options.port)


if __name__ == "__main__":
    main()
