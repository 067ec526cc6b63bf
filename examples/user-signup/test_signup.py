"""Signing up, by a browser's requests, the command line and real servers."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from examples.services.stage import Server, Stage, mails, stage
from tests.scenario_helpers import Killer, deadly_mailbox, dies_after, on_temporal_too, played

HERE = Path(__file__).resolve().parent
WORKFLOW = "user-signup.yaml"
WEBSITE = "examples.user-signup.website"
PASSWORD = "tr0ub4dor&3 is not it"
play = importlib.import_module("examples.user-signup.play_signup")


@dataclass
class Accounts:
    here: Stage
    site: Server
    mailbox: Path

    def sign_up(self, email: str = "ada@example.com", password: str = PASSWORD) -> str:
        """The id of the run."""
        status, content = play.ask(self.site, "POST", "/signup", email=email, password=password)
        assert status == 202
        return str(json.loads(content)["run"])

    def drive(self, run: str, *options: str, exits: int = 0) -> str:
        """How far it comes."""
        said = self.here.flowctl("resume", run, "--json", "--wait", "0s", *options, exits=exits)
        return str(json.loads(said)["status"])

    def link(self) -> str:
        """The one in the first mail."""
        return str(play.link(mails(self.mailbox)[0].get_content()))

    def click(self, link: str) -> int:
        return int(play.ask(self.site, "GET", link)[0])

    @property
    def accounts(self) -> list[tuple[str, str]]:
        return [
            (email, state) for email, state in self.here.rows("users.db", "SELECT email, state FROM accounts")
        ]

    @property
    def tickets(self) -> list[Path]:
        return list((self.here.folder / "tickets").iterdir())


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Stage]:
    with stage(HERE, tmp_path / "users", aloud=False) as played:
        yield played


@pytest.fixture
def accounts(here: Stage) -> Accounts:
    mailbox, site = play.prepare(here)
    return Accounts(here, site, mailbox.folder)


@pytest.fixture
def deadly(here: Stage) -> Iterator[tuple[Accounts, Killer]]:
    """With a mail server that may kill."""
    killer = Killer()
    (here.folder / "tickets").mkdir()
    here.database("users.db", "users.sql")
    with deadly_mailbox(here, killer) as mailbox:
        yield Accounts(here, here.serve(WEBSITE), mailbox), killer


@on_temporal_too
def test_whoever_opens_the_link_has_an_account(accounts: Accounts) -> None:
    run = accounts.sign_up("Ada@Example.com")
    assert accounts.drive(run, exits=3) == "waiting"
    assert accounts.accounts == [("ada@example.com", "new")]
    assert [accounts.click(accounts.link()), accounts.click(accounts.link())] == [200, 200]
    assert accounts.drive(run) == "completed"
    assert accounts.accounts == [("ada@example.com", "active")]
    [(hashed, token)] = accounts.here.rows("users.db", "SELECT password, token FROM accounts")
    assert PasswordHasher().verify(hashed, PASSWORD)
    assert token is None
    assert [mail["Subject"] for mail in mails(accounts.mailbox)] == ["Is this you?", "Welcome"]
    assert accounts.tickets == []
    assert accounts.click(accounts.link()) == 403, "the link was good for once"


def test_a_token_that_is_not_the_one_is_refused(accounts: Accounts) -> None:
    run = accounts.sign_up()
    accounts.drive(run, exits=3)
    link = accounts.link()
    for wrong in (link[:-1], link.partition("&")[0], link.replace(run, "another")):
        assert accounts.click(wrong) == 403
    assert accounts.drive(run, exits=3) == "waiting"


@on_temporal_too
def test_an_address_has_one_account(accounts: Accounts) -> None:
    accounts.drive(accounts.sign_up("ada@example.com"), exits=3)
    [(before,)] = accounts.here.rows("users.db", "SELECT password FROM accounts")
    assert accounts.drive(accounts.sign_up("ADA@example.com", "another password"), exits=1) == "compensated"
    assert accounts.here.rows("users.db", "SELECT password FROM accounts") == [(before,)]
    assert len(mails(accounts.mailbox)) == 1
    assert accounts.tickets == []


@pytest.mark.parametrize(
    ("email", "password"),
    [("bob@example.com", PASSWORD), ("bob@nowhere.invalid", PASSWORD), ("bob@x.de", "short")],
)
def test_whoever_never_answers_or_cannot_be_asked_is_forgotten(
    accounts: Accounts, email: str, password: str
) -> None:
    document = accounts.here.folder / WORKFLOW
    document.write_text(document.read_text().replace("timeout: 24h", "timeout: 1ms"))
    run = accounts.sign_up(email, password)
    said = json.loads(accounts.here.flowctl("resume", run, "--json", exits=1))
    assert said["status"] == "compensated"
    assert accounts.accounts == []
    assert accounts.tickets == []


def test_an_address_that_is_none_starts_nothing(accounts: Accounts) -> None:
    assert play.ask(accounts.site, "POST", "/signup", email="ada", password=PASSWORD)[0] == 400
    assert accounts.tickets == []
    assert json.loads(accounts.here.flowctl("list", "--json")) == []


def test_the_password_is_written_nowhere_and_the_token_only_into_the_mail_and_the_journal(
    accounts: Accounts,
) -> None:
    run = accounts.sign_up()
    accounts.drive(run, exits=3)
    token = accounts.link().partition("token=")[2]
    written = {file: file.read_bytes() for file in accounts.here.folder.rglob("*") if file.is_file()}
    assert [file for file, content in written.items() if PASSWORD.encode() in content] == []
    telling = {file.parent.name for file, content in written.items() if token.encode() in content}
    assert {"mailbox"} <= telling <= {"mailbox", ".flowctl"}
    shown = [accounts.here.flowctl(command, run, "--json") for command in ("status", "history")]
    assert [text for text in shown if token in text or "argon2id" in text] == []


# --- kill -9


def finished(accounts: Accounts, run: str) -> None:
    """Drive it on to the wait, and click: everything is there once."""
    assert accounts.drive(run, exits=3) == "waiting"
    assert accounts.accounts == [("ada@example.com", "new")]
    assert len(mails(accounts.mailbox)) == 1
    assert accounts.click(accounts.link()) == 200
    assert accounts.drive(run) == "completed"
    assert accounts.accounts == [("ada@example.com", "active")]
    assert [mail["Subject"] for mail in mails(accounts.mailbox)] == ["Is this you?", "Welcome"]
    assert accounts.tickets == []


def test_killed_when_the_letter_was_taken_there_is_one(deadly: tuple[Accounts, Killer]) -> None:
    accounts, killer = deadly
    run = accounts.sign_up()
    killer.kills(accounts.here, "resume", run)
    assert len(mails(accounts.mailbox)) == 1
    finished(accounts, run)


def test_killed_when_the_account_was_committed_there_is_one(accounts: Accounts) -> None:
    run = accounts.sign_up()
    dies_after(accounts.here, "SELECT 1 FROM accounts", "resume", run)
    finished(accounts, run)


def test_what_the_readme_says_to_run_tells_its_story_to_the_end(tmp_path: Path) -> None:
    said = played(HERE / "play_signup.py", tmp_path / "play")
    for line in ["ada@example.com  active", "to bob@example.com: Is this you?"]:
        assert line in said
