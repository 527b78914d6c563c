"""Every error consumidor raises on purpose, and what becomes of it.

    ConsumidorError
    ├── InvalidInput              422   names each wrong field
    ├── MalformedRequest          400   not JSON, a broken header or cursor
    ├── Unauthenticated           401   token missing or refused
    ├── Forbidden                 403   scope missing, client not registered
    ├── NotFound                  404
    ├── TooLarge                  413
    ├── TooManyRequests           429   retryable
    ├── DependencyDown            503   retryable: a server behind us is down or slow
    │   └── NoSuchQueue                 SQS answers, but has no such queue
    ├── SealBroken                500   a sealed record of Base A does not open: altered, or another person's
    ├── MessageRefused                  a queue message that can never be answered: dead letter at once
    │   ├── MalformedMessage            cannot be read at all
    │   ├── UnknownVersion              written by a version this code does not know
    │   ├── ForgedMessage               not signed by the people API
    │   ├── UntrustedSender             a bureau_inquiry from a sender that is not one of ours
    │   ├── ExpiredMessage              past its own deadline, or its request id is
    │   ├── ConflictingMessage          its request id is known with another client, person or purpose
    │   └── UnknownClient               its client has no response queue: no one to answer
    ├── SettingsError                   wrong or missing settings, all of them in one message
    └── CommandError                    a command that cannot do what it was asked; one line, exit status 1

`status` is what a web door answers; `retryable` is all that a queue consumer reads: back off, or dead letter.
Messages name what is wrong and never hold a CPF, a name, an address or a token.
"""

import re
from typing import ClassVar, TypedDict

# A field's name, of ours or of another API: no CPF (three digits in a row), no part of a token (which begins as every JSON object does).
_FIELD = re.compile(r"(?!eyJ)(?!.*[0-9]{3})[A-Za-z_][A-Za-z0-9_-]{0,39}")


class FieldError(TypedDict):
    """One wrong field of a request: where (`requests[3].cpf`) and why."""

    field: str
    detail: str


def shown(name: str) -> str:
    """The name that a caller gave a field, where it looks like a field's; else `[unknown]`: a person's data may stand in its place."""
    return name if _FIELD.fullmatch(name) else "[unknown]"


class ConsumidorError(Exception):
    """Root of the tree. `title` is the class's fixed phrase; the message is the occasion's detail."""

    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    title: ClassVar[str] = "Internal error"

    @property
    def detail(self) -> str:
        """What went wrong this time, safe to show to the caller."""
        return str(self) or self.title


class InvalidInput(ConsumidorError):
    """One or more fields have a wrong value; `fields` names them all."""

    status, title = 422, "Invalid input"

    def __init__(self, fields: list[FieldError]) -> None:
        super().__init__("; ".join(f"{wrong['field']}: {wrong['detail']}" for wrong in fields))
        self.fields = fields


class MalformedRequest(ConsumidorError):
    """The request cannot be read: not JSON, a broken header or cursor."""

    status, title = 400, "Malformed request"


class Unauthenticated(ConsumidorError):
    """No token, or one that is refused."""

    status, title = 401, "Unauthenticated"


class Forbidden(ConsumidorError):
    """A true token that may not do this."""

    status, title = 403, "Forbidden"


class NotFound(ConsumidorError):
    """Nothing is known under that key."""

    status, title = 404, "Not found"


class TooLarge(ConsumidorError):
    """The request's body is over the limit."""

    status, title = 413, "Content too large"


class TooManyRequests(ConsumidorError):
    """Ask again after `retry_after` seconds."""

    status, retryable, title = 429, True, "Too many requests"

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class DependencyDown(ConsumidorError):
    """A server behind this process is down or too slow; `name` is its role (base_a, sqs, s3, kms, issuer, base_b, base_c)."""

    status, retryable, title = 503, True, "Service unavailable"

    def __init__(self, name: str, retry_after: int = 5) -> None:
        super().__init__(f"{name} is not answering")
        self.name = name
        self.retry_after = retry_after


class NoSuchQueue(DependencyDown):
    """SQS has no queue of that URL. Of our own queues that is an outage like any other; only who knows more of the queue may take it
    for final.
    """

    def __init__(self) -> None:
        super().__init__("sqs")


class SealBroken(ConsumidorError):
    """A sealed record or data key of Base A was altered, or belongs to another person or key; no retry mends it."""

    title = "Record cannot be opened"


class MessageRefused(ConsumidorError):
    """A queue message that no retry can mend."""

    title = "Message refused"


class MalformedMessage(MessageRefused):
    """The message cannot be read."""

    title = "Malformed message"


class UnknownVersion(MessageRefused):
    """The message's version is not one this code reads."""

    title = "Unknown message version"


class ForgedMessage(MessageRefused):
    """The message was not signed by the people API."""

    title = "Message not signed by the people API"


class UntrustedSender(MessageRefused):
    """A bureau_inquiry event from a sender that is not in INQUIRY_SENDERS."""

    title = "Sender may not report inquiries"


class ExpiredMessage(MessageRefused):
    """The request's own deadline has passed, or that of the first request with its id."""

    title = "Request past its deadline"


class ConflictingMessage(MessageRefused):
    """The request id is in the log with another client, person or purpose."""

    title = "Request id already used for another request"


class UnknownClient(MessageRefused):
    """A request whose client has no response queue, as one has none that is no longer registered."""

    title = "Client has no response queue"


class SettingsError(ConsumidorError):
    """The environment is incomplete or wrong; the message lists every key."""

    title = "Wrong settings"


class CommandError(ConsumidorError):
    """A command cannot do what it was asked; shown as one line."""

    title = "Command failed"
