"""The engine: accepts runs, drives them on the embedded runtime, and passes messages to them.

``engine`` has what people and programs ask for, ``session`` drives runs on one loop, ``worker`` drives all
that are due, until it is stopped.
"""

from flowctl.engine.engine import CommitObserver, Engine, nobody_has
from flowctl.engine.session import Session, calm_collector
from flowctl.engine.worker import Worker, work

__all__ = ["CommitObserver", "Engine", "Session", "Worker", "calm_collector", "nobody_has", "work"]
