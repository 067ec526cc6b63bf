"""Secrets: who may have one, and in which order they are asked.

Rules:

1. The providers of ``[secrets]`` in ``flowctl.toml`` are asked in the order written there, and nobody else
   is. The first that has the secret is taken.
2. A secret's name is a word (``NAME``), so it never becomes a path that leads anywhere else.
3. A provider that fails has nothing: what it raised is logged under its name, and the next one is asked.
4. A file that every user of the machine may write is no secret of ours, and is not taken.
5. Nothing is kept: a secret that was changed is the new one from the next attempt on.

The keyring is the desktop's or the system's own, by the library ``keyring``, which is imported only if it is
among the providers.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}\Z")
VARIABLE = "FLOWCTL_SECRET_"
FOLDER_VARIABLE = "FLOWCTL_SECRETS_DIR"
LIMIT = 1 << 16
"""Bytes of a secret in a file; what is larger was not meant to be one."""

PROVIDERS = ("plugins", "environment", "files", "keyring")
"""All there are. The keyring is asked only where it is named, for a desktop's may ask a person first."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class SecretSettings:
    """``[secrets]``: the ``providers`` to ask, in order, the absolute ``folder`` of the files, None if
    there is none, and the ``service`` under which the keyring has them.
    """

    providers: tuple[str, ...] = PROVIDERS[:3]
    folder: str | None = None
    service: str = "flowctl"


NO_SETTINGS = SecretSettings()
"""What holds where ``flowctl.toml`` says nothing."""


class Unfit(Exception):
    """A provider cannot be asked, or what it has is not to be taken; the text says why."""


class Provider(Protocol):
    """One place where secrets may be."""

    def get(self, name: str) -> str | None:
        """The text of a secret, None if it is not there. May raise anything; ``Unfit`` with a reason."""

    def place(self, name: str) -> str:
        """Where it looks for a secret, for people."""

    def examine(self) -> Iterator[tuple[str, str | None]]:
        """What ``doctor`` says of it: remarks, each with what is wrong about it, or None if nothing is."""


Resolver = tuple[str, Callable[..., object]]
"""The name of a plugin and its ``flowctl_resolve_secret``."""


class Secrets:
    """All providers together."""

    def __init__(
        self,
        settings: SecretSettings,
        environment: Mapping[str, str],
        resolvers: Sequence[Resolver] = (),
    ) -> None:
        makers: Mapping[str, Callable[[], Provider]] = {
            "plugins": lambda: _Plugins(resolvers),
            "environment": lambda: _Environment(environment),
            "files": lambda: _Files(environment, settings.folder),
            "keyring": lambda: _Keyring(settings.service),
        }
        self._providers = [(name, makers[name]()) for name in settings.providers]

    def resolve(self, name: str) -> str | None:
        """The text of a secret, None if nobody has it or the name is not one. Never raises."""
        if NAME.match(name):
            for provider, source in self._providers:
                found, wrong = _asked(source, name)
                if found is not None:
                    return found
                if wrong is not None:
                    _log.warning("the secret %s cannot be had from %s: %s", name, provider, wrong)
        return None

    def sought(self, name: str) -> str:
        """Why a secret cannot be had: where it was looked for, and what was wrong there."""
        if not NAME.match(name):
            return f"{name} is not the name of a secret"
        looked = []
        for _, source in self._providers:
            found, wrong = _asked(source, name)
            if found is not None:
                return f"the secret {name} can be had now"
            looked.append(f"{source.place(name)} ({wrong})" if wrong else source.place(name))
        where = "; ".join(looked) or "nowhere, for [secrets] names no providers"
        return f"nobody here has the secret {name}; it was looked for in {where}"

    def examine(self) -> Iterator[tuple[str, str, str | None]]:
        """What ``doctor`` says: by provider, in order, remarks and what is wrong. Reads no secret."""
        for provider, source in self._providers:
            for remark, wrong in source.examine():
                yield provider, remark, wrong


def _asked(source: Provider, name: str) -> tuple[str | None, str | None]:
    """What a provider has, and what is wrong if it cannot say."""
    try:
        return source.get(name), None
    except Unfit as error:
        return None, str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a stranger's code, with a secret perhaps in what it says
        return None, f"it raised {type(error).__name__}"


class _Plugins:
    def __init__(self, resolvers: Sequence[Resolver]) -> None:
        self._resolvers = resolvers

    def get(self, name: str) -> str | None:
        for plugin, resolve in self._resolvers:
            try:
                found = resolve(name=name)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                _log.warning("plugin %s: flowctl_resolve_secret raised %s", plugin, type(error).__name__)
                continue
            if isinstance(found, str):
                return found
        return None

    def place(self, name: str) -> str:
        return f"plugins ({self._names()})"

    def examine(self) -> Iterator[tuple[str, str | None]]:
        yield self._names(), None

    def _names(self) -> str:
        return ", ".join(plugin for plugin, _ in self._resolvers) or "none has secrets"


class _Environment:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def get(self, name: str) -> str | None:
        return self._environment.get(VARIABLE + name) or None

    def place(self, name: str) -> str:
        return f"the environment ({VARIABLE}{name})"

    def examine(self) -> Iterator[tuple[str, str | None]]:
        count = sum(name.startswith(VARIABLE) for name in self._environment)
        yield f"{count} variables called {VARIABLE}…", None


class _Files:
    """One file a secret, with a newline at its end or without, as Docker and Kubernetes mount them."""

    def __init__(self, environment: Mapping[str, str], folder: str | None) -> None:
        self._environment = environment
        self._written = folder

    @property
    def _folder(self) -> str | None:
        return self._environment.get(FOLDER_VARIABLE) or self._written

    def get(self, name: str) -> str | None:
        if self._folder is None:
            return None
        try:
            # a pipe must not keep everybody waiting
            descriptor = os.open(os.path.join(self._folder, name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:
                _refuse_open_to_all(os.fstat(file.fileno()))
                data = file.read(LIMIT + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unfit(error.strerror or "it cannot be read") from None
        if len(data) > LIMIT:
            raise Unfit(f"over {LIMIT:,} bytes")
        try:
            return data.decode().removesuffix("\n")
        except UnicodeDecodeError:
            raise Unfit("not UTF-8") from None

    def place(self, name: str) -> str:
        if self._folder is None:
            return f"files (no folder: set {FOLDER_VARIABLE}, or folder in [secrets])"
        return f"the file {os.path.join(self._folder, name)}"

    def examine(self) -> Iterator[tuple[str, str | None]]:
        if self._folder is None:
            yield "no folder", None
            return
        try:
            names = sorted(name for name in os.listdir(self._folder) if NAME.match(name))
        except OSError as error:
            yield self._folder, f"the folder cannot be read: {error.strerror}"
            return
        yield f"{len(names)} in {self._folder}", None
        for name in names:
            path = os.path.join(self._folder, name)
            wrong = _exposed(path)
            if wrong is not None:
                yield path, wrong


class _Keyring:
    def __init__(self, service: str) -> None:
        self._service = service

    def get(self, name: str) -> str | None:
        try:
            import keyring
        except ImportError:
            raise Unfit(_NO_KEYRING) from None
        found = keyring.get_password(self._service, name)
        return found if isinstance(found, str) else None

    def place(self, name: str) -> str:
        return f"the keyring (service {self._service}, user {name})"

    def examine(self) -> Iterator[tuple[str, str | None]]:
        try:
            import keyring
        except ImportError:
            yield f"service {self._service}", _NO_KEYRING
            return
        used = keyring.get_keyring()
        where = f"service {self._service} in {type(used).__module__}"
        yield where, "this machine has no keyring" if used.priority <= 0 else None


_NO_KEYRING = "the library is missing; pip install 'flowctl[keyring]'"


def _refuse_open_to_all(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Unfit("not a file")
    if found.st_mode & stat.S_IWOTH:
        raise Unfit(f"mode {stat.S_IMODE(found.st_mode):04o}: every user may write it")


def _exposed(path: str) -> str | None:
    """What is wrong with who may use a file of secrets."""
    try:
        found = os.stat(path)
        _refuse_open_to_all(found)
    except OSError as error:
        return error.strerror
    except Unfit as error:
        return str(error)
    if found.st_mode & stat.S_IROTH:
        return f"mode {stat.S_IMODE(found.st_mode):04o}: every user may read it"
    return None
