"""``flowctl serve``: the runs of a database over HTTP, for dashboards and programs, live.

It stands on ``flowctl.backends`` and knows nothing of journals. ``table`` is the one list of routes: what
answers, who may ask, what goes in and what comes out; the router, the OpenAPI document and the authorisation
matrix of the tests are made of it. ``app`` is the ASGI application around it, ``live`` the one reader that
feeds every stream, ``running`` the server and its workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowctl.server.app import App

__all__ = ["serve_app"]


def serve_app(db: str, **options: Any) -> App:
    """An ASGI application for ``app.mount("/flows", flowctl.serve_app("orders.db"))``; see
    ``flowctl.server.app.serve_app``.
    """
    from flowctl.server import app

    return app.serve_app(db, **options)
