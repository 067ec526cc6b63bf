"""The colours of pictures, by what they mean: one theme for light surroundings, one for dark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from flowctl.render.graph.structure import State
from flowctl.render.layout import Style
from flowctl.render.signs import SIGNS


class Colours(NamedTuple):
    """Of a shape: its area, and its border and signs."""

    fill: str
    line: str


class Theme(NamedTuple):
    """``quiet`` is for what matters less, ``accent`` for conditions, ``error`` for what happens on failure.
    ``steps`` has the colours of a step by the style of its state, "" without one.
    """

    canvas: str
    text: str
    quiet: str
    flow: str
    accent: str
    error: str
    frame: Colours
    lane: Colours
    steps: Mapping[Style, Colours]


LIGHT = Theme(
    canvas="#ffffff",
    text="#1f2328",
    quiet="#59636e",
    flow="#818b98",
    accent="#0757b8",
    error="#cf222e",
    frame=Colours("#f3f5f8", "#c8d1da"),
    lane=Colours("#ffffff", "#d9e0e7"),
    steps={
        "": Colours("#ffffff", "#afb8c1"),
        "dim": Colours("#ffffff", "#d1d9e0"),
        "good": Colours("#ebfaf0", "#1a7f37"),
        "warn": Colours("#fff8e3", "#946200"),
        "bad": Colours("#fff0ee", "#cf222e"),
        "busy": Colours("#e8f3ff", "#0969da"),
        "undone": Colours("#f6f1fe", "#7042b8"),
    },
)
DARK = Theme(
    canvas="#0d1117",
    text="#f0f6fc",
    quiet="#9198a1",
    flow="#7d8590",
    accent="#58a6ff",
    error="#f85149",
    frame=Colours("#151b23", "#3d444d"),
    lane=Colours("#0d1117", "#30363d"),
    steps={
        "": Colours("#212830", "#656c76"),
        "dim": Colours("#151b23", "#3d444d"),
        "good": Colours("#12261c", "#3fb950"),
        "warn": Colours("#2a2310", "#d29922"),
        "bad": Colours("#321a1c", "#f85149"),
        "busy": Colours("#0f2642", "#4493f8"),
        "undone": Colours("#231b38", "#b392f0"),
    },
)


def style(state: State | None) -> Style:
    """The style of what is in that state; "" without a state."""
    return SIGNS[state.status][1] if state is not None else ""
