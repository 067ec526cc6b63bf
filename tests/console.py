"""Sessions of a shell in Markdown: what a page shows, and what really comes of it.

A ``console`` block holds commands behind ``$ ``, each with its output beneath. A comment ``# exits 3`` says
how a command exits, if not with 0. All blocks of a page are one session in one shell.

After a change that is meant to show, ``python -m tests.console README.md`` writes the real outputs into the
page, and a reader judges the difference.
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BEGIN, END = "\x1e", "\x1f"


@dataclasses.dataclass(frozen=True)
class Shown:
    """A command and what a page says of it."""

    command: str
    output: str

    @property
    def exits(self) -> int:
        said = re.search(r"# exits (\d+)$", self.command)
        return int(said[1]) if said else 0


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a command really wrote, to both streams, and its exit code."""

    output: str
    code: int


def commands(page: str) -> list[Shown]:
    return [shown for block in BLOCK.findall(page) for shown in _commands(block)]


def _commands(block: str) -> Iterator[Shown]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield Shown(command, output.rstrip("\n"))


def run(session: Sequence[Shown], folder: Path, environment: Mapping[str, str]) -> list[Ran]:
    """All commands in one shell, in ``folder``, which finds the examples where the repository has them."""
    (folder / "examples").symlink_to(ROOT / "examples")
    script = "exec 2>&1\n" + "\n".join(
        f"printf '\\036'\n{shown.command}\nprintf '\\037%s' $?" for shown in session
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=dict(environment),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        timeout=300,
        check=True,
    )
    parts = [part.partition(END) for part in done.stdout.split(BEGIN)[1:]]
    return [Ran(output.rstrip("\n"), int(code)) for output, _, code in parts]


def reader() -> dict[str, str]:
    """The environment of somebody who has activated the virtual environment, and nothing of ours."""
    ours = (
        "FLOWCTL_",
        "SHOP_DB",
        "AGENCY_DB",
        "PEOPLE_DB",
        "BANK_DB",
        "OFFICE_DB",
        "STORE_DB",
        "METRICS_DB",
        "PAYOUTS_DB",
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    tools = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])
    return inherited | {"PATH": tools, "PYTHONUTF8": "1"}


ALIKE: tuple[tuple[str, str], ...] = (
    (r"\d{4}-\d\d-\d\d", "DATE"),
    (r"\d\d:\d\d:\d\d(\.\d+)?", "TIME"),
    (r"\b(\d+ m )?\d+(\.\d+)? (ms|s)\b", "DURATION"),
    (r"(?m)^DATE UTC\n", ""),  # a session may go on past midnight
    (r" +", " "),  # columns are as wide as what stands in them
)
"""What differs between any two sessions, and what it is taken for."""


def alike(outputs: Sequence[str]) -> list[str]:
    """Outputs with times and durations taken out, and ids numbered in the order in which they appear."""
    known: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        return known.setdefault(found[0], f"ID{len(known) + 1}")

    made = []
    for output in outputs:
        text = re.sub(r"\b[a-z]+-[0-9A-HJKMNP-TV-Z]{26}\b", number, output)
        for pattern, word in ALIKE:
            text = re.sub(pattern, word, text)
        made.append(text)
    return made


def rewritten(page: str, ran: Sequence[Ran]) -> str:
    """The page with the real outputs in place."""
    outputs = iter(ran)

    def block(found: re.Match[str]) -> str:
        lines = [
            f"$ {shown.command}\n{next(outputs).output}".rstrip() + "\n" for shown in _commands(found[1])
        ]
        return "```console\n" + "".join(lines) + "```"

    return BLOCK.sub(block, page)


def main(pages: Sequence[str]) -> None:
    for page in map(Path, pages):
        text = page.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            ran = run(commands(text), Path(folder), reader())
        page.write_text(rewritten(text, ran), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
