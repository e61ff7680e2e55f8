"""A webhook at work: it reads the log in order, and posts what matches, each event at least once.

How far it was told is remembered in the log's file (the offset ``webhook:NAME``, which is the
position and one), at most once a second or after so many requests. So a restart repeats a few, in
the same order, and loses none. It stands still at the first event that is not taken: order is kept.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final, Literal

from daemon.eventlog.log import EventLog
from daemon.eventlog.requests import Follow
from daemon.webhooks.messages import alert_id, message, wanted_by
from daemon.webhooks.posting import Answer, Poster
from daemon.webhooks.settings import WebhookSettings
from domain.catalog import validate_payload
from domain.errors import ChronicledError, Conflict
from domain.events import NewEvent, RecordedEvent
from domain.timestamps import MICROSECONDS, format_timestamp

SOURCE: Final = "/chronicled/webhooks"
KIND: Final = "webhook_dead"
PAGE_EVENTS: Final = 500
PAGES_MAX: Final = 20
"""How many pages without a match one step reads."""
REMEMBER_REQUESTS: Final = 100
REMEMBER_SECONDS: Final = 1.0
PASSED_SECONDS: Final = 60.0
"""How often it is remembered that events were passed over of which none matched."""
TELL_SECONDS: Final = 5.0
"""How soon an alert that could not be recorded is tried again."""
GONE: Final = 410

State = Literal["live", "retrying", "dead"]
_logger = logging.getLogger(__name__)


class WebhookNotDead(Conflict):
    """Only of a webhook that was given up can an event be skipped."""

    code = "webhook_not_dead"
    title = "The webhook is not dead"
    hint = "Wait for it: GET /api/webhooks says how it stands."


class Webhook:
    """One receiver, and how far it was told; a service that is driven on a thread of its own."""

    def __init__(
        self,
        settings: WebhookSettings,
        secret: str,
        log: EventLog,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self.woken = threading.Event()
        self.delivered = 0
        self.failures = 0
        self.skipped = 0
        self._secret = secret
        self._log = log
        self._chance = chance
        self._wanted = wanted_by(settings)
        self._poster = Poster(settings)
        self._key = f"webhook:{settings.name}"
        self._lock = threading.Lock()
        self._pending: deque[RecordedEvent] = deque()
        self._remembered = log.follow_offset(self._key)
        self._read_to = self.position = self._begin(log.head())
        self._attempts = 0
        self._not_before = 0
        self._dead_since: int | None = None
        self._told = True
        self._alert_open: bool | None = None
        self._last_error = ""
        self._last_delivered: int | None = None
        self._since_remembered = 0
        self._remembered_at = 0
        self._leave = log.on_commit(lambda _: self.woken.set())

    def _begin(self, head: int) -> int:
        if self._remembered:
            return self._remembered - 1
        start = self.settings.start
        if start == "now":
            return head
        return 0 if start == "beginning" else int(start)

    @property
    def name(self) -> str:
        """What logs and thread lists call it."""
        return f"webhook-{self.settings.name}"

    @property
    def state(self) -> State:
        """Whether it works, rests after a failure, or was given up."""
        if self._dead_since is not None:
            return "dead"
        return "retrying" if self._attempts else "live"

    def document(self) -> dict[str, Any]:
        """Return how it stands; of the URL the host only."""
        with self._lock:
            last = self._last_delivered
            return {
                "name": self.settings.name,
                "host": self.settings.host,
                "state": self.state,
                "position": self.position,
                "lag": max(self._log.head() - self.position, 0),
                "delivered": self.delivered,
                "failures": self.failures,
                "skipped": self.skipped,
                "attempts": self._attempts,
                "last_error": self._last_error or None,
                "last_delivered": None if last is None else format_timestamp(last),
            }

    def resume(self, *, skip: bool = False) -> None:
        """Try again at once; with ``skip`` without the first event that was not taken.

        Raises:
            WebhookNotDead: an event is to be skipped, and the webhook was not given up.

        """
        with self._lock:
            if skip:
                if self._dead_since is None or not self._pending:
                    raise WebhookNotDead(f"Webhook {self.settings.name} is {self.state}.")
                event = self._pending.popleft()
                self.position = event.position if self._pending else self._read_to
                self.skipped += 1
                self._since_remembered += 1
                _logger.warning(
                    "webhook %s skips an event", self.settings.name,
                    extra={"position": event.position},
                )  # fmt: skip
            self._dead_since, self._attempts, self._not_before = None, 0, 0
        self.woken.set()

    def close(self) -> None:
        """Remember how far it is, and let the connection go; after the last step."""
        self._leave()
        if self._remembered:
            self._remember()
        self._poster.close()

    # -- steps ----------------------------------------------------------------------------------

    def step(self, now: int) -> float | None:
        """Deliver at most one request."""
        if not self._remembered and not self._remember():
            return TELL_SECONDS
        if self._dead_since is not None:
            return self._tell()
        if now < self._not_before:
            return (self._not_before - now) / MICROSECONDS
        self._remember_in_time(now)
        events = self._next()
        if not events:
            return self._rest(now)
        headers, body = message(
            events,
            self._log.log_id,
            self._secret,
            now // MICROSECONDS,
            batched=self.settings.batch > 1,
        )
        answer = self._poster.post(headers, body)
        if answer.taken:
            self._taken(len(events), now)
            return 0
        return self._refused(answer, now)

    def _next(self) -> list[RecordedEvent]:
        """Return the events of the next request; none where nothing was found yet."""
        for _ in range(PAGES_MAX):
            if len(self._pending) >= self.settings.batch:
                break
            page = self._log.read(self._read_to, PAGE_EVENTS)
            if not page:
                break
            with self._lock:
                self._pending.extend(event for event in page if self._wanted(event))
                self._read_to = page[-1].position
                if not self._pending:
                    self.position = self._read_to
        return [self._pending[n] for n in range(min(self.settings.batch, len(self._pending)))]

    def _rest(self, now: int) -> float | None:
        if self._read_to < self._log.head():
            # The last pages may be a gap that nothing is behind; then a commit wakes it.
            return 0 if self._log.read(self._read_to, 1) else None
        if self.position + 1 == self._remembered:
            return None
        wait = REMEMBER_SECONDS if self._since_remembered else PASSED_SECONDS
        return max(wait - (now - self._remembered_at) / MICROSECONDS, 0.01)

    def _taken(self, count: int, now: int) -> None:
        with self._lock:
            for _ in range(count):
                self.position = self._pending.popleft().position
            if not self._pending:
                self.position = self._read_to
            self.delivered += count
            self._since_remembered += 1
            self._attempts, self._not_before, self._last_delivered = 0, 0, now
        if self._alert_open is None:
            self._alert_open = self._has_open_alert()
        if self._alert_open and self._record("alert.resolved", {"reason": "it works again"}, now):
            self._alert_open = False

    def _refused(self, answer: Answer, now: int) -> float | None:
        settings = self.settings
        with self._lock:
            self.failures += 1
            self._attempts += 1
            self._last_error = answer.error
            if answer.status == GONE or self._attempts >= settings.attempts:
                self._dead_since, self._told = now, False
            else:
                rest: float = settings.backoff_seconds * 2.0 ** min(self._attempts - 1, 30)
                rest = max(rest * (0.5 + self._chance() / 2), answer.retry_after_seconds)
                rest = min(rest, settings.backoff_seconds_max)
                self._not_before = now + int(rest * MICROSECONDS)
                return rest
        _logger.error("webhook %s is given up: %s", settings.name, answer.error)
        return self._tell()

    # -- what is kept in the log ----------------------------------------------------------------

    def _remember_in_time(self, now: int) -> None:
        if self.position + 1 == self._remembered:
            return
        passed = (now - self._remembered_at) / MICROSECONDS
        due = REMEMBER_SECONDS if self._since_remembered else PASSED_SECONDS
        if self._since_remembered >= REMEMBER_REQUESTS or passed >= due:
            self._remembered_at = now
            self._remember()

    def _remember(self) -> bool:
        """Note the position in the log's file; what fails is tried again later."""
        offset = self.position + 1
        if offset == self._remembered:
            return True
        try:
            self._log.append((), follow=Follow(self._key, self._remembered, offset))
        except ChronicledError as error:
            _logger.warning("webhook %s: its place is not kept: %s", self.settings.name, error)
            return False
        self._remembered, self._since_remembered = offset, 0
        return True

    def _tell(self) -> float | None:
        """Record the alert about a webhook that was given up, once."""
        since = self._dead_since
        if self._told or since is None:
            return None
        payload = {
            "severity": "error",
            "kind": KIND,
            "title": f"webhook {self.settings.name} is given up",
            "message": self._last_error,
            "fingerprint": alert_id(self.settings.name),
        }
        if not self._record("alert.raised", payload, since):
            return TELL_SECONDS
        self._told = self._alert_open = True
        return None

    def _record(self, type_: str, payload: dict[str, Any], time: int) -> bool:
        same = f"{type_} {self.settings.name} {self._log.log_id} {self.position} {time}"
        event = NewEvent(
            type_,
            alert_id(self.settings.name),
            SOURCE,
            blake2b(same.encode(), digest_size=16).hexdigest(),
            validate_payload(type_, payload),
            time,
        )
        try:
            self._log.append([event])
        except ChronicledError as error:
            _logger.warning("webhook %s: %s is not recorded: %s", self.settings.name, type_, error)
            return False
        return True

    def _has_open_alert(self) -> bool:
        version, last = 0, ""
        stream = f"alert/{alert_id(self.settings.name)}"
        while page := self._log.read_stream(stream, after_version=version):
            version, last = page[-1].version, page[-1].type
        return last not in ("", "alert.resolved")
