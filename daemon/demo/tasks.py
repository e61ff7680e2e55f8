"""A day of a flowlord task master: tasks to do, tasks done, and its file topic.

The weather service of an invented valley. Every hour's station readings are turned into JSON
and loaded; depots are counted by a nightly batch; scans are cut into tiles as they arrive.
"""

from __future__ import annotations

import hashlib
import random
import uuid
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

DAY = datetime(2025, 11, 12, tzinfo=UTC)
Line = dict[str, Any]


DELAYS = (38.2, 41.37, 35.04)
"""How long the task master waits before the first, second and third retry (seconds)."""


def text_of(moment: datetime) -> str:
    """Return a time as these producers write it: UTC, whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Outcome:
    """How one attempt ended: result, message, how long it ran, what the worker adds to meta."""

    result: str
    msg: str
    seconds: int
    meta: dict[str, str] = field(default_factory=dict)
    waited: int | None = None
    """Seconds until a worker took it; by chance when None."""


class TaskDay:
    """Collects the lines of one day; each with the time it was sent."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - samples have to be the same each time
        self.todo: list[tuple[datetime, Line]] = []
        self.done: list[tuple[datetime, Line]] = []
        self.files: list[tuple[datetime, Line]] = []
        self.notifications: list[tuple[datetime, Line]] = []

    def between(self, low: int, high: int) -> int:
        """Return a number of the day's own chance."""
        return self._random.randint(low, high)

    def run_id(self) -> str:
        """Return a new id for a whole run: its tasks, children and retries."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def task(
        self,
        created: datetime,
        name: str,
        info: str,
        meta: dict[str, str],
        outcomes: list[Outcome],
        *,
        run: str,
        delays: tuple[float, ...] = DELAYS,
    ) -> datetime:
        """Send a task and its retries, one attempt for each outcome; return when the last ended.

        The first attempt's meta is in the spelling of its sender; a retry's is sorted and
        percent-encoded, as the task master writes it.
        """
        type_, _, job = name.partition(":")
        text = "&".join(f"{key}={value}" for key, value in meta.items())
        ended = created
        for retry, outcome in enumerate(outcomes):
            line = {"type": type_, "job": job, "info": info, "created": text_of(created)}
            line |= {"id": run, "meta": text}
            self.todo.append((created, _without_empty(line)))
            waited = self.between(1, 9) if outcome.waited is None else outcome.waited
            started = created + timedelta(seconds=waited)
            ended = started + timedelta(seconds=outcome.seconds)
            worked = _unescaped(_values(meta, retry) | outcome.meta) if not retry else text
            ending = {"result": outcome.result, "msg": outcome.msg}
            ending |= {"started": text_of(started), "ended": text_of(ended)}
            self.done.append((ended, _without_empty(line | {"meta": worked} | ending)))
            if retry + 1 < len(outcomes):
                delay = delays[retry]
                text = _encoded(_values(meta, retry + 1, delay))
                created = ended + timedelta(seconds=delay)
        if len(outcomes) > len(delays) and outcomes[-1].result == "error":
            failed = _values(meta, 3, delays[-1]) | {"retry": "failed", "retried": "3"}
            last = self.done[-1][1]
            self.done.append((ended + timedelta(seconds=1), last | {"meta": _encoded(failed)}))
        return ended

    def file(self, moment: datetime, path: str, size: int, **facts: Any) -> None:
        """Announce a file on the file topic."""
        checksum = hashlib.md5(path.encode(), usedforsecurity=False).hexdigest()
        line = {"size": size, "checksum": checksum, "path": path, "created": text_of(moment)}
        self.files.append((moment + timedelta(seconds=1), facts | line))

    def notify(self, moment: datetime, bucket: str, name: str, size: int) -> None:
        """Announce an object as the object store itself does."""
        generation = str(int(moment.timestamp() * 1_000_000) + self.between(0, 999_999))
        moment += timedelta(milliseconds=self.between(0, 999))
        digest = hashlib.md5(name.encode(), usedforsecurity=False).digest()
        created = moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        line = {
            "kind": "storage#object",
            "id": f"{bucket}/{name}/{generation}",
            "name": name,
            "bucket": bucket,
            "generation": generation,
            "metageneration": "1",
            "contentType": "image/tiff",
            "timeCreated": created,
            "updated": created,
            "storageClass": "STANDARD",
            "size": str(size),
            "md5Hash": b64encode(digest).decode(),
        }
        self.notifications.append((moment, line))


def _without_empty(line: Line) -> Line:
    return {key: value for key, value in line.items() if value != "" or key == "info"}


def _values(meta: dict[str, str], retry: int, delay: float = 0) -> dict[str, str]:
    retried = {"retry": str(retry), "delayed": f"{delay:g}s"} if retry else {}
    return meta | retried


def _unescaped(values: dict[str, str]) -> str:
    return "&".join(f"{key}={values[key]}" for key in sorted(values))


def _encoded(values: dict[str, str]) -> str:
    return "&".join(f"{key}={quote_plus(values[key])}" for key in sorted(values))


def hourly_readings(day: TaskDay) -> None:
    """Send every other hour the readings to JSON and, as its child, their load."""
    trouble = {
        # This retry is decided in the second in which the first attempt was created.
        4: [Outcome("error", "relation readings is locked", 0, waited=0)],
        10: [_refused(30), Outcome("error", "deadlock detected on table readings", 12)],
        16: [_refused(31), _refused(30), _refused(30), _refused(30)],
    }
    for hour in range(0, 24, 2):
        run, slug = day.run_id(), f"2025/11/12/{hour:02}"
        created = DAY + timedelta(hours=hour, minutes=5)
        meta = {"workflow": "weather/hourly.toml", "cron": f"2025-11-12T{hour:02}"}
        out = f"gs://valley-json/{slug}/readings.json.gz"
        lines = day.between(8_000, 12_000)
        ended = day.task(
            created,
            "csv2json:stations",
            f"gs://valley-raw/{slug}/stations.csv?output={out}",
            meta | {"job": "stations"},
            [Outcome("complete", f"wrote {lines} lines", day.between(40, 90), {"file": out})],
            run=run,
        )
        day.file(ended, out, lines * 19, linecnt=lines, bytecnt=lines * 131)
        outcomes = trouble.get(hour, [])
        if hour != 16:
            outcomes = [*outcomes, Outcome("complete", f"{lines} rows", day.between(20, 60))]
        day.task(
            ended + timedelta(seconds=1),
            "sql-load:readings",
            f"{out}?table=readings&day=2025-11-12",
            meta | {"job": "readings"},
            outcomes,
            run=run,
            delays=(0, *DELAYS[1:]) if hour == 4 else DELAYS,
        )


def _refused(seconds: int) -> Outcome:
    return Outcome("error", "dial tcp 10.8.0.12:5432: connect: connection refused", seconds)


def nightly_batch(day: TaskDay) -> None:
    """Send one task a depot, out of one batch phase; their job is in meta only."""
    messages = {"birkenau": ("warn", "no deliveries on this day")}
    messages["steinbach"] = ("stuck", "worker shut down in the middle")
    for depot in ("ahornweg", "birkenau", "eschental", "lindenhof", "steinbach", "ulmenau"):
        result, msg = messages.get(depot, ("complete", f"{day.between(90, 400)} parcels"))
        meta = {"cron": "2025-11-12T02", "depot": depot, "job": "depots"}
        day.task(
            DAY + timedelta(hours=2, minutes=30, seconds=day.between(0, 3)),
            "count",
            f"?depot={depot}&day=2025-11-11",
            meta | {"workflow": "parcels/nightly.toml"},
            [Outcome(result, msg, day.between(15, 300))],
            run=day.run_id(),
        )


def scans(day: TaskDay) -> None:
    """Let scans arrive in a bucket; the rule for their path cuts each into tiles."""
    for number in range(1, 8):
        name = f"scans/2025/11/12/sheet-{number:03}.tif"
        arrived = DAY + timedelta(hours=7, minutes=12 * number, seconds=day.between(0, 50))
        day.notify(arrived, "valley-scans", name, day.between(40_000_000, 90_000_000))
        path = f"gs://valley-scans/{name}"
        meta = {"file": path, "filename": name.rpartition("/")[2]}
        meta |= {"files": "gs://valley-scans/scans/*/*/*/*.tif", "workflow": "scans/files.toml"}
        tiles = day.between(100, 180)
        outcome = Outcome("complete", f"{tiles} tiles", day.between(60, 240))
        if number == 5:
            outcome = Outcome("alert", "sheet-005.tif: 4 of 4 corners not found", 21)
        ended = day.task(
            arrived + timedelta(seconds=2),
            "transform:tiles",
            f"{path}?size=256",
            meta,
            [outcome],
            run=day.run_id(),
        )
        if outcome.result == "complete":
            folder = f"gs://valley-tiles/2025/11/12/sheet-{number:03}/"
            day.file(ended, folder, 0, isDir=True, files=tiles)


def checks(day: TaskDay) -> None:
    """Send quality checks, of which one alerts, and a task with neither job nor meta."""
    for hour in (6, 12, 18):
        outcome = Outcome("complete", "0 null values", 4)
        if hour == 12:
            outcome = Outcome("alert", "37 null values in readings.pressure", 4)
        day.task(
            DAY + timedelta(hours=hour, minutes=40),
            "db-check",
            "?table=readings&field=pressure&type=null&date=2025-11-12",
            {"cron": f"2025-11-12T{hour:02}", "workflow": "checks/quality.toml"},
            [outcome],
            run=day.run_id(),
        )
    day.task(
        DAY + timedelta(hours=21), "heartbeat", "", {}, [Outcome("complete", "", 0)],
        run=day.run_id(),
    )  # fmt: skip
    day.file(DAY + timedelta(hours=6, minutes=2), "/srv/drop/2025-11-12/levels.csv", 5_311)
    day.file(DAY + timedelta(hours=9), "mc://store.valley.example:9000/drop/river.csv", 812)


def task_day(seed: int) -> TaskDay:
    """Return the whole day."""
    day = TaskDay(seed)
    for part in (hourly_readings, nightly_batch, scans, checks):
        part(day)
    return day
