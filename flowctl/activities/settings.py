"""What a project tells a plugin (``flowctl_configure``), told again in its child processes.

A child imports the plugin's module anew, and what the hook has set there is not in it. So whoever is to make
an attempt is told first, once, with the table as it is in ``flowctl.toml``: on the way it is TOML, because
JSON knows no dates and no infinity.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from flowctl.activities.modules import Source, find, source_of


class Configure(msgspec.Struct, frozen=True):
    """The hook of a plugin, and its arguments: those that it takes of ``settings`` and ``folder``."""

    hook: Source
    takes: tuple[str, ...]
    settings: str
    folder: str

    @classmethod
    def of(
        cls, hook: Callable[..., Any], takes: Sequence[str], settings: Mapping[str, Any], folder: str
    ) -> Configure | None:
        """None for a hook that another process does not find: it is not at the top level of a module."""
        if "." in hook.__qualname__:
            return None
        return cls(source_of(hook), tuple(takes), f"settings = {_toml(settings)}", folder)

    def tell(self) -> None:
        """Call the hook, in this process. Raises whatever it raises."""
        import tomllib  # not everybody who has activities needs it

        arguments = tomllib.loads(self.settings) | {"folder": self.folder}
        find(self.hook)(**{name: arguments[name] for name in self.takes})


def _toml(value: Any) -> str:
    """A value of TOML, on one line."""
    match value:
        case Mapping():
            return f"{{{', '.join(f'{_toml(str(key))} = {_toml(each)}' for key, each in value.items())}}}"
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case bool():
            return str(value).lower()
        case datetime.date() | datetime.time():
            return value.isoformat()
    return repr(value)
