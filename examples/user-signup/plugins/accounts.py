"""Passwords and tokens. Over argon2-cffi."""

from __future__ import annotations

import hashlib
import os
import secrets

from flowctl import activity


@activity(
    "accounts.hash_password", timeout="30s", non_retryable=[FileNotFoundError, ValueError, "InvalidInput"]
)
def hash_password(ticket: str) -> str:
    """The Argon2id hash of the password that the site left in ``tickets/TICKET``, salted anew each time."""
    from argon2 import PasswordHasher

    from flowctl_files import opened

    with opened("tickets", ticket) as file:
        password = os.read(file, 1025)
    if not 8 <= len(password) <= 1024:
        raise ValueError("a password has from 8 to 1,024 bytes")
    hashed: str = PasswordHasher().hash(password)
    return hashed


@activity("accounts.new_token", timeout="5s")
def new_token() -> dict[str, str]:
    """A token that nobody can guess, and its hash, to know it by: ``{token, sha256}``."""
    token = secrets.token_urlsafe(32)
    return {"token": token, "sha256": hashlib.sha256(token.encode()).hexdigest()}
