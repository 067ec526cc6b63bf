"""A mail server on this machine: whatever it is sent is a file in its folder.

The file is called after the Message-ID, so a message that comes twice is there once. Nobody lives in
``.invalid`` (RFC 2606): such recipients are refused for good.
"""

from __future__ import annotations

import asyncio
import email
import hashlib
import os
import re
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from examples.services import serving


class Mailbox:
    """What the server does with a message."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.rstrip(">").endswith(".invalid"):
            return "550 nobody lives there"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        keep(self.folder, envelope.content)
        return "250 OK"


def keep(folder: Path, content: bytes) -> None:
    """Put a message into the folder, once."""
    known = str(email.message_from_bytes(content)["Message-ID"]).strip("<>")
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.@-]{0,99}", known)
    name = known if plain else hashlib.sha256(known.encode()).hexdigest()
    file = folder / f"{name}.eml"
    written = file.with_suffix(".part")
    written.write_bytes(content)
    os.replace(written, file)


async def serve(folder: Path, port: int) -> None:
    """Take messages until nobody listens any more."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Mailbox(folder)), serving.HOST, port)
    async with server:
        await asyncio.to_thread(serving.until_nobody_listens, server.sockets[0].getsockname()[1])


def main() -> None:
    options = serving.arguments(__doc__).parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(options.folder, options.port))


if __name__ == "__main__":
    main()
