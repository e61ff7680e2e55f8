"""Dead letters once more: the same bytes by the same way, with what the program knows today."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b, sha256

import orjson

from daemon.eventlog.deadletters import KeptLetter, find_letter
from daemon.eventlog.requests import Append, Appended, Work
from daemon.eventlog.transaction import Transaction
from daemon.intake.formats import Format, find_format
from daemon.intake.recording import read_lines, settled
from domain.catalog import validate_payload
from domain.errors import Conflict, Invalid, NotFound
from domain.events import NewEvent
from domain.limits import Limits

SOURCE = "/chronicled/api"
"""Whoever decides about a dead letter does it over the interface."""
RETRIED = "deadletter.retried"
DISCARDED = "deadletter.discarded"


class NotKept(Conflict):
    """Of the dead letter not every byte is kept, so that it cannot be decoded again."""

    code = "not_kept"
    title = "Not kept as it came"
    hint = "Have the producer send it again, or give the bytes as `body`."


class StillUndecodable(Invalid):
    """The dead letter cannot be decoded today either; nothing has changed."""

    code = "still_undecodable"
    title = "Still not decodable"
    hint = "Give another `format` or a corrected `body`; or discard it."


class AlreadyRetried(Conflict):
    """The dead letter has become events; it cannot be discarded any more."""

    code = "already_retried"
    title = "Already retried"
    hint = "Its events are in the log, and stay there."


@dataclass(frozen=True, slots=True)
class Retry:
    """How a dead letter is read again, by whom and why; None = as it was."""

    by: str | None = None
    reason: str | None = None
    format: str | None = None
    source: str | None = None
    body: str | None = None


def no_letter(letter_id: int) -> NotFound:
    """Return the error of an id that no dead letter has."""
    return NotFound(f"There is no dead letter {letter_id}.")


def retry_request(letter: KeptLetter, retry: Retry, limits: Limits) -> Work:
    """Return the request that records the events of a dead letter, and that it was retried.

    Their ids are made of what is said, so that they are those which they would have had; one
    without a time of its own gets the time at which the letter was first seen.

    Raises:
        NotKept: it is masked or cut, and there is no other body.
        StillUndecodable: it still cannot be decoded.
        NotFound: there is no such format.

    """
    chosen = find_format(retry.format or letter.format)
    body = letter.kept if retry.body is None else retry.body.encode()
    if retry.body is None and not letter.complete:
        raise NotKept(f"Of dead letter {letter.id} not every byte is kept as it came.")
    lines = read_lines(chosen, body, limits, letter.origin, retry.source)
    for line in lines:
        if line.dead_letter is not None:
            raise StillUndecodable(f"{line.dead_letter.reason}: {line.dead_letter.detail}")
    if not lines:
        raise StillUndecodable("there is nothing in it")
    events = [event for line in lines for event in line.events]
    said = [retry.source, sha256(body).hexdigest()]
    run = partial(_append_retried, chosen, letter, retry, events, said)
    return Work(run, events=len(events) + 1, size=len(body))


def discard_request(letter: KeptLetter, by: str | None, reason: str | None) -> Work:
    """Return the request that records that a dead letter was thrown away."""
    return Work(partial(_append_discarded, letter, by, reason))


def _append_retried(
    chosen: Format,
    letter: KeptLetter,
    retry: Retry,
    events: Sequence[NewEvent],
    said: Sequence[object],
    transaction: Transaction,
) -> Appended:
    found = [
        event if event.time is not None else event._replace(time=letter.first_seen)
        for event in settled(chosen, events, transaction)
    ]
    appended = transaction.append(Append(found))
    decided = _decision(
        RETRIED, letter, retry.by, retry.reason, chosen.name, said, events=len(found)
    )
    last = transaction.append(Append([decided]))
    return Appended([*appended.receipts, *last.receipts], last.head)


def _append_discarded(
    letter: KeptLetter, by: str | None, reason: str | None, transaction: Transaction
) -> Appended:
    found = find_letter(transaction.connection, letter.id)
    if found is not None and found.state == "retried":
        raise AlreadyRetried(f"Dead letter {letter.id} has become events.")
    decided = _decision(DISCARDED, letter, by, reason, letter.format, ())
    return transaction.append(Append([decided]))


def _decision(
    kind: str,
    letter: KeptLetter,
    by: str | None,
    reason: str | None,
    format_name: str,
    said: Sequence[object],
    events: int | None = None,
) -> NewEvent:
    """Return the event of a decision; the same one again is the same event."""
    digest = letter.sha256.hex()
    payload = {"digest": digest, "format": format_name, "reason": reason, "events": events}
    payload = {name: value for name, value in payload.items() if value is not None}
    same = orjson.dumps([kind, letter.id, digest, format_name, *said])
    return NewEvent(
        kind,
        str(letter.id),
        SOURCE,
        blake2b(same, digest_size=16).hexdigest(),
        validate_payload(kind, payload),
        extensions=None if by is None else {"actor": by},
    )
