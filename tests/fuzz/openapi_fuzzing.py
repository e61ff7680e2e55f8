"""Asks a daemon for everything that its OpenAPI document describes, in ways nobody thought of.

The cases are made by schemathesis out of the document: examples, the bounds of every schema,
random ones that fit and random ones that do not, and sequences that follow what was answered.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder
from schemathesis.openapi.checks import RejectedPositiveData

PHASES: Final = ("examples", "coverage", "fuzzing", "stateful")
RANDOM_PHASES: Final = ("fuzzing", "stateful")
"""Those that another seed makes other cases of."""
LINES: Final = "application/x-ndjson"
REQUEST_SECONDS: Final = 60
"""Longest wait for one answer: some may wait 30 seconds for the views."""

_ACCEPTED: Final = ("2xx", "304", "403", "404", "409", "410", "503")
"""What may be answered to a request that fits the document. 409, 410: a position that this log has
not. 404: an id that nobody has. 503: a moment takes longer to replay than the request waits."""
_REFUSED: Final = ("400", "403", "404", "405", "409", "410", "413", "415", "422", "503")
"""What may be answered to one that does not fit."""

_LISTS: Final = (
    *("GET /api/alerts", "GET /api/archive", "GET /api/deadletters", "GET /api/events"),
    *("GET /api/files", "GET /api/jobs", "GET /api/jobs/{id}/history", "GET /api/queues"),
    *("GET /api/retention", "GET /api/tasks", "GET /api/workflows"),
    "GET /api/workflows/{id}/history",
)
_UNDESCRIBED: Final[Mapping[str, tuple[str, ...]]] = {
    # What a cursor holds is no business of clients: only one that was given is right, and only
    # for the filters it was given with.
    "a cursor": _LISTS,
    # OpenAPI has no words for parameters of which one has to be given, or that exclude each other.
    "parameters that go together": ("GET /api/diff", "GET /api/steps", "GET /api/timeline"),
    # The messages of producers are described by their formats, not here; `follow` goes with others.
    "messages": ("POST /api/intake/{format}", "POST /api/v1/lineage", "POST /api/history"),
    # Which fields an operation takes depends on its kind.
    "fields of one kind": ("POST /api/operations",),
    # A policy is written as in the configuration; which fields it needs depends on its category.
    "policies": ("POST /api/retention/preview",),
    # It was put aside because it cannot be decoded.
    "what is kept": ("POST /api/deadletters/{id}/retry",),
    # An `id` may be that of another event, recorded before.
    "an id that is taken": (
        *("POST /api/alerts/{id}/acknowledge", "POST /api/alerts/{id}/resolve"),
        *(f"POST /api/queues/{{name}}/{verb}" for verb in ("pause", "resume", "recover", "clear")),
    ),
}
"""Where 422 may be right although the request fits the document, and why."""
_EXCLUSIVE: Final[Mapping[str, tuple[str, ...]]] = {
    "GET /api/timeline": ("cursor", "job", "stream", "correlation"),
    "GET /api/diff": ("cursor", "stream", "kind", "name", "status", "limit"),
    "GET /api/steps": ("cursor", "after"),
    **dict.fromkeys(_LISTS, ("cursor",)),
}
"""Parameters of which only the first is kept in half of the requests, so that these are taken."""


@dataclass
class Outcome:
    """What came of a run."""

    seed: int
    cases: int = 0
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How often an operation answered with a status."""
    failures: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """The first failure of each check, operation and kind: what, and how to ask again."""
    errors: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether every answer was as it should be."""
        return not (self.failures or self.errors)

    def head(self) -> str:
        """Return how many cases there were, and how they were answered."""
        by_status = Counter[int]()
        for (_, status), count in self.statuses.items():
            by_status[status] += count
        counts = ", ".join(f"{status}: {count}" for status, count in sorted(by_status.items()))
        return f"{self.cases} cases, seed {self.seed}; answers by status: {counts}"

    def report(self) -> str:
        """Return all that is to be said."""
        found = [f"{' '.join(key)}\n{text}" for key, text in sorted(self.failures.items())]
        return "\n\n".join([self.head(), *found, *self.errors])

    def add(self, other: Outcome) -> None:
        """Add what came of another round."""
        self.cases += other.cases
        self.statuses += other.statuses
        self.failures |= other.failures
        self.errors += other.errors

    def collect(self, recorder: ScenarioRecorder) -> None:
        """Add what one scenario was answered."""
        self.cases += len(recorder.interactions)
        for id_, interaction in recorder.interactions.items():
            if interaction.response is not None:
                label = recorder.cases[id_].value.operation.label
                self.statuses[label, interaction.response.status_code] += 1
        for id_, checks in recorder.checks.items():
            for check in checks:
                if check.status == Status.FAILURE and check.failure_info is not None:
                    failure = check.failure_info.failure
                    label = recorder.cases[id_].value.operation.label
                    key = (check.name, label, type(failure).__name__)
                    response = recorder.interactions[id_].response
                    said = b"" if response is None else (response.content or b"")[:600]
                    text = f"{failure.message}\n{check.failure_info.code_sample}\n{said!r}"
                    self.failures.setdefault(key, text)


@schemathesis.serializer(LINES)
def _as_lines(_context: Any, value: Any) -> Any:
    """Write an array as NDJSON; what is none is one line."""
    items = value if isinstance(value, list) else [value]
    return "".join(f"{json.dumps(item)}\n" for item in items).encode()


def fuzz(
    url: str,
    values: Mapping[str, Any],
    *,
    seed: int,
    examples: int,
    phases: Sequence[str],
    left_out: Sequence[str] = (),
) -> Outcome:
    """Run one round against the daemon at ``url``.

    ``values`` are ids that exist, by operation and parameter; ``examples`` the most random cases
    of one operation. Of the operations ``left_out`` the bounds of the schema are not gone through.
    """
    document = httpx.get(f"{url}/openapi.json").json()
    settings = _settings(values, seed, examples, phases)
    settings["operations"] += [
        {"include-name": label, "phases": {"coverage": {"enabled": False}}} for label in left_out
    ]
    config = SchemathesisConfig.from_dict(settings)
    config.projects.default.update(base_url=url)
    schema = schemathesis.openapi.from_dict(_with_lines(document), config=config)
    schema.hook("map_case")(_thin_out)
    schema.hook("filter_failure")(_is_failure)
    outcome = Outcome(seed)
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            outcome.collect(event.recorder)
        elif isinstance(event, events.NonFatalError):
            outcome.errors.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            outcome.errors.append(repr(event.exception))
    return outcome


def _thin_out(_context: Any, case: Any) -> Any:
    """Leave out what excludes the first parameter, of a case that is to be taken."""
    known = _EXCLUSIVE.get(case.operation.label)
    if known is None or not case.query or not case.meta.generation.mode.is_positive:
        return case
    given = [name for name in known if name in case.query]
    if given and given[0] == "cursor":
        case.query = {"cursor": case.query["cursor"]}
    elif len(given) > 1:
        case.query = {name: value for name, value in case.query.items() if name not in given[1:]}
    return case


def _is_failure(_context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Return whether a failure counts: a refusal does not for what no schema says of events.

    For a schema 1.0 is an integer. And what `data_base64` holds is not described.
    """
    if not isinstance(failure, RejectedPositiveData) or case.operation.label != "POST /api/events":
        return True
    faults = response.json()["errors"]
    return not (faults and all(_is_undescribed(case.body, fault) for fault in faults))


def _is_undescribed(body: Any, fault: Mapping[str, Any]) -> bool:
    _, *parts = fault.get("pointer", "").split("/")
    if parts[:1] == ["data_base64"]:
        return True
    value = body[fault["index"]] if "index" in fault and isinstance(body, list) else body
    for part in parts:
        name = part.replace("~1", "/").replace("~0", "~")
        value = value[int(name)] if isinstance(value, list) else value.get(name)
    return isinstance(value, float) and value.is_integer()


def _with_lines(document: Any) -> Any:
    """Return the document with NDJSON described as an array, which `_as_lines` writes."""
    for methods in document["paths"].values():
        for operation in methods.values():
            content = operation.get("requestBody", {}).get("content", {})
            if LINES not in content:
                continue
            single = content.get("application/cloudevents+json", {}).get("schema")
            text = content[LINES]["example"]
            content[LINES] = {
                "schema": {"type": "array", "items": single or {"type": "object"}},
                "example": [json.loads(line) for line in text.splitlines()],
            }
    return document


def _settings(
    values: Mapping[str, Any], seed: int, examples: int, phases: Sequence[str]
) -> dict[str, Any]:
    lenient = [label for labels in _UNDESCRIBED.values() for label in labels]
    dictionaries: dict[str, Any] = {}
    operations: list[dict[str, Any]] = []
    for label, parameters in values.items():
        bound = {}
        for name, known in parameters.items():
            dictionaries[f"{label} {name}"] = {"values": known}
            bound[name] = {"dictionary": f"{label} {name}", "probability": 0.5}
        operations.append({"include-name": label, "parameters": bound})
    statuses = {"expected-statuses": [*_ACCEPTED, "422"]}
    operations.append({"include-name": lenient, "checks": {"positive_data_acceptance": statuses}})
    return {
        "seed": seed,
        "continue-on-failure": True,
        # How many cases are thrown away before they are sent says nothing about the daemon.
        "suppress-health-check": ["all"],
        "request-timeout": REQUEST_SECONDS,
        "generation": {"max-examples": examples, "no-shrink": True, "database": "none"},
        "checks": {
            "positive_data_acceptance": {"expected-statuses": list(_ACCEPTED)},
            "negative_data_rejection": {"expected-statuses": list(_REFUSED)},
        },
        "phases": {name: {"enabled": name in phases} for name in PHASES},
        "dictionaries": dictionaries,
        "operations": operations,
    }
