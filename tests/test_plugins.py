"""Plugins: how they are found, what they register, and that none of them can do harm by failing."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import subprocess
import sys
import tomllib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import flowctl
from flowctl.activities import Outcome, activity
from flowctl.activities.attempt import Attempt
from flowctl.activities.performer import Performer
from flowctl.hookspecs import hookimpl
from flowctl.plugins import Plugins, load

BUILT_IN = {"core.echo", "core.fail", "core.log", "core.sleep"}

SHOP = """
from flowctl import activity

@activity("shop.reserve")
def reserve(items: list[str]) -> int:
    return len(items)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str = "plugins", **files: str) -> Path:
        made = tmp_path / name
        made.mkdir(exist_ok=True)
        for stem, source in files.items():
            (made / f"{stem}.py").write_text(source)
        return made

    return write


Folder = Callable[..., Path]


def loaded(*dirs: Path, **options: Any) -> Plugins:
    return load(dirs, entry_points=False, **options)


def test_the_built_ins_come_through_the_same_door() -> None:
    plugins = loaded()
    assert set(plugins.activities) == BUILT_IN
    assert [(info.name, set(info.activities)) for info in plugins.described] == [("core", BUILT_IN)]
    assert plugins.problems == []


def test_activities_of_a_module_are_registered_without_a_hook(folder: Folder) -> None:
    plugins = loaded(folder(shop=SHOP))
    reserve = plugins.activities["shop.reserve"]
    assert reserve.function(["a"]) == 1
    assert reserve.plugin == "shop"
    assert reserve.origin.endswith("shop.py:4")


def test_a_hook_registers_what_is_made_by_code(folder: Folder) -> None:
    source = """
from flowctl import activity, hookimpl

def make(n):
    @activity(f"times.by_{n}")
    def times(value: int) -> int:
        return n * value
    return times

@activity("times.zero")
def zero(): ...

@hookimpl
def flowctl_register_activities(register):
    register(make(2))
    register(make(3))
    register(zero)

@hookimpl
def flowctl_register_functions(register):
    register("vat", lambda amount: amount * 0.081)
"""
    plugins = loaded(folder(times=source))
    assert plugins.problems == []
    assert plugins.activities["times.by_3"].function(5) == 15
    assert plugins.functions["vat"](1000) == 81.0
    info = plugins.described[-1]
    assert (info.activities, info.functions) == (("times.zero", "times.by_2", "times.by_3"), ("vat",))


BROKEN = {
    "syntax": ("def (", "SyntaxError"),
    "import": ("import no_such_module_anywhere", "no_such_module_anywhere"),
    "raises": ("raise ValueError('at import')", "ValueError: at import"),
    "exits": ("import sys\nsys.exit(3)", "SystemExit"),
    "base": ("class Stop(BaseException): pass\nraise Stop('now')", "Stop: now"),
    "bytes": ("\0", "null bytes"),
    "signature": ("from flowctl import activity\n@activity\ndef star(*values): ...", "'values'"),
    "declaration": ("from flowctl import activity\n@activity(timeout='1')\ndef one(): ...", "unit"),
    "hook": (
        "from flowctl import hookimpl\n@hookimpl\ndef flowctl_register_activities(register): register(print)",
        "@activity",
    ),
    "unknown hook": (
        "from flowctl import hookimpl\n@hookimpl\ndef flowctl_regster(register): ...",
        "flowctl_regster",
    ),
    "wrong argument": (
        "from flowctl import hookimpl\n@hookimpl\ndef flowctl_register_functions(registry): ...",
        "registry",
    ),
    "function": (
        "from flowctl import hookimpl\n@hookimpl\n"
        "def flowctl_register_functions(register): register('a b', print)",
        "'a b'",
    ),
}


@pytest.mark.parametrize(("source", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_reported_by_name_and_stops_no_other(
    folder: Folder, source: str, said: str
) -> None:
    plugins = loaded(folder(broken=source, zebra=SHOP))
    (problem,) = plugins.problems
    assert problem.plugin == "broken"
    assert "broken.py" in problem.origin
    assert said in problem.error
    assert "shop.reserve" in plugins.activities


def test_a_problem_names_the_line(folder: Folder) -> None:
    (problem,) = loaded(folder(broken="\n\nx = 1 / 0\n")).problems
    assert problem.origin.endswith("broken.py:3")


def test_ctrl_c_is_not_a_problem_of_a_plugin(folder: Folder) -> None:
    with pytest.raises(KeyboardInterrupt):
        loaded(folder(broken="raise KeyboardInterrupt"))


def test_what_a_plugin_prints_goes_to_stderr(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    loaded(folder(loud="print('hello')"))
    assert capsys.readouterr() == ("", "hello\n")


def test_the_first_to_register_a_name_keeps_it(folder: Folder) -> None:
    plugins = loaded(folder(one=SHOP, two=SHOP))
    assert plugins.activities["shop.reserve"].plugin == "one"
    (problem,) = plugins.problems
    assert problem.plugin == "two"
    assert "'shop.reserve'" in problem.error
    assert "plugin one" in problem.error


def test_a_built_in_cannot_be_replaced(folder: Folder) -> None:
    plugins = loaded(folder(mine="from flowctl import activity\n@activity('core.echo')\ndef echo(): ..."))
    assert plugins.activities["core.echo"].plugin == "core"
    assert len(plugins.problems) == 1


def test_files_are_loaded_in_the_order_of_their_names(folder: Folder) -> None:
    first = folder("first", b="", a="", _helper="raise ValueError")
    second = folder("second", a="", c="")
    (second / "notes.txt").write_text("not a plugin")
    (second / "package").mkdir()
    assert [info.name for info in loaded(first, second).described[1:]] == ["a", "b", "a", "c"]


def test_plugins_of_one_name_in_two_folders_are_two(folder: Folder) -> None:
    source = "from flowctl import activity\n@activity('{}')\ndef f() -> str: return '{}'"
    plugins = loaded(folder("x", shop=source.format("x", "x")), folder("y", shop=source.format("y", "y")))
    assert (plugins.activities["x"].function(), plugins.activities["y"].function()) == ("x", "y")


def test_the_same_folder_twice_is_loaded_once(folder: Folder) -> None:
    made = folder(shop=SHOP)
    plugins = loaded(made, made)
    assert plugins.problems == []
    assert len(plugins.described) == 2


@pytest.mark.parametrize("how", ["import _prices", "from . import _prices"])
def test_a_plugin_imports_its_siblings(folder: Folder, how: str) -> None:
    name = "relative" if "from" in how else "absolute"
    source = f"{how}\nfrom flowctl import activity\n@activity\ndef price(): return _prices.PRICE"
    plugins = loaded(folder(name, shop=source, _prices="PRICE = 7"))
    assert plugins.problems == []
    assert plugins.activities["price"].function() == 7


@pytest.mark.parametrize("how", ["import _rates", "from . import _rates"])
def test_siblings_of_two_folders_do_not_mix(folder: Folder, how: str) -> None:
    source = f"{how}\nfrom flowctl import activity\n@activity('{{}}')\ndef f(): return _rates.NAME"
    name = str("from" in how)
    one = folder(f"one{name}", shop=source.format("one"), _rates="NAME = 'one'")
    two = folder(f"two{name}", shop=source.format("two"), _rates="NAME = 'two'")
    plugins = loaded(one, two)
    assert plugins.problems == []
    assert [plugins.activities[name].function() for name in ("one", "two")] == ["one", "two"]


def test_an_activity_that_a_sibling_imported_is_no_second_one(folder: Folder) -> None:
    plugins = loaded(
        folder(apart=SHOP, beside="from apart import reserve", below="from .apart import reserve")
    )
    assert plugins.problems == []


def test_a_plugin_cannot_take_the_place_of_an_installed_module(folder: Folder) -> None:
    loaded(folder(json="raise ValueError", email=""))
    import json

    assert json.loads("1") == 1


def test_a_folder_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    (problem,) = loaded(tmp_path / "nowhere").problems
    assert "nowhere" in problem.origin


def test_objects_are_plugins_too() -> None:
    @activity("given.one")
    def one() -> None: ...

    module = types.ModuleType("given")
    module.__dict__["two"] = activity("given.two")(lambda: None)

    class Hooks:
        @hookimpl
        def flowctl_register_functions(self, register: Callable[..., None]) -> None:
            register("one", lambda: 1)

    plugins = loaded(objects=[one, module, Hooks()])
    assert plugins.problems == []
    assert {"given.one", "given.two"} <= plugins.activities.keys()
    assert plugins.functions["one"]() == 1


def install(site: Path, name: str, module: str, source: str) -> None:
    """An installed distribution with one entry point, as far as anybody can see."""
    info = site / f"{name.replace('-', '_')}-1.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(f"[flowctl]\n{name} = {module}\n")
    (site / f"{module}.py").write_text(source)


def test_installed_plugins_are_found_by_their_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "flowctl-shop", "flowctl_shop_installed", SHOP)
    install(tmp_path, "flowctl-broken", "flowctl_broken_installed", "import sys; sys.exit()")
    monkeypatch.syspath_prepend(tmp_path)
    plugins = load()
    (info,) = (info for info in plugins.described if info.name == "flowctl-shop")
    assert (info.version, info.origin, info.activities) == (
        "1.5",
        "flowctl_shop_installed",
        ("shop.reserve",),
    )
    assert [problem.plugin for problem in plugins.problems] == ["flowctl-broken"]


TAKES_SETTINGS = """
from flowctl import activity, hookimpl

seen = []

@hookimpl
def flowctl_configure(settings, folder):
    if settings.keys() - {"url"}:
        raise ValueError(f"no such key: {sorted(settings)}")
    seen.append((settings, folder))

@hookimpl
def flowctl_register_functions(register):
    register("seen", lambda: seen)

@activity("shop.use")
def use() -> None: ...
"""


def test_a_plugin_is_told_its_own_settings_before_all_else(folder: Folder) -> None:
    settings = {"shop": {"url": "http://shop"}}
    plugins = loaded(folder(shop=TAKES_SETTINGS), settings=settings, project="/here")
    assert plugins.problems == []
    assert plugins.functions["seen"]() == [({"url": "http://shop"}, "/here")]


def test_a_plugin_without_settings_is_told_that_there_are_none(folder: Folder) -> None:
    assert loaded(folder(shop=TAKES_SETTINGS)).functions["seen"]() == [({}, ".")]


def test_nothing_is_registered_of_a_plugin_that_refuses_its_settings(folder: Folder) -> None:
    plugins = loaded(folder(shop=TAKES_SETTINGS, other=SHOP), settings={"shop": {"urk": ""}})
    (problem,) = plugins.problems
    assert (problem.plugin, problem.error) == ("shop", "ValueError: no such key: ['urk']")
    assert plugins.activities.keys() - BUILT_IN == {"shop.reserve"}


def test_settings_that_nobody_takes_are_a_problem(folder: Folder) -> None:
    (problem,) = loaded(folder(shop=TAKES_SETTINGS), settings={"shpo": {}}).problems
    assert (problem.plugin, problem.origin) == ("shpo", "flowctl.toml")
    assert "is for no plugin that takes settings; did you mean 'shop'?" in problem.error
    (problem,) = loaded(folder("plain", shop=SHOP), settings={"shop": {}}).problems
    assert problem.error == "[plugins.shop] is for no plugin that takes settings"


TOLD_IN_A_CHILD = """
from flowctl import activity, hookimpl

seen = []

@hookimpl
def flowctl_configure(settings):
    seen.append(settings)

@activity("shop.seen", isolation="process")
def tell() -> list:
    return [repr(seen), len(seen)]
"""
TABLE = """
url = "sm\\u00f6rg\\u007f\\U0001f600 \\"quoted\\""
since = 2026-11-28T07:32:00+01:00
days = [2026-11-28, {at = 07:32:00.5, "" = {}}]
limits = {most = inf, least = -0.0, big = 9223372036854775807, on = true}
"""


def test_a_child_process_is_told_the_settings_once_and_as_they_are(folder: Folder) -> None:
    settings = {"shop": tomllib.loads(TABLE)}
    plugins = loaded(folder(shop=TOLD_IN_A_CHILD), settings=settings)
    assert plugins.problems == []

    [first, second] = calls(plugins, "shop.seen", times=2)
    assert first.value is not None, first.failure
    assert msgspec.json.decode(first.value) == [repr([settings["shop"]]), 1]
    assert second == first


@activity("object.work", isolation="process")
def work_apart() -> None: ...


class Told:
    @hookimpl
    def flowctl_configure(self, settings: object) -> None: ...

    @hookimpl
    def flowctl_register_activities(self, register: Any) -> None:
        register(work_apart)


def test_settings_that_no_child_process_could_be_told_are_a_problem() -> None:
    plugins = loaded(objects=[Told()])
    (problem,) = plugins.problems
    assert "object.work: a child process cannot be told the settings of this plugin" in problem.error
    assert "object.work" not in plugins.activities


# --- secrets and events


def test_a_secret_is_asked_of_plugins_then_the_environment_then_files(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
from flowctl import hookimpl

@hookimpl
def flowctl_resolve_secret(name):
    if name == "BROKEN":
        raise SystemExit
    return {"A": "from the plugin", "ODD": 3}.get(name)
"""
    plugins = loaded(folder(vault=source))
    secrets = folder("secrets")
    (secrets / "C").write_text("from a file\n")
    for name in ("A", "B", "ODD"):
        monkeypatch.setenv(f"FLOWCTL_SECRET_{name}", "from the environment")
    monkeypatch.setenv("FLOWCTL_SECRETS_DIR", str(secrets))
    assert [plugins.resolve_secret(name) for name in ("A", "B", "C", "D", "ODD", "BROKEN")] == [
        "from the plugin",
        "from the environment",
        "from a file",
        None,
        "from the environment",
        None,
    ]


@pytest.mark.parametrize("name", ["../outside", "", "a/b", "a b", ".", "A\n", "x" * 200])
def test_a_name_that_is_none_never_becomes_a_path(
    name: str, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside").write_text("secret")
    monkeypatch.setenv("FLOWCTL_SECRETS_DIR", str(folder("secrets")))
    assert loaded().resolve_secret(name) is None


def test_listeners_hear_of_events_and_cannot_stop_each_other(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    broken = "from flowctl import hookimpl\n@hookimpl\ndef flowctl_on_event(event): raise ValueError('deaf')"
    heard = """
from flowctl import hookimpl
events = []

@hookimpl
def flowctl_on_event(event):
    events.append(event)

@hookimpl
def flowctl_register_functions(register):
    register("heard", lambda: events)
"""
    plugins = loaded(folder(broken=broken, listener=heard))
    plugins.emit({"type": "run.started", "run_id": "a"})
    assert plugins.functions["heard"]() == [{"type": "run.started", "run_id": "a"}]
    assert "plugin broken: flowctl_on_event raised ValueError: deaf" in caplog.text


# --- the built-in activities


def nobody(name: str) -> str | None:
    """Has no secret."""
    return None


def call(name: str, **args: Any) -> Outcome:
    return calls(loaded(), name, args)[0]


def calls(plugins: Plugins, name: str, args: dict[str, Any] | None = None, times: int = 1) -> list[Outcome]:
    """What comes of calling an activity, so many times one after the other."""
    attempt = Attempt(
        run_id="run",
        workflow="w",
        version=1,
        path="step",
        attempt=1,
        idempotency_key="run/step",
        name=name,
        args=args or {},
        secrets={},
        timeout=30_000,
        heartbeat_timeout=None,
        principal=None,
        trace_id=None,
        last_heartbeat=None,
        started_at=0,
        deadline=30_000,
    )

    async def within() -> list[Outcome]:
        loop = asyncio.get_running_loop()
        performer = Performer(plugins.activities, resolve_secret=nobody, loop=loop)
        outcomes = []
        for _ in range(times):
            ended: asyncio.Future[Outcome] = loop.create_future()
            performer.perform(attempt, ended.set_result)
            outcomes.append(await ended)
        performer.close()
        return outcomes

    return asyncio.run(within())


def test_echo_returns_its_arguments() -> None:
    assert call("core.echo", b=1, a=[None]) == Outcome(value=b'{"a":[null],"b":1}')


def test_log_logs_under_the_run_and_step(caplog: pytest.LogCaptureFixture) -> None:
    assert call("core.log", message="100 % done", level="warning") == Outcome(value=b"null")
    (record,) = caplog.records
    assert (record.getMessage(), record.levelno) == ("100 % done", logging.WARNING)
    assert (record.__dict__["run_id"], record.__dict__["path"]) == ("run", "step")


def test_fail_fails_with_the_type_it_is_told() -> None:
    failure = call("core.fail", type="OutOfStock", message="none left", details={"sku": 1}).failure
    assert failure is not None
    assert dataclasses.astuple(failure)[:4] == ("OutOfStock", "none left", ("OutOfStock",), {"sku": 1})


@pytest.mark.parametrize("duration", [0, 0.001, "1ms"])
def test_sleep_takes_seconds_or_a_duration(duration: Any) -> None:
    assert call("core.sleep", duration=duration) == Outcome(value=b"null")


@pytest.mark.parametrize("duration", ["1", "soon", -1, 10**30, True])
def test_sleep_refuses_what_is_no_duration(duration: Any) -> None:
    failure = call("core.sleep", duration=duration).failure
    assert failure is not None
    assert failure.type == "InvalidInput"


# --- the public names


def test_every_public_name_is_there() -> None:
    assert {name for name in flowctl.__all__ if getattr(flowctl, name) is None} == set()
    assert set(flowctl.__all__) <= set(dir(flowctl))


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = flowctl.no_such_name


def test_importing_flowctl_imports_nothing_else_of_it() -> None:
    code = "import sys, flowctl; print([m for m in sys.modules if m.startswith(('flowctl.', 'msgspec'))])"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert shown.stdout == "[]\n"
