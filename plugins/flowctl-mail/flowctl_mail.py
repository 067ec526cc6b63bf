"""Mail as an activity of flowctl, sent by SMTP.

Rules:

1. Where mail goes out, and under whose name, is the project's word: ``[plugins.mail]`` in ``flowctl.toml``.
   The password is in the environment.
2. A password crosses no network in the clear, and certificates are verified.
3. Every attempt of a step sends the same Message-ID. SMTP cannot tell whether a message whose
   acknowledgement was lost has gone out, so it is sent again; a mailbox that heeds the id shows it once.
4. What the server refuses for good (5xx) is not tried again; what it refuses for now (4xx) is.
5. No text gets into a header with a line break in it.

Over ``smtplib`` and ``email`` of the standard library.
"""

from __future__ import annotations

import email.errors
import hashlib
import os
import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, Literal

import msgspec

from flowctl import ActivityContext, activity, hookimpl

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.mail]``. ``password_env`` names the variable of the environment that has the password."""

    sender: str = ""
    host: str = "localhost"
    port: int = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password_env: str = ""
    timeout: float = 20.0


class MailError(Exception):
    """What goes wrong with a message."""

    def __init__(self, message: str, details: Any = None) -> None:
        super().__init__(message)
        self.details = details


class NotConfigured(MailError):
    """``flowctl.toml`` does not say where mail goes out."""


class InvalidMessage(MailError):
    """An address or a header that makes no sense."""


class MailRefused(MailError):
    """The server refuses it for good; ``details`` has its ``code`` and ``answer``."""


class MailTryLater(MailError):
    """The server refuses it for now, or cannot be reached."""


HOPELESS = (NotConfigured, InvalidMessage, MailRefused, "InvalidInput")

_settings = Settings()


@hookimpl
def flowctl_configure(settings: Mapping[str, Any]) -> None:
    """Take ``[plugins.mail]``."""
    global _settings
    found = msgspec.convert(settings, Settings)
    if found.user and found.security == "none" and found.host not in LOOPBACK:
        raise ValueError('security = "none" would send the password in the clear')
    if found.sender:
        _address(found.sender)
    _settings = found


@activity(
    "mail.send", timeout="1m", non_retryable=[NotConfigured, InvalidMessage, MailRefused, "InvalidInput"]
)
def send(
    ctx: ActivityContext,
    to: list[str],
    subject: str,
    text: str,
    html: str | None = None,
    cc: list[str] | None = None,
    reply_to: str | None = None,
) -> dict[str, Any]:
    """Send a message; returns ``{message_id, refused}``: the recipients that the server did not take."""
    if not _settings.sender:
        raise NotConfigured("there is no sender; say [plugins.mail] sender in flowctl.toml")
    message = _message(ctx, to, subject, text, html, cc or [], reply_to)
    recipients = [_address(each) for each in [*to, *(cc or [])]]
    try:
        refused = _deliver(message, recipients)
    except smtplib.SMTPRecipientsRefused as error:
        code, answer = max(error.recipients.values())
        raise _refusal("all recipients", code, answer) from None
    except smtplib.SMTPResponseException as error:
        raise _refusal("the message", error.smtp_code, error.smtp_error) from None
    except smtplib.SMTPNotSupportedError as error:
        raise MailRefused(f"{_settings.host}: {error}") from None
    except (OSError, smtplib.SMTPException) as error:
        raise MailTryLater(f"{_settings.host}:{_settings.port}: {error}") from error
    return {"message_id": str(message["Message-ID"]), "refused": sorted(refused)}


def _message(
    ctx: ActivityContext,
    to: list[str],
    subject: str,
    text: str,
    html: str | None,
    cc: list[str],
    reply_to: str | None,
) -> EmailMessage:
    if not to:
        raise InvalidMessage("a message needs a recipient: 'to' is empty")
    domain = _address(_settings.sender).rpartition("@")[2]
    key = hashlib.sha256(ctx.idempotency_key.encode()).hexdigest()[:32]
    message = EmailMessage(SMTP)
    headers = {
        "From": _settings.sender,
        "To": ", ".join(to),
        "Cc": ", ".join(cc),
        "Reply-To": reply_to or "",
        "Subject": subject,
        "Date": format_datetime(_now()),
        "Message-ID": f"<{key}@{domain}>",
    }
    try:
        for name, value in headers.items():
            if value:
                message[name] = value
        message.set_content(text)
        if html is not None:
            message.add_alternative(html, subtype="html")
    except (ValueError, IndexError, email.errors.MessageError) as error:
        raise InvalidMessage(f"the message cannot be written: {error}") from None
    return message


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)


def _address(text: str) -> str:
    """The address in ``Ada <ada@example.com>``. ``InvalidMessage`` if there is not exactly one."""
    if text.isprintable():  # no line breaks
        header: Any = SMTP.header_factory("to", text)
        if len(header.addresses) == 1 and not header.defects and header.addresses[0].domain:
            return str(header.addresses[0].addr_spec)
    raise InvalidMessage(f"{text!r:.200} is not one address, such as ada@example.com")


def _deliver(message: EmailMessage, recipients: list[str]) -> Mapping[str, Any]:
    """Hand a message to the server: the recipients that it refused, if it took any."""
    settings = _settings
    context = ssl.create_default_context()
    if settings.security == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            settings.host, settings.port, timeout=settings.timeout, context=context
        )
    else:
        server = smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout)
    with server:
        if settings.security == "starttls":
            server.starttls(context=context)
        if settings.user:
            server.login(settings.user, _password())
        return server.send_message(message, _address(settings.sender), recipients)


def _password() -> str:
    password = os.environ.get(_settings.password_env)
    if password is None:
        raise NotConfigured(
            f"[plugins.mail] password_env is {_settings.password_env!r}, and no such variable is set"
        )
    return password


def _refusal(what: str, code: int, answer: bytes | str) -> MailError:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    kind = MailTryLater if 400 <= code < 500 else MailRefused
    return kind(f"{_settings.host} refuses {what}: {code} {text}", {"code": code, "answer": text})
