"""Results as JUnit XML, for systems that show nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from flowctl.errors import UsageError
from flowctl.render.cases import failures_of_case
from flowctl.render.plain import lines


def write(file: str, results: Sequence[dict[str, Any]]) -> None:
    """Write the results of test files (see ``suite``). ``UsageError`` if the file cannot be written."""
    root = ElementTree.Element("testsuites", name="flowctl")
    for result in results:
        _suite(root, result)
    try:
        ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from None


def _suite(root: ElementTree.Element, result: dict[str, Any]) -> None:
    cases = result["cases"]
    seconds = sum(case["milliseconds"] for case in cases) / 1000
    counts = {
        "tests": len(cases) + len(result["errors"]),
        "failures": sum(case["status"] == "failed" for case in cases),
        "errors": len(result["errors"]),
    }
    attributes = {"name": result["file"], "time": f"{seconds:.3f}"}
    attributes |= {name: str(count) for name, count in counts.items()}
    suite = ElementTree.SubElement(root, "testsuite", attributes)
    for case in cases:
        made = _case(suite, result["file"], case["case"], case["milliseconds"])
        if case["status"] == "failed":
            text = "\n".join(lines(failures_of_case(result["file"], case)))
            ElementTree.SubElement(made, "failure", message=_xml(text.split("\n")[0])).text = _xml(text)
    for error in result["errors"]:
        made = _case(suite, result["file"], f"{error['code']}", 0)
        ElementTree.SubElement(made, "error", message=_xml(error["message"]))


def _case(suite: ElementTree.Element, file: str, name: str, milliseconds: float) -> ElementTree.Element:
    seconds = f"{milliseconds / 1000:.3f}"
    return ElementTree.SubElement(suite, "testcase", classname=file, name=_xml(name), time=seconds)


def _xml(text: str) -> str:
    """Text without what XML cannot hold."""
    return "".join(c if c in "\t\n" or c >= " " else "\N{REPLACEMENT CHARACTER}" for c in text)
