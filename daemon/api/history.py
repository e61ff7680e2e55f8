"""Taking history in: ``POST /api/history``, for a log that is to be like another one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Final

from daemon.api.answers import Receipts
from daemon.api.bodies import Incoming, media_type, read_body
from daemon.api.context import Context
from daemon.api.ingest import decoded, receipts
from daemon.api.parameters import refuse_parameters
from daemon.api.writing import append
from daemon.eventlog.requests import Work
from daemon.intake.media import LINES
from daemon.replay.preserve import append_preserved
from domain.errors import (
    ChronicledError,
    Fault,
    NewerEvent,
    TooLarge,
    Undecodable,
    UnsupportedMediaType,
)
from domain.faults import FAULTS_MAX, raise_faults
from domain.historic import HistoricEvent, read_historic
from domain.limits import Limits

HISTORY: Final = "history"
"""What the format of exported lines is called."""


async def post_history(context: Context, incoming: Incoming) -> Receipts:
    """Append recorded events of another log, at the positions they had there.

    Taken only by a log that is empty, or holds nothing but what came this way. The lines are those
    of an export (`chronicled events export`) without its first and last. The log keeps its own id,
    so its digests are other ones.
    """
    started = perf_counter()
    try:
        refuse_parameters(incoming.scope)
        if media_type(incoming) not in LINES:
            raise UnsupportedMediaType("History is read as NDJSON (application/x-ndjson).")
        with context.bodies.hold() as share:
            body = await read_body(incoming, context.limits.batch_bytes, share)
            events = await decoded(context, partial(_read, context.limits), body)
            work = Work(partial(append_preserved, events), events=len(events), size=len(body))
            appended = await append(context, work, started=started, kind=HISTORY)
    except ChronicledError as error:
        context.metrics.rejected(error)
        raise
    return receipts(appended)


def _read(limits: Limits, body: bytes) -> list[HistoricEvent]:
    """Return the events of a body; every fault is named by the index of its line."""
    lines = [line for line in body.split(b"\n") if line]
    if len(lines) > limits.batch_events:
        raise TooLarge(
            f"the batch has {len(lines)} events; at most {limits.batch_events} are taken"
        )
    events: list[HistoricEvent] = []
    faults: list[Fault] = []
    for index, line in enumerate(lines):
        try:
            # The digest is that of the other log's chain.
            events.append(read_historic(line)._replace(digest=None))
        except NewerEvent as error:
            raise NewerEvent(f"event {index}: {error.detail}") from None
        except ChronicledError as error:
            found = error.errors or (Fault(error.detail, code=error.code),)
            faults += [replace(fault, index=index) for fault in found]
            if len(faults) >= FAULTS_MAX:
                break
    if any(fault.code == Undecodable.code for fault in faults):
        raise Undecodable(f"event {faults[0].index}: {faults[0].detail}", errors=faults)
    raise_faults(faults[:FAULTS_MAX])
    return events
