"""What a Bakta server answers: the states of jobs, their results, its versions.

``updated`` of a job that has not ended is the moment of the call, so it is in no id of such a
state. That a job is in no list says nothing: it is so between its making and its start.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from daemon.intake.bakta_fields import SOURCE, Said, query_of
from daemon.intake.message import EventMaker, Moment, Options, identity
from daemon.intake.secrets import MASK
from domain.events import NewEvent
from domain.timestamps import LATEST, MICROSECONDS, format_timestamp, parse_timestamp

DAY: Final = 24 * 3600 * MICROSECONDS
OFFER_DAYS: Final = 6
"""How long the address of a result is good."""
KEPT_DAYS: Final = 30
"""How long the server keeps what a job made."""

_TYPES: Final[Mapping[str, str]] = {
    "INIT": "job.queued",
    "RUNNING": "job.started",
    "SUCCESSFUL": "job.succeeded",
    "SUCCESSFULL": "job.succeeded",
    "ERROR": "job.failed",
    "NOT_FOUND": "job.lost",
    "UNAUTHORIZED": "job.lost",
}
_ENDS: Final = frozenset({"job.succeeded", "job.failed"})
_STAGES: Final = frozenset({"PROCESSING", "PROCESSED", "PROCESSING_ERROR"})
_REASONS: Final[Mapping[str, str]] = {
    "NOT_FOUND": "not known to the server",
    "UNAUTHORIZED": "the server does not take its secret",
}
_REFUSALS: Final[Mapping[str, str]] = {
    "Job not found": "NOT_FOUND",
    "Unauthorized": "UNAUTHORIZED",
    "Job not finished": "",
}
"""What a server says in place of results, and what it says of the job by it."""

_MEDIA_TYPES: Final[Mapping[str, str]] = {
    "JSON": "application/json",
    "PNGCircularPlot": "image/png",
    "SVGCircularPlot": "image/svg+xml",
    "TSV": "text/tab-separated-values",
    "TSVHypothetical": "text/tab-separated-values",
    "TSVInference": "text/tab-separated-values",
}
_PLAIN: Final = "text/plain"
_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")
_OBJECT: Final = re.compile(r"/(jobs/[0-9A-Za-z._-]{1,128}/results/[0-9A-Za-z._-]{1,100})$")
_SIGNED: Final = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z")


def decode_list(fields: Mapping[str, Any], options: Options) -> list[NewEvent]:
    """Return what an answer of ``/job/list`` says of each job.

    Raises:
        Invalid: it is no such answer; ``errors`` says why, and quotes nothing.

    """
    said = Said(fields)
    answer, place = _answer(said)
    seen = said.moment(fields, "time")
    make = EventMaker(options.source or SOURCE, options.limits)
    if "jobs" not in answer and "failedJobs" not in answer:
        said.refuse(f"{place}/jobs", "required")
    states = [_read_state(said, job, at) for at, job in said.objects(answer, "jobs", place)]
    failed = [
        (said.job(job, at), said.word(job, "jobStatus", at))
        for at, job in said.objects(answer, "failedJobs", place)
    ]
    said.check()
    events = [_state_event(make, *state) for state in states]
    return events + [_lost(make, job, status, seen) for job, status in failed]


def decode_result(fields: Mapping[str, Any], options: Options) -> list[NewEvent]:
    """Return the results that an answer of ``/job/result`` offers.

    That there are addresses is no proof that the job ended, nor that anything is there.

    Raises:
        Invalid: it is no such answer; ``errors`` says why, and quotes nothing.

    """
    said = Said(fields)
    make = EventMaker(options.source or SOURCE, options.limits)
    seen = said.moment(fields, "time")
    refusal = fields.get("response")
    if isinstance(refusal, str) and refusal in _REFUSALS:
        job, status = said.job(said.object(fields, "request"), "/request"), _REFUSALS[refusal]
        said.check()
        return [_lost(make, job, status, seen)] if status else []
    answer, place = _answer(said)
    job = said.job(answer, place)
    updated = said.moment(answer, "updated", place)
    files = said.object(answer, "ResultFiles", place)
    for key, address in files.items():
        if not _KEY.fullmatch(key) or said.clean(key) != key or not isinstance(address, str):
            said.refuse(f"{place}/ResultFiles", "has to be addresses by the keys of results")
    said.check()
    offers = (_offer(said, job, key, files[key], seen, updated) for key in files)
    return [make.event("result.offered", *offer) for offer in offers]


def decode_version(fields: Mapping[str, Any], options: Options) -> list[NewEvent]:
    """Return the versions that an answer of ``/version`` tells.

    Raises:
        Invalid: it is no such answer; ``errors`` says why, and quotes nothing.

    """
    said = Said(fields)
    answer, place = _answer(said)
    names = {"version": "toolVersion", "database": "dbVersion", "backend": "backendVersion"}
    versions = {name: said.text(answer, field, place) for name, field in names.items()}
    version = versions.pop("version")
    if not version:
        said.refuse(f"{place}/toolVersion", "required, and not empty")
    seen = said.moment(fields, "time")
    said.check()
    parts = {name: text for name, text in versions.items() if text}
    id_ = identity("bakta", "version", version, *(text for pair in parts.items() for text in pair))
    make = EventMaker(options.source or SOURCE, options.limits)
    payload = {"name": "bakta", "version": version, "versions": parts}
    return [make.event("producer.observed", "bakta", id_, seen.time, payload)]


def _answer(said: Said) -> tuple[Mapping[str, Any], str]:
    """Return the answer and its place: the message itself, or its ``response``."""
    if "response" in said.fields:
        return said.object(said.fields, "response"), "/response"
    return said.fields, ""


def _read_state(
    said: Said, job: Mapping[str, Any], place: str
) -> tuple[str, str, str, Moment, Moment]:
    status = said.word(job, "jobStatus", place)
    if not status:
        said.refuse(f"{place}/jobStatus", "required, and not empty")
    name = said.text(job, "name", place)
    started, updated = said.moment(job, "started", place), said.moment(job, "updated", place)
    return said.job(job, place), status, name, started, updated


def _state_event(
    make: EventMaker, job: str, status: str, name: str, started: Moment, updated: Moment
) -> NewEvent:
    """Return what a state says: a transition, a stage, or (an unknown word) a note."""
    type_ = _TYPES.get(status, "job.progressed")
    if type_ == "job.lost":
        return _lost(make, job, status, updated)
    known = ("bakta", job, status.replace("LL", "L"), name, started.text)
    id_ = identity(*known, updated.text) if type_ in _ENDS else identity(*known)
    extra = {"name": name, "started": started.text}
    if type_ in _ENDS:
        extra["updated"] = updated.text
    payload: dict[str, Any] = {"extra": {key: text for key, text in extra.items() if text}}
    if status in _STAGES:
        payload["stage"] = status
    elif type_ in ("job.progressed", "job.queued"):
        payload["extra"]["native_status"] = status
    else:
        payload["native_status"] = status
    return make.event(type_, job, id_, updated.time, payload)


def _lost(make: EventMaker, job: str, status: str, seen: Moment) -> NewEvent:
    payload = {"native_status": status, "reason": _REASONS.get(status)}
    id_ = identity("bakta", job, "lost", status)
    return make.event("job.lost", job, id_, seen.time, payload)


def _offer(
    said: Said, job: str, key: str, address: str, seen: Moment, updated: Moment
) -> tuple[str, str, int | None, dict[str, Any]]:
    """Return subject, id, time and payload of one offer.

    A new address for the same object is the same offer for as long as one is good.
    """
    offered = _signed(address) or seen.time
    path = _path(said, address)
    period = "" if offered is None else str(offered // (OFFER_DAYS * DAY))
    payload: dict[str, Any] = {
        "job": job,
        "kind": key,
        "path": path,
        "media_type": _MEDIA_TYPES.get(key, _PLAIN),
        "expires": expiry(offered),
    }
    if updated.time is not None:
        payload["extra"] = {"deleted": _after(updated.time, KEPT_DAYS)}
    return f"{job}/{key}", identity("bakta", job, "offer", key, path, period), offered, payload


def expiry(offered: int | None) -> str:
    """Return when an address that was given at a time is good no more."""
    return "" if offered is None else _after(offered, OFFER_DAYS)


def _after(moment: int, days: int) -> str:
    """Return the time so many days later, or the last that there is."""
    return format_timestamp(min(moment + days * DAY, LATEST))


def _path(said: Said, address: str) -> str:
    """Return the object that an address leads to; of any other shape of address nothing."""
    found = _OBJECT.search(address.partition("?")[0].partition("#")[0])
    if found is None:
        return ""
    # The id of a job may be 32 digits; of each other part a run of them is masked.
    return "/".join(_parts(said, found[1]))


def _parts(said: Said, path: str) -> Iterator[str]:
    for part in path.split("/"):
        cleaned = said.clean(part)
        yield part if cleaned == part else MASK


def _signed(address: str) -> int | None:
    """Return when an address was signed."""
    found = _SIGNED.fullmatch(query_of(address).get("X-Amz-Date", ""))
    if found is None:
        return None
    year, month, day, hour, minute, second = found.groups()
    try:
        return parse_timestamp(f"{year}-{month}-{day}T{hour}:{minute}:{second}Z")
    except ValueError:
        return None
