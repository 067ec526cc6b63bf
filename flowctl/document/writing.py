"""Data to text: a document as a person would have written it, and as the loader reads it back.

PyYAML writes for YAML 1.1; the loader reads the core schema of 1.2. So texts that one of the two takes for
something else are quoted, and so is what a line could not keep. Texts of several lines stand in blocks.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from flowctl.document.scalars import core
from flowctl.values import NotJson

if TYPE_CHECKING:
    import yaml

WIDTH = 110


def to_yaml(data: Any) -> str:
    """The YAML of JSON data, with keys in their order."""
    import yaml

    text: str = yaml.dump(
        data,
        Dumper=_dumper(),
        sort_keys=False,
        allow_unicode=True,
        width=WIDTH,
        default_flow_style=False,
    )
    return text


@functools.cache
def _dumper() -> type[yaml.SafeDumper]:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Without aliases, which the loader refuses, and with lists set in."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, False)

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=_style(value))

    def number(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
        digits, e, exponent = repr(value).partition("e")
        point = ".0" if e and "." not in digits else ""  # without one, YAML 1.1 sees no number
        return dumper.represent_scalar("tag:yaml.org,2002:float", f"{digits}{point}{e}{exponent}")

    Dumper.add_representer(str, text)
    Dumper.add_representer(float, number)
    return Dumper


def _style(value: str) -> str | None:
    """How a text has to be written; None leaves it to PyYAML, which quotes what YAML 1.1 would misread."""
    if "\n" in value and _keeps_its_lines(value):
        return "|"
    if not value.isprintable():
        return '"'
    try:
        return None if core(value) == value and isinstance(core(value), str) else "'"
    except NotJson:
        return "'"


def _keeps_its_lines(value: str) -> bool:
    lines = value.split("\n")
    return all(line.isprintable() and line == line.rstrip() for line in lines) and value[0] not in " \n"
