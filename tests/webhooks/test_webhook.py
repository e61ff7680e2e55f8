"""A webhook's steps, on a real log and against a real receiver."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from receiver import Receiver

from daemon.eventlog.log import EventLog
from daemon.webhooks.settings import WebhookSettings, read_secret
from daemon.webhooks.webhook import PAGE_EVENTS, Webhook, WebhookNotDead
from domain.errors import ConfigurationError
from domain.events import NewEvent

SECOND = 1_000_000


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """Return a log at work."""
    log = EventLog.open(tmp_path / "log.db")
    log.start()
    yield log
    log.close()


@pytest.fixture
def webhooks(log: EventLog) -> Iterator[Callable[..., Webhook]]:
    """Return a maker of webhooks, which are closed at the end."""
    with ExitStack() as stack:

        def make(receiver: Receiver, secret: str = "", **settings: Any) -> Webhook:
            settings = {"name": "w", "start": "beginning", "timeout_seconds": 0.5} | settings
            webhook = Webhook(
                WebhookSettings(url=receiver.url, **settings), secret, log, chance=lambda: 1.0
            )
            stack.callback(webhook.close)
            return webhook

        yield make


def append(log: EventLog, *ids: str, type_: str = "job.submitted", subject: str = "j") -> None:
    """Append an event for each id."""
    log.append([NewEvent(type_, subject, "/t", id_, b"{}") for id_ in ids])


def drive(webhook: Webhook, now: int = SECOND) -> float | None:
    """Step until the webhook rests; return for how long."""
    while (rest := webhook.step(now)) == 0:
        pass
    return rest


def test_events_come_in_order_and_signed(log: EventLog, webhooks: Callable[..., Webhook]) -> None:
    """Each is a structured CloudEvent; id, time and body are under the signature."""
    append(log, "a", "b")
    with Receiver() as receiver:
        drive(webhooks(receiver, secret="whsec_" + b64encode(b"key").decode()))
        first = receiver.requests[0]
    assert receiver.taken() == [1, 2]
    assert first.headers["content-type"] == "application/cloudevents+json"
    assert first.headers["webhook-id"] == f"{log.log_id}.1"
    signed = f"{log.log_id}.1.{first.headers['webhook-timestamp']}.".encode() + first.body
    digest = b64decode(first.headers["webhook-signature"].removeprefix("v1,"))
    assert hmac.compare_digest(digest, hmac.new(b"key", signed, hashlib.sha256).digest())


def test_the_documented_check_accepts_what_is_sent(
    log: EventLog, webhooks: Callable[..., Webhook], repository: Path
) -> None:
    """And nothing with another key or body."""
    page = (repository / "docs" / "webhooks.md").read_text()
    names: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], names)
    append(log, "a")
    with Receiver() as receiver:
        drive(webhooks(receiver, secret="hush"))
    sent = receiver.requests[0]
    assert names["genuine"](b"hush", sent.headers, sent.body)
    assert not names["genuine"](b"hash", sent.headers, sent.body)
    assert not names["genuine"](b"hush", sent.headers, sent.body + b" ")


def test_batches_are_arrays(log: EventLog, webhooks: Callable[..., Webhook]) -> None:
    """So many as the batch may have; the id names the first and the last."""
    append(log, *"abcde")
    with Receiver() as receiver:
        drive(webhooks(receiver, batch=2))
    ids = [each.headers["webhook-id"].rpartition(".")[2] for each in receiver.requests]
    assert ids == ["1-2", "3-4", "5-5"]
    assert receiver.requests[0].headers["content-type"] == "application/cloudevents-batch+json"
    assert receiver.taken() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"types": ["job.failed"]}, [2]),
        ({"types": ["*.raised", "job.f*"]}, [2, 3]),
        ({"stream": "alert/"}, [3]),
        ({"source": "/t"}, [1, 2, 3]),
        ({"source": "/x*"}, []),
        ({"start": "2"}, [3]),
        ({"start": "now"}, []),
    ],
)
def test_only_what_matches_comes(
    log: EventLog, webhooks: Callable[..., Webhook], settings: dict[str, Any], expected: list[int]
) -> None:
    """By type, stream, source and start; it is past the others too."""
    append(log, "a")
    append(log, "b", type_="job.failed")
    append(log, "c", type_="alert.raised", subject="x")
    with Receiver() as receiver:
        webhook = webhooks(receiver, **settings)
        drive(webhook)
    assert receiver.taken() == expected
    assert webhook.document()["lag"] == 0


@pytest.mark.parametrize("fault", [500, 404, 429, 302, 0, -1])
def test_a_fault_is_tried_again_after_a_growing_rest(
    log: EventLog, webhooks: Callable[..., Webhook], fault: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Error, redirect, reset or silence: the same event with the same id, later; no secret told."""
    caplog.set_level(logging.DEBUG)
    append(log, "a", "b")
    with Receiver(lambda n: fault if n < 2 else 200) as receiver:
        webhook = webhooks(receiver)
        assert drive(webhook, 10 * SECOND) == pytest.approx(1.0)
        assert drive(webhook, 10 * SECOND) == pytest.approx(1.0)
        assert len(receiver.requests) == 1
        assert drive(webhook, 11 * SECOND) == pytest.approx(2.0)
        assert webhook.document()["state"] == "retrying"
        assert "hushhush" not in str(webhook.document()) + caplog.text
        drive(webhook, 13 * SECOND)
    ids = [each.headers["webhook-id"] for each in receiver.requests]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert receiver.taken() == [1, 2]
    assert {each.headers[":path"].partition("?")[0] for each in receiver.requests} == {"/hook"}


def test_it_is_given_up_with_an_alert_and_resumed(
    log: EventLog, webhooks: Callable[..., Webhook]
) -> None:
    """Once; of itself it is not told; what works again resolves the alert."""
    append(log, "a", "b")
    with Receiver(lambda n: 500 if n < 4 else 200) as receiver:
        webhook = webhooks(receiver, attempts=2)
        drive(webhook)
        assert drive(webhook, 9 * SECOND) is None
        assert webhook.document()["state"] == "dead"
        assert drive(webhook, 99 * SECOND) is None
        assert len(receiver.requests) == 2
        assert [event.type for event in log.read(2, 9)] == ["alert.raised"]
        webhook.resume()
        drive(webhook, 200 * SECOND)
        drive(webhook, 300 * SECOND)
        webhook.resume(skip=True)
        drive(webhook, 400 * SECOND)
        with pytest.raises(WebhookNotDead):
            webhook.resume(skip=True)
    assert receiver.taken() == [2]
    alerts = [event.type for event in log.read(2, 9)]
    assert alerts == ["alert.raised", "alert.raised", "alert.resolved"]
    assert webhook.document()["skipped"] == 1


def test_gone_is_the_end_at_once(log: EventLog, webhooks: Callable[..., Webhook]) -> None:
    """410: no second attempt."""
    append(log, "a")
    with Receiver(lambda _: 410) as receiver:
        webhook = webhooks(receiver)
        assert drive(webhook) is None
    assert (len(receiver.requests), webhook.state) == (1, "dead")


def test_it_goes_on_where_it_was(log: EventLog, webhooks: Callable[..., Webhook]) -> None:
    """A new webhook of the same name does not begin again, whatever its start says."""
    append(log, "a", "b")
    with Receiver() as receiver:
        first = webhooks(receiver)
        drive(first)
        drive(first, 9 * SECOND)
        append(log, "c")
        drive(webhooks(receiver), 10 * SECOND)
        assert [json.loads(each.body)["id"] for each in receiver.requests] == ["a", "b", "c"]


def test_one_that_is_far_behind_reads_on_to_what_is_for_it(
    log: EventLog, webhooks: Callable[..., Webhook]
) -> None:
    """Many pages without a match are passed over, and that is remembered after a while."""
    append(log, *map(str, range(2 * PAGE_EVENTS + 7)))
    append(log, "x", type_="job.failed")
    with Receiver() as receiver:
        webhook = webhooks(receiver, types=["job.failed"])
        drive(webhook, 100 * SECOND)
        drive(webhook, 200 * SECOND)
    assert receiver.taken() == [log.head()] == [webhook.position]
    assert log.follow_offset("webhook:w") == log.head() + 1


def test_settings_are_checked_and_keep_their_secrets(tmp_path: Path) -> None:
    """No user in the URL, no path or query shown; the key may be in a file or a credential."""
    for url in ("ftp://h/x", "http://", "https://u:p@h/", "https://h/#a"):
        with pytest.raises(ValidationError):
            WebhookSettings(name="w", url=url)
    settings = WebhookSettings(name="w", url="https://h/x?token=a")
    assert settings.model_dump(mode="json")["url"] == "https://h/***"
    (tmp_path / "chronicled.webhook.w").write_text("key\n")
    assert read_secret(settings, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "key"
    assert read_secret(settings, {}) == ""
    with pytest.raises(ConfigurationError):
        read_secret(settings.model_copy(update={"secret_file": str(tmp_path / "no")}), {})


def test_a_retry_after_beyond_all_numbers_is_a_failure_as_any(
    log: EventLog, webhooks: Callable[..., Webhook]
) -> None:
    """It is counted, and leads to giving up like every other answer."""
    append(log, "a")
    with Receiver(lambda _: 503) as receiver:
        receiver.retry_after = "9" * 400
        webhook = webhooks(receiver, attempts=1)
        webhook.step(SECOND)
        assert (webhook.failures, webhook.state) == (1, "dead")
