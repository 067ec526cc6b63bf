"""``flowctl.toml``: what a project says about itself, so that nobody has to repeat it on every command line.

Rules:

1. A **project** is the nearest folder, from the present one upwards, that has a ``.flowctl`` folder or a
   ``flowctl.toml``; without one, the present folder is.
2. The more particular word wins, whole: an option over the environment, the environment over the file, the
   file over the default. Lists are not merged.
3. What the file names is relative to the file, what an option or the environment names to the present folder.
4. An unknown key is an error: a setting that is silently ignored is worse than none. What ``[plugins.NAME]``
   means is that plugin's own business, and is checked when it is loaded.

``schemas/config.schema.json`` says the same to editors. What a key needs is imported when it is there: every
command reads its settings, and most find none.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from flowctl.errors import UsageError

if TYPE_CHECKING:
    from flowctl.model import Policy
    from flowctl.retry import RetryPolicy
    from flowctl.secrets import SecretSettings

FILE = "flowctl.toml"
FOLDER = ".flowctl"
DATABASE = "flowctl.db"

MAX_BYTES = 1 << 20
"""Bytes of a ``flowctl.toml``; a larger file is something else."""


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What holds for one command. ``database`` is an absolute path or a URL; ``defaults`` may be None.

    ``plugins`` are the plugins' own tables by name, as TOML has them; ``project`` is the folder that paths
    in them are relative to. ``secrets`` says who is asked for them; it may be None.
    """

    database: str
    plugins_dirs: tuple[str, ...]
    defaults: Policy | None = None
    plugins: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    project: str = "."
    secrets: SecretSettings | None = None


NO_PROJECT = Settings(database="memory:", plugins_dirs=())
"""What holds where nobody has said anything."""


def settle(
    database: str | None, plugins_dirs: Collection[str], environment: Mapping[str, str], folder: str
) -> Settings:
    """The settings that hold in ``folder``, given what options and environment say. ``UsageError``."""
    project = find_project(folder)
    written = read(os.path.join(project, FILE))
    here, there = _relative_to(folder), _relative_to(project)
    database = database or environment.get("FLOWCTL_DB")
    from_environment = environment.get("FLOWCTL_PLUGINS_DIR", "").split(os.pathsep)
    return Settings(
        database=here(database) if database else there(written.get("db", os.path.join(FOLDER, DATABASE))),
        plugins_dirs=tuple(map(here, plugins_dirs))
        or tuple(here(name) for name in from_environment if name)
        or tuple(map(there, written.get("plugins_dir", ()))),
        defaults=written.get("defaults"),
        plugins=written.get("plugins", {}),
        project=project,
        secrets=_of_project(written.get("secrets"), there),
    )


def find_project(folder: str) -> str:
    """The nearest folder upwards that is a project, else ``folder``."""
    candidate = folder
    while True:
        if os.path.isdir(os.path.join(candidate, FOLDER)) or os.path.isfile(os.path.join(candidate, FILE)):
            return candidate
        parent = os.path.dirname(candidate)
        if parent == candidate:
            return folder
        candidate = parent


def read(file: str) -> dict[str, Any]:
    """The keys of a ``flowctl.toml``, converted; empty if there is none. ``UsageError`` with the place."""
    if not os.path.isfile(file):  # a folder or a pipe of that name is not a settings file either
        return {}
    import tomllib

    try:
        with open(file, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UsageError(f"{file} is over {MAX_BYTES:,} bytes")
        return _convert(tomllib.loads(data.decode()), _KEYS, file, "")
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # TOML and UTF-8 errors, and a nest of a thousand brackets
        raise UsageError(f"{file} is not TOML: {error or 'nested too deep'}") from error


def _of_project(secrets: SecretSettings | None, there: Callable[[str], str]) -> SecretSettings | None:
    if secrets is None or secrets.folder is None:
        return secrets
    return dataclasses.replace(secrets, folder=there(secrets.folder))


def _relative_to(folder: str) -> Callable[[str], str]:
    def absolute(name: str) -> str:
        path = name.removeprefix("sqlite:///")
        return name if is_url(path) else os.path.normpath(os.path.join(folder, os.path.expanduser(path)))

    return absolute


def is_url(name: str) -> bool:
    """Whether what names a database is no path."""
    return name == "memory:" or "://" in name


def _convert(
    table: Mapping[str, Any], keys: Mapping[str, Callable[[Any, str, str], Any]], file: str, where: str
) -> dict[str, Any]:
    converted = {}
    for key, value in table.items():
        if key not in keys:
            from flowctl.expressions.hints import did_you_mean

            raise UsageError(f"{file} has an unknown key {where}{key}", hint=did_you_mean(key, keys))
        converted[key] = keys[key](value, file, where + key)
    return converted


def _wrong(file: str, key: str, expected: str) -> UsageError:
    return UsageError(f"{file}: {key} is not {expected}")


def _text(value: Any, file: str, key: str) -> str:
    if not isinstance(value, str) or not value:
        raise _wrong(file, key, "a string")
    return value


def _texts(value: Any, file: str, key: str) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(_text(item, file, key) for item in values)


def _duration(value: Any, file: str, key: str) -> int:
    from flowctl.clock import parse_duration

    try:
        return parse_duration(_text(value, file, key))
    except ValueError as error:
        raise UsageError(f"{file}: {key}: {error}") from None


def _limit(value: Any, file: str, key: str) -> int:
    """A duration that something may take; nothing can be done in none."""
    duration = _duration(value, file, key)
    if not duration:
        raise _wrong(file, key, "longer than nothing")
    return duration


def _attempts(value: Any, file: str, key: str) -> int:
    if type(value) is not int or value < 1:
        raise _wrong(file, key, "a number of tries, 1 or more")
    return value


def _factor(value: Any, file: str, key: str) -> float:
    if type(value) not in (int, float) or not 1 <= value < float("inf"):
        raise _wrong(file, key, "a number, 1 or more")
    return float(value)


def _switch(value: Any, file: str, key: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(file, key, "true or false")
    return value


def _one_of(*words: str) -> Callable[[Any, str, str], str]:
    def convert(value: Any, file: str, key: str) -> str:
        if value not in words:
            raise _wrong(file, key, f"one of {', '.join(words)}")
        return str(value)

    return convert


def _retry(value: Any, file: str, key: str) -> RetryPolicy:
    from flowctl.retry import ONCE, RetryPolicy

    if value is False:
        return ONCE
    if not isinstance(value, dict):
        raise _wrong(file, key, "a table or false")
    return RetryPolicy(**_convert(value, _RETRY_KEYS, file, f"{key}."))


def _defaults(value: Any, file: str, key: str) -> Policy:
    from flowctl.model import Policy

    if not isinstance(value, dict):
        raise _wrong(file, key, "a table")
    return Policy(**_convert(value, _DEFAULTS_KEYS, file, f"{key}."))


def _secrets(value: Any, file: str, key: str) -> SecretSettings:
    from flowctl.secrets import SecretSettings

    if not isinstance(value, dict):
        raise _wrong(file, key, "a table")
    return SecretSettings(**_convert(value, _SECRETS_KEYS, file, f"{key}."))


def _providers(value: Any, file: str, key: str) -> tuple[str, ...]:
    from flowctl.secrets import PROVIDERS

    names = value if isinstance(value, list) else [value]
    if not all(name in PROVIDERS for name in names) or len(set(names)) < len(names):
        raise _wrong(file, key, f"a list of {', '.join(PROVIDERS)}, each at most once")
    return tuple(names)


def _tables(value: Any, file: str, key: str) -> dict[str, dict[str, Any]]:
    if not isinstance(value, dict):
        raise _wrong(file, key, "a table")
    for name, table in value.items():
        if not isinstance(table, dict):
            raise _wrong(file, f"{key}.{name}", "a table")
    return value


_RETRY_KEYS: dict[str, Callable[[Any, str, str], Any]] = {
    "attempts": _attempts,
    "delay": _duration,
    "backoff": _one_of("constant", "linear", "exponential"),
    "factor": _factor,
    "max_delay": _duration,
    "jitter": _switch,
    "retryable": _texts,
    "non_retryable": _texts,
    "on_worker_lost": _one_of("retry", "fail"),
}
_SECRETS_KEYS: dict[str, Callable[[Any, str, str], Any]] = {
    "providers": _providers,
    "folder": _text,
    "service": _text,
}
_DEFAULTS_KEYS: dict[str, Callable[[Any, str, str], Any]] = {"timeout": _limit, "retry": _retry}
_KEYS: dict[str, Callable[[Any, str, str], Any]] = {
    "db": _text,
    "plugins_dir": _texts,
    "defaults": _defaults,
    "plugins": _tables,
    "secrets": _secrets,
}
