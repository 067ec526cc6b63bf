"""Secrets: put into a call's arguments just before it, and kept out of everything that comes back.

A secret is never stored: a call carries references, and this is where they become text. What an activity then
says (its result, error, heartbeat, log) may repeat that text by accident; ``Mask`` replaces it. It finds the
text as it is, not what an activity may have made of it (a base64, a half), so it is the second line of
defence, never the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flowctl import values
from flowctl.activities.attempt import MissingSecret
from flowctl.expressions import SecretRef

SHORTEST = 4
"""Shorter texts are not masked: replacing every ``1`` would hide more than the secret."""

STARS = "***"


class Mask:
    """Replaces the secrets of one attempt."""

    __slots__ = ("_secrets",)

    def __init__(self, secrets: Sequence[str]) -> None:
        # longest first: a secret may contain another
        self._secrets = sorted({s for s in secrets if len(s) >= SHORTEST}, key=lambda s: (-len(s), s))

    def __bool__(self) -> bool:
        return bool(self._secrets)

    def text(self, text: str) -> str:
        """``text`` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, STARS)
        return text

    def cut(self, text: str) -> str:
        """As ``text``, of one that was cut off at its end, where a piece of a secret may be left."""
        longest = len(self._secrets[0]) if self._secrets else 0
        return self.text(text)[: -longest - 1] + "…" if longest else text

    def data(self, value: Any) -> Any:
        """A JSON value without secrets, keys included. The value itself is not changed."""
        if not self._secrets:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.data(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self.data(item) for key, item in value.items()}
        return value

    def encoded(self, data: bytes) -> bytes:
        """The same for canonical JSON bytes."""
        return values.encode(self.data(values.decode(data))) if self._secrets else data


NOTHING = Mask(())


def reveal(
    arguments: dict[str, Any],
    secrets: Mapping[str, Sequence[str | SecretRef]],
    resolve: Callable[[str], str | None],
) -> tuple[dict[str, Any], Mask]:
    """Arguments with their secrets put in (the ones given stay without), and what masks them.

    ``secrets`` maps JSON pointers to the parts of a text. Raises ``MissingSecret``.
    """
    known: dict[str, str] = {}
    for parts in secrets.values():
        for part in parts:
            if isinstance(part, SecretRef) and part.name not in known:
                found = resolve(part.name)
                if found is None:
                    raise MissingSecret(part.name)
                known[part.name] = found
    complete: dict[str, Any] = values.decode(values.encode(arguments))
    for pointer, parts in secrets.items():
        text = "".join(known[part.name] if isinstance(part, SecretRef) else part for part in parts)
        _put(complete, pointer, text)
    return complete, Mask(tuple(known.values()))


def _put(arguments: Any, pointer: str, text: str) -> None:
    *way, last = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    place = arguments
    for step in way:
        place = place[_key(place, step)]
    place[_key(place, last)] = text


def _key(place: Any, step: str) -> str | int:
    return int(step) if isinstance(place, list) else step
