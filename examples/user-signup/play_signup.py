"""One who clicks, one who is there already, and one who never answers: ``make scenario-user-signup``."""

from __future__ import annotations

import re
import sys
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from examples.services.stage import Server, Stage, mails, stage, told

HERE = Path(__file__).resolve().parent
WORKFLOW = "user-signup.yaml"
PASSWORD = "correct horse battery staple"  # noqa: S105
ACCOUNTS = "SELECT email, state, substr(password, 1, 30) || '…' FROM accounts ORDER BY email"


def prepare(here: Stage) -> tuple[Server, Server]:
    """The folder for tickets and the accounts; the mailbox and the site."""
    (here.folder / "tickets").mkdir(mode=0o700)
    here.database("users.db", "users.sql")
    return here.serve("mailbox", usually=8025), here.serve("examples.user-signup.website")


def ask(server: Server, method: str, target: str, **form: str) -> tuple[int, str]:
    """A request of a browser: status and content."""
    browser = HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    browser.request(method, target, urlencode(form) if form else None, headers)
    answer = browser.getresponse()
    status, content = answer.status, answer.read().decode()
    browser.close()
    return status, content


def link(text: str) -> str:
    """The link in a mail, without the host."""
    found = re.search(r"http://\S+", text)
    assert found is not None
    parts = urlsplit(found[0])
    return f"{parts.path}?{parts.query}"


def sign_up(here: Stage, site: Server, email: str) -> None:
    status, content = ask(site, "POST", "/signup", email=email, password=PASSWORD)
    here.tell(f"POST /signup email={email}", [(status, content)])


def click(here: Stage, site: Server, target: str) -> None:
    here.tell(f"GET {target[:60]}…", [ask(site, "GET", target)])


def main() -> None:
    with stage(HERE, *map(Path, sys.argv[1:])) as here:
        mailbox, site = prepare(here)

        here.say("Ada signs up; the run gets as far as the mail, and waits for a day if need be")
        sign_up(here, site, "Ada@example.com")
        here.flowctl("resume", "@last", "--wait", "0s", exits=3)
        [letter] = mails(mailbox.folder)
        print("\n" + re.sub(r"(?m)^", "    │ ", letter.get_content().strip()))

        here.say("Somebody guesses, and then Ada opens the link, twice")
        click(here, site, link(letter.get_content())[:-4] + "aaaa")
        click(here, site, link(letter.get_content()))
        click(here, site, link(letter.get_content()))
        here.flowctl("resume", "@last")

        here.say("Ada signs up once more")
        sign_up(here, site, "ada@EXAMPLE.com")
        here.flowctl("resume", "@last", exits=1)

        here.say("Bob never answers. (Here a day has two seconds.)")
        hurried = here.folder / WORKFLOW
        patient = hurried.read_text(encoding="utf-8")
        hurried.write_text(patient.replace("timeout: 24h", "timeout: 2s"), encoding="utf-8")
        sign_up(here, site, "bob@example.com")
        here.flowctl("resume", "@last", exits=1)

        here.say("What is left")
        here.table("accounts", "users.db", ACCOUNTS)
        here.tell("passwords on their way", here.files(here.folder / "tickets"))
        here.tell("mails", told(mails(mailbox.folder)))


if __name__ == "__main__":
    main()
