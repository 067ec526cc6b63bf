"""Messages to a real SMTP server."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

import flowctl_mail as mail
from flowctl import ActivityContext
from flowctl.activities.failures import failure_from
from flowctl.plugins import load


class Mailbox:
    """A server on this machine. ``answers`` are what it says to a recipient, or to the message."""

    def __init__(self) -> None:
        self.port = 0
        self.messages: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.answers: dict[str, str] = {}

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        answer = self.answers.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        answer = self.answers.get("DATA", "250 OK")
        if answer.startswith("250"):
            parsed = email.message_from_bytes(envelope.content, policy=email.policy.default)
            assert isinstance(parsed, EmailMessage)
            self.messages.append(parsed)
            self.recipients.append(envelope.rcpt_tos)
        return answer


def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ada", b"hush")
    return AuthResult(success=right, handled=False)


async def serve(mailbox: Mailbox, ready: Callable[[Callable[[], None]], None]) -> None:
    """Take mail until the function that ``ready`` is told is called."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def connected() -> SMTP:
        return SMTP(mailbox, loop=loop, authenticator=authenticate, auth_require_tls=False)

    async with await loop.create_server(connected, "127.0.0.1", 0) as server:
        mailbox.port = server.sockets[0].getsockname()[1]

        def stop() -> None:
            loop.call_soon_threadsafe(over.set)

        ready(stop)
        await over.wait()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made, stops = Mailbox(), SimpleQueue[Callable[[], None]]()
    thread = threading.Thread(target=lambda: asyncio.run(serve(made, stops.put)))
    thread.start()
    stop = stops.get()
    configure(port=made.port)
    yield made
    mail.flowctl_configure({})
    stop()
    thread.join()


def configure(**settings: Any) -> None:
    shop = {"sender": "Shop <shop@example.com>", "host": "127.0.0.1", "security": "none"}
    mail.flowctl_configure({**shop, **settings})


def send(to: str | list[str] = "ada@example.com", key: str = "order-1/tell", **more: Any) -> dict[str, Any]:
    given = {"subject": "Your order", "text": "It is on its way."} | more
    return mail.send(ActivityContext(idempotency_key=key), [to] if isinstance(to, str) else to, **given)


def test_a_message_arrives_as_it_was_meant(mailbox: Mailbox) -> None:
    sent = send(
        "Ada Löwe <ada@example.com>",
        subject="Grüße",
        text="Schön.\n.\nEnd",
        html="<p>Schön</p>",
        cc=["bob@example.com"],
        reply_to="help@example.com",
    )
    (message,) = mailbox.messages
    assert message["From"] == "Shop <shop@example.com>"
    assert message["To"] == "Ada Löwe <ada@example.com>"
    assert (message["Cc"], message["Reply-To"]) == ("bob@example.com", "help@example.com")
    assert message["Subject"] == "Grüße"
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert plain.get_content().replace("\r\n", "\n") == "Schön.\n.\nEnd\n"
    assert html.get_content().strip() == "<p>Schön</p>"
    assert mailbox.recipients == [["ada@example.com", "bob@example.com"]]
    assert sent == {"message_id": message["Message-ID"], "refused": []}


def test_every_attempt_of_a_step_sends_the_same_id_and_another_step_another(mailbox: Mailbox) -> None:
    ids = [send()["message_id"], send()["message_id"], send(key="order-2/tell")["message_id"]]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].endswith("@example.com>")


@pytest.mark.parametrize(
    ("answer", "type_"), [("550 no such user", "MailRefused"), ("451 greylisted", "MailTryLater")]
)
@pytest.mark.parametrize("who", ["ada@example.com", "DATA"])
def test_a_refusal_is_for_good_or_for_now(mailbox: Mailbox, answer: str, type_: str, who: str) -> None:
    mailbox.answers = {who: answer}
    with pytest.raises(mail.MailError) as caught:
        send()
    failure = failure_from(caught.value)
    assert failure.types == (type_, "MailError")
    assert failure.details == {"code": int(answer[:3]), "answer": answer[4:]}
    assert mailbox.messages == []


def test_who_was_refused_is_told_if_others_were_not(mailbox: Mailbox) -> None:
    mailbox.answers = {"bob@example.com": "550 gone"}
    assert send(["ada@example.com", "bob@example.com"])["refused"] == ["bob@example.com"]
    assert mailbox.recipients == [["ada@example.com"]]


def test_what_is_refused_for_good_is_not_tried_again() -> None:
    policy = load(entry_points=False, objects=[mail]).activities["mail.send"].policy.retry
    assert policy is not None
    assert {"MailRefused", "InvalidMessage", "NotConfigured"} <= set(policy.non_retryable or ())
    assert "MailTryLater" not in (policy.non_retryable or ())


def test_a_server_that_is_not_there_is_for_now(mailbox: Mailbox) -> None:
    configure(port=1)
    with pytest.raises(mail.MailTryLater, match=r"127\.0\.0\.1:1: "):
        send()


HOSTILE = {
    "a header in the subject": {"subject": "x\r\nBcc: eve@example.com"},
    "a header in a recipient": {"to": "ada@example.com\r\nBcc: eve@example.com"},
    "two addresses in one": {"to": "ada@example.com, eve@example.com"},
    "no address": {"to": "ada"},
    "nothing": {"to": ""},
    "nobody": {"to": []},
    "a header in the answer's address": {"reply_to": "a@example.com\nBcc: eve@example.com"},
    "options of SMTP": {"to": "ada@example.com> SIZE=1"},
}


@pytest.mark.parametrize("given", HOSTILE.values(), ids=HOSTILE)
def test_nothing_gets_into_a_header_that_is_not_meant_to(mailbox: Mailbox, given: dict[str, Any]) -> None:
    with pytest.raises(mail.InvalidMessage):
        send(**given)
    assert mailbox.messages == []


def test_a_password_comes_from_the_environment(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    login = {"user": "ada", "password_env": "MAIL_PASSWORD", "port": mailbox.port}
    configure(**login)
    with pytest.raises(mail.NotConfigured, match="MAIL_PASSWORD"):
        send()
    monkeypatch.setenv("MAIL_PASSWORD", "wrong")
    with pytest.raises(mail.MailRefused) as caught:
        send()
    assert "wrong" not in str(caught.value)
    monkeypatch.setenv("MAIL_PASSWORD", "hush")
    assert send()["refused"] == []
    assert len(mailbox.messages) == 1


def test_encryption_that_the_server_does_not_offer_is_not_gone_without(mailbox: Mailbox) -> None:
    configure(security="starttls", port=mailbox.port)
    with pytest.raises(mail.MailRefused, match="STARTTLS"):
        send()
    assert mailbox.messages == []


@pytest.mark.parametrize(
    "settings",
    [
        {"hsot": "x"},
        {"security": "ssl"},
        {"security": "none", "user": "ada", "host": "mail.example.com"},
        {"sender": "nobody"},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    plugins = load(entry_points=False, objects=[mail], settings={"flowctl_mail": settings})
    assert len(plugins.problems) == 1
    assert "mail.send" not in plugins.activities


def test_without_a_sender_nothing_is_sent() -> None:
    mail.flowctl_configure({})
    with pytest.raises(mail.NotConfigured):
        send()


WORKFLOW = """
dsl: 1
name: tell
input: {type: object, required: [email], properties: {email: {type: string}}}
steps:
  - id: tell
    activity: mail.send
    with: {to: ["${{ input.email }}"], subject: Hello, text: "You are ${{ input.email }}."}
"""


def test_an_installed_plugin_serves_workflows_by_the_settings_of_the_project(
    mailbox: Mailbox, tmp_path: Path
) -> None:
    (tmp_path / "tell.yaml").write_text(WORKFLOW)
    (tmp_path / "flowctl.toml").write_text(
        '[plugins.mail]\nsender = "shop@example.com"\nhost = "127.0.0.1"\nsecurity = "none"\n'
        f"port = {mailbox.port}\n"
    )
    command = [sys.executable, "-m", "flowctl", "run", "tell.yaml", "-i", "email=ada@example.com", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "completed"), done.stdout
    (message,) = mailbox.messages
    assert message.get_content().strip() == "You are ada@example.com."
