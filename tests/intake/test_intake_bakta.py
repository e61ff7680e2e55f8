"""Messages of the Bakta web API: what each becomes, what is refused, what is never kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from bakta_log import told_log
from bakta_samples import (
    BAKTA_SAMPLES,
    CREDENTIAL,
    DELETE,
    DELETE_BY_QUERY,
    INIT,
    JOB,
    KEYS,
    OTHER_JOB,
    SECRET,
    SIGNATURE,
    START,
    VERSION,
    listed,
    poll,
    presigned,
    result,
    state,
)
from hypothesis import given
from hypothesis import strategies as st
from intake_lines import LIMITS, decode, keys, lines, payload, types

from daemon.intake.formats import FORMATS, decode_body
from domain.errors import Invalid
from domain.timestamps import parse_timestamp

SECRETS = (SECRET, SIGNATURE, CREDENTIAL)


def said(events: list[Any]) -> str:
    """Return everything that events say, as one text."""
    return repr(events)


def test_the_formats_are_secret() -> None:
    """Of what cannot be read only digest and reason are kept, whichever of the six it is."""
    assert len(BAKTA_SAMPLES) == 6
    assert all(FORMATS[name].secret for name in BAKTA_SAMPLES)


@pytest.mark.parametrize("name", BAKTA_SAMPLES)
def test_a_message_is_the_same_events_each_time(name: str) -> None:
    """Read twice, as body and as line, a message is the same events with the same ids."""
    for message in BAKTA_SAMPLES[name]:
        once, again = decode(name, **message), decode(name, **message)
        (line,) = lines(name, message)
        assert once
        assert keys(once) == keys(again) == keys(list(line.events))
        assert {event.source for event in once} == {"/bakta"}
        assert not [secret for secret in SECRETS if secret in said(once)]


def test_the_making_of_a_job() -> None:
    """Kind and the name that was sent; links and secret are gone."""
    (event,) = decode("bakta-job-init", **INIT)
    assert (event.type, event.subject) == ("job.submitted", JOB)
    assert event.time == parse_timestamp("2026-02-04T17:00:50Z")
    assert payload(event) == {
        "kind": "bakta",
        "name": "pOSAK1 (2nd).fna",
        "extra": {"repliconTableType": "CSV"},
    }


def test_the_start_of_a_job() -> None:
    """Its parameters, those that were set, and that it waits."""
    submitted, queued = decode("bakta-job-start", **START)
    assert (submitted.type, queued.type) == ("job.submitted", "job.queued")
    assert payload(submitted)["params"] == {
        "hasReplicons": False,
        "translationTable": 11,
        "completeGenome": True,
        "minContigLength": 200,
        "genus": "Escherichia",
    }
    assert keys([submitted]) != keys(decode("bakta-job-init", **INIT))


def test_calls_without_an_envelope() -> None:
    """What was sent to start, and what init answered, by themselves say the same."""
    assert types(decode("bakta-job-start", **START["request"])) == ["job.submitted", "job.queued"]
    assert keys(decode("bakta-job-init", **INIT["response"])) == keys(
        decode("bakta-job-init", **INIT)
    )


@pytest.mark.parametrize(
    "request_",
    [
        DELETE["request"],
        DELETE_BY_QUERY["request"],
        f"jobID={JOB}&secret={SECRET}",
        f"?secret={SECRET}&jobID={JOB}",
        {"url": DELETE_BY_QUERY["request"]},
        {"query": f"jobID={JOB}&secret={SECRET}"},
        {"job": {"jobID": JOB, "secret": SECRET}},
    ],
)
def test_a_removal_in_each_spelling(request_: Any) -> None:
    """Body, address and query say the same; a second removal is a repeat."""
    (event,) = decode("bakta-job-delete", request=request_, response="")
    assert (event.type, event.subject) == ("job.cancelled", JOB)
    assert keys([event]) == keys(decode("bakta-job-delete", **DELETE))
    assert SECRET not in said([event])


def test_a_list_of_many_jobs() -> None:
    """One answer, each job its own event; those that failed to be found are lost."""
    answer = listed(state("RUNNING"), state("ERROR", job="other-1"), other="NOT_FOUND")
    events = decode("bakta-job-list", **answer)
    assert [(event.type, event.subject) for event in events] == [
        ("job.started", JOB),
        ("job.failed", "other-1"),
        ("job.lost", OTHER_JOB),
    ]
    assert payload(events[1])["native_status"] == "ERROR"
    assert payload(events[2]) == {
        "native_status": "NOT_FOUND",
        "reason": "not known to the server",
    }


@pytest.mark.parametrize("answer", [listed(), {"jobs": None, "failedJobs": []}, {"jobs": []}])
def test_an_empty_list_is_nothing(answer: dict[str, Any]) -> None:
    """No job is in it, so it says nothing of any."""
    assert decode_body("bakta-job-list", orjson.dumps(answer), "application/json", LIMITS) == []


def test_a_status_of_tomorrow_is_noted() -> None:
    """An unknown word does not cost the poll, and says nothing of the status."""
    first, second = decode("bakta-job-list", **listed(state("PAUSED"), state("RUNNING")))
    assert (first.type, second.type) == ("job.progressed", "job.started")
    assert payload(first)["extra"]["native_status"] == "PAUSED"


def test_the_offers_of_a_result() -> None:
    """One a key: the object without host and query, its type, and how long it can be had."""
    events = decode("bakta-job-result", **result())
    assert [event.subject for event in events] == [f"{JOB}/{key}" for key in KEYS]
    by_key = {payload(event)["kind"]: event for event in events}
    assert by_key["JSON"].time == parse_timestamp("2026-02-04T18:15:00Z")
    assert payload(by_key["FAAHypothetical"]) == {
        "job": JOB,
        "kind": "FAAHypothetical",
        "path": f"jobs/{JOB}/results/result.hypotheticals.faa",
        "media_type": "text/plain",
        "expires": "2026-02-10T18:15:00Z",
        "extra": {"deleted": "2026-03-06T17:08:40Z"},
    }
    assert payload(by_key["PNGCircularPlot"])["media_type"] == "image/png"


def test_an_offer_at_the_end_of_time_is_good_until_then() -> None:
    """What was answered of year 9999 ended in an error of the daemon: no time is behind it."""
    answer = result("99991231T235959Z") | {"updated": "9999-12-31T23:59:59.999999Z"}
    for event in decode("bakta-job-result", **answer):
        assert payload(event)["expires"] == "9999-12-31T23:59:59.999999Z"
        assert payload(event)["extra"] == {"deleted": "9999-12-31T23:59:59.999999Z"}


def test_a_fresh_address_is_the_same_offer_until_it_is_used_up(tmp_path: Path) -> None:
    """Asked again an hour later nothing is new; asked after a week there is a new offer."""
    with told_log(tmp_path) as told:
        told.tell(result(), "bakta-job-result")
        receipts = told.tell(result("20260204T191500Z"), "bakta-job-result").receipts
        assert all(receipt.duplicate for receipt in receipts)
        told.tell(result("20260212T191500Z"), "bakta-job-result")
        assert len(told.events(f"result/{JOB}/GFF3")) == 2


def test_an_offer_without_a_date_is_made_when_it_is_recorded(tmp_path: Path) -> None:
    """Its address says nothing of when it was signed: six days from the recording."""
    answer = result() | {"ResultFiles": {"TSV": f"https://s3.example.org/jobs/{JOB}/results/r.tsv"}}
    with told_log(tmp_path) as told:
        told.tell(answer, "bakta-job-result")
        (event,) = told.events(f"result/{JOB}/TSV")
    expires = parse_timestamp(event.payload["expires"])
    assert expires - event.recordedtime == 6 * 24 * 3600 * 1_000_000


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        ("Job not found", ["job.lost"]),
        ("Unauthorized", ["job.lost"]),
        ("Job not finished", []),
    ],
)
def test_a_refused_result(answered: str, expected: list[str]) -> None:
    """A refusal in place of results says of the job what a list would, or nothing."""
    request = {"jobID": JOB, "secret": SECRET}
    events = decode("bakta-job-result", request=request, response=answered)
    assert types(events) == expected


def test_the_versions_of_a_server(tmp_path: Path) -> None:
    """Recorded once; other versions are other events."""
    with told_log(tmp_path) as told:
        for answer in (VERSION, VERSION, VERSION | {"dbVersion": "6.0"}):
            told.tell(answer, "bakta-version")
        first, second = told.events("producer/bakta")
    assert first.payload == {
        "name": "bakta",
        "version": "1.10.3",
        "versions": {"database": "5.1.0", "backend": "0.6.4"},
    }
    assert second.payload["versions"]["database"] == "6.0"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bakta-job-list", {}),
        ("bakta-job-list", {"jobs": [SECRET]}),
        ("bakta-job-list", {"jobs": {SECRET: 1}}),
        ("bakta-job-list", listed(state("RUNNING") | {"jobID": SECRET})),
        ("bakta-job-list", listed(state("RUNNING") | {"jobID": ""})),
        ("bakta-job-list", listed(state("RUNNING") | {"jobStatus": None})),
        ("bakta-job-list", listed(state("RUNNING") | {"name": [SECRET]})),
        ("bakta-job-init", {"request": SECRET, "response": {}}),
        ("bakta-job-start", {"job": SECRET}),
        ("bakta-job-start", {"job": {"jobID": JOB}, "config": {"compliant": SECRET}}),
        ("bakta-job-start", {"job": {"jobID": JOB}, "config": {"translationTable": True}}),
        ("bakta-job-delete", {"request": [SECRET]}),
        ("bakta-job-delete", {"request": f"https://h/job/delete/{SECRET}"}),
        ("bakta-job-result", {"jobID": JOB, "ResultFiles": {SECRET: "x"}}),
        ("bakta-job-result", {"jobID": JOB, "ResultFiles": {"TSV": {"secret": SECRET}}}),
        ("bakta-version", {"toolVersion": 1}),
    ],
)
def test_what_is_no_such_message_is_refused_without_a_quote(
    name: str, message: dict[str, Any]
) -> None:
    """The error names the place, never what stands there; a line leaves no text behind."""
    with pytest.raises(Invalid) as refused:
        decode_body(name, orjson.dumps(message), "application/json", LIMITS)
    assert SECRET not in f"{refused.value.detail}{refused.value.errors}"
    (line,) = lines(name, message)
    assert line.dead_letter is not None
    assert (line.dead_letter.kept, line.dead_letter.detail) == (b"", "")


SPELLINGS = [
    SECRET,
    f"pOSAK1 {SECRET}.fna",
    f"x{SECRET}y",
    presigned(f"jobs/{JOB}/inputs/fastadata.fasta"),
    f"https://bakta.example.org/result?job={JOB}&secret={SECRET}",
    f"%71{SECRET[1:]}",
    f"X-Amz-Signature={SIGNATURE}&X-Amz-Credential={CREDENTIAL}",
]


@pytest.mark.parametrize("text", SPELLINGS)
def test_a_secret_in_the_place_of_something_else_is_cut_out(text: str) -> None:
    """As a name, as a status, as a part of an address, or in a field that nobody knows."""
    told = [
        *decode("bakta-job-list", **listed(state("RUNNING") | {"name": text, "token": text})),
        *decode("bakta-job-list", **listed(state(text) | {"started": text, "updated": text})),
        *decode("bakta-job-init", **INIT | {"request": {"name": text, "x": text}, "time": text}),
        *decode("bakta-job-start", job={"jobID": JOB}, config={"genus": text, "x": {"y": text}}),
        *decode("bakta-version", **VERSION | {"dbVersion": text, "x": [text]}),
        *decode("bakta-job-result", **result() | {"ResultFiles": {"TSV": text}}),
    ]
    assert not [secret for secret in SECRETS if secret in said(told)]
    assert SECRET[1:] not in said(told)


@given(st.text("0123456789abcdefABCXYZ", min_size=4, max_size=24), st.text(max_size=20))
def test_a_secret_of_any_shape_is_cut_out_where_the_message_names_it(
    secret: str, around: str
) -> None:
    """A secret that is shorter than the known shape is found by its own field."""
    request = {"name": f"{around}~{secret}~{around}"}
    response = {"job": {"jobID": "-".join(JOB), "secret": secret}}
    if secret not in "-".join(JOB):
        (event,) = decode("bakta-job-init", request=request, response=response)
        name = payload(event)["name"]
        assert f"~{secret}~" not in name


def test_plain_polls_stay_as_they_are() -> None:
    """What looks like no secret is kept to the letter, the id of a job of 32 digits too."""
    plain = JOB.replace("-", "")
    (event,) = decode("bakta-job-list", **listed(state("RUNNING", job=plain)))
    assert event.subject == plain
    (event,) = decode("bakta-job-list", **poll("RUNNING"))
    assert payload(event)["extra"]["name"] == "pOSAK1.fna"
