"""What was asked of a Bakta server: a job made, started, deleted.

A message is what was sent (``request``), what was answered (``response``), and when (``time``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from daemon.intake.bakta_fields import SOURCE, Said, query_of
from daemon.intake.message import EventMaker, Options, identity
from domain.events import NewEvent

KIND: Final = "bakta"

_FLAGS: Final = ("hasReplicons", "completeGenome", "keepContigHeaders", "compliant")
_NUMBERS: Final = ("translationTable", "minContigLength")
_TEXTS: Final = (
    *("prodigalTrainingFile", "dermType", "genus", "species", "strain", "plasmid", "locus"),
    "locusTag",
)


def decode_init(fields: Mapping[str, Any], options: Options) -> list[NewEvent]:
    """Return the making of a job.

    Raises:
        Invalid: it is no such call, or has no answer; ``errors`` says why, and quotes nothing.

    """
    said = Said(fields)
    response = said.object(fields, "response") if "response" in fields else fields
    place = "/response" if "response" in fields else ""
    job = said.job(said.object(response, "job", place), f"{place}/job")
    request, asked = _request(said)
    payload = {
        "kind": KIND,
        "name": said.text(request, "name", asked),
        "extra": _named({"repliconTableType": said.word(request, "repliconTableType", asked)}),
    }
    time = said.moment(fields, "time")
    said.check()
    id_ = identity("bakta", job, "init")
    return [_make(options).event("job.submitted", job, id_, time.time, payload)]


def decode_start(fields: Mapping[str, Any], options: Options) -> list[NewEvent]:
    """Return the start of a job: it is submitted with these parameters, and waits.

    Raises:
        Invalid: it is no such call; ``errors`` says why, and quotes nothing.

    """
    said = Said(fields)
    request, asked = _request(said)
    job = said.job(said.object(request, "job", asked), f"{asked}/job")
    params = _params(said, said.object(request, "config", asked), f"{asked}/config")
    time = said.moment(fields, "time")
    said.check()
    make = _make(options)
    submitted, queued = identity("bakta", job, "params"), identity("bakta", job, "start")
    payload = {"kind": KIND, "params": params}
    return [
        make.event("job.submitted", job, submitted, time.time, payload),
        make.event("job.queued", job, queued, time.time, {}),
    ]


def decode_delete(fields: Mapping[str, Any], options: Options) -> list[NewEvent]:
    """Return the removal of a job; the request is an object, or an address with its query.

    Raises:
        Invalid: it is no such call; ``errors`` says why, and quotes nothing.

    """
    said = Said(fields)
    found = fields.get("request", fields)
    if isinstance(found, dict):
        inside = found.get("url", found.get("query"))
        found = inside if isinstance(inside, str) else found
    if isinstance(found, str):
        job = said.job(query_of(found), "/request")
    elif isinstance(found, dict):
        nested = "job" in found
        job = said.job(said.object(found, "job", "/request") if nested else found, "/request")
    else:
        job = ""
        said.refuse("/request", "has to be an object or a text")
    time = said.moment(fields, "time")
    said.check()
    payload = {"reason": "deleted from the server"}
    id_ = identity("bakta", job, "delete")
    return [_make(options).event("job.cancelled", job, id_, time.time, payload)]


def _make(options: Options) -> EventMaker:
    return EventMaker(options.source or SOURCE, options.limits)


def _request(said: Said) -> tuple[Mapping[str, Any], str]:
    """Return what was sent, and its place: the message itself, or its ``request``."""
    if "request" in said.fields:
        return said.object(said.fields, "request"), "/request"
    return said.fields, ""


def _params(said: Said, config: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return the parameters of an annotation; only those that are known."""
    params: dict[str, Any] = {name: said.text(config, name, place) for name in _TEXTS}
    for names, kind, what in ((_FLAGS, bool, "true or false"), (_NUMBERS, int, "a whole number")):
        for name in names:
            params[name] = config.get(name)
            if params[name] is not None and type(params[name]) is not kind:
                said.refuse(f"{place}/{name}", f"has to be {what}")
    return _named(params)


def _named(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in params.items() if one not in (None, "")}
