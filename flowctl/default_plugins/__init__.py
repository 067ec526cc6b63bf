"""Plugins that are always there. They come in through the same door as everybody's."""

MODULES = ("flowctl.default_plugins.core",)
"""The modules, in the order in which they are loaded."""
