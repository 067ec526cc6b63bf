"""All functions of the language, by name. Plugins add theirs to a copy of this table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flowctl.expressions.function import Function, plugin_function
from flowctl.expressions.functions_collections import COLLECTIONS
from flowctl.expressions.functions_scalars import SCALARS

FUNCTIONS: dict[str, Function] = {function.name: function for function in (*COLLECTIONS, *SCALARS)}

SPECIAL_FORMS = {"default": 2, "has": 1}
"""Forms whose first argument may be absent, and how many arguments they take."""


def extended(functions: Mapping[str, Callable[..., Any]]) -> dict[str, Function]:
    """The table with a plugin's pure functions added; ValueError for a name that the language has already."""
    for name in functions:
        if name in FUNCTIONS or name in SPECIAL_FORMS:
            raise ValueError(f"the language has a function {name!r} already")
        if not (name.isascii() and name.isidentifier()):
            raise ValueError(f"{name!r} cannot be the name of a function")
    return {**FUNCTIONS, **{name: plugin_function(name, function) for name, function in functions.items()}}
