"""Jobs of two services as CloudEvents: a genome annotation service and an image queue."""

from __future__ import annotations

import hashlib
import random
from datetime import datetime, timedelta

from daemon.demo.tasks import DAY, Line, text_of

STAGES = ("parse input", "tRNA", "rRNA", "CRISPR", "CDS", "sORF", "annotation", "export")


class Producer:
    """Writes the CloudEvents of one source; ids count up, times are given."""

    def __init__(self, source: str, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - samples have to be the same each time
        self.lines: list[tuple[datetime, Line]] = []
        self._source = source

    def say(
        self,
        moment: datetime,
        type_: str,
        subject: str,
        data: Line,
        *,
        correlation: str = "",
    ) -> None:
        """Write one event."""
        event: Line = {
            "specversion": "1.0",
            "id": f"{len(self.lines) + 1:04}",
            "source": self._source,
            "type": type_,
            "subject": subject,
            "time": text_of(moment),
        }
        if correlation:
            event["correlationid"] = correlation
        self.lines.append((moment, event | {"data": data}))


def annotation_service(seed: int) -> Producer:
    """Return a day of annotation jobs: their native words, stages, results, and what failed."""
    service = Producer("/annotation/api", seed)
    samples = ("lake_isolate_03", "pLMK7", "soil_core_11", "phage_T_low", "brewery_swab_2")
    for number, name in enumerate(samples, 1):
        _annotation(service, number, name)
    alert, at = "disk-space-annotation-2", DAY + timedelta(hours=13, minutes=4)
    raised = {
        "severity": "warning",
        "kind": "disk_space",
        "title": "annotation-2 has 6 % free",
        "message": "/scratch: 6 % free",
        "fingerprint": alert,
        "labels": {"host": "annotation-2"},
    }
    service.say(at, "alert.raised", alert, raised)
    acknowledged = {"by": "ines", "reason": "removing old runs"}
    service.say(at + timedelta(minutes=9), "alert.acknowledged", alert, acknowledged)
    resolved = {"by": "ines", "reason": "58 % free"}
    service.say(at + timedelta(minutes=40), "alert.resolved", alert, resolved)
    return service


def _annotation(service: Producer, number: int, name: str) -> None:
    """Write one job: the third is started again by the service, the fourth fails."""
    job, run = f"annotation-{20251112 * 100 + number}", f"sequencing-run-{4 + number % 2}"
    at = DAY + timedelta(hours=9 + number, minutes=service.random.randint(0, 50))

    def say(seconds: int, verb: str, data: Line) -> None:
        nonlocal at
        at += timedelta(seconds=seconds)
        service.say(at, f"job.{verb}", job, data, correlation=run)

    submitted = {
        "kind": "annotation",
        "name": name,
        "owner": ("mara", "ines")[number % 2],
        "queue": "annotation",
        "native_status": "INIT",
        "input": f"uploads/{name}.fna",
        "params": {"translationTable": 11, "completeGenome": number == 2, "minContigLength": 200},
    }
    say(0, "submitted", submitted)
    say(12, "queued", {"queue": "annotation", "reason": "2 jobs before it"})
    worker = f"annotation-{1 + number % 2}"
    say(95, "started", {"worker": worker, "native_status": "RUNNING", "attempt": 1})
    for index, stage in enumerate(STAGES[: 4 if number == 4 else None]):
        progress = {"fraction": index / len(STAGES), "stage": stage}
        say(service.random.randint(9, 70), "progressed", progress)
    if number == 4:
        error = {"class": "ToolFailed", "message": "no coding sequence in 1 contig of 812 bp"}
        say(3, "failed", {"native_status": "ERROR", "error": error})
        return
    if number == 3:
        error = {"class": "WorkerLost", "message": "the worker did not answer for 120 s"}
        say(120, "failed", {"native_status": "ERROR", "error": error})
        say(600, "started", {"worker": worker, "native_status": "RUNNING", "attempt": 2})
        say(410, "progressed", {"fraction": 0.9, "stage": "export"})
    warning = {"warning": "3 contigs under 200 bp were left out"} if number == 5 else {}
    features = {"features": 91 + number * 13}
    say(14, "succeeded", {"native_status": "SUCCESSFUL", "result": features} | warning)
    for kind, media_type in (("GFF3", "text/x-gff3"), ("JSON", "application/json")):
        _result(service, at, job, f"{name}.{kind.lower()}", kind, media_type)
    if number == 2:
        say(60, "linked", {"to": "annotation-2025111201", "role": "plasmid_of"})
        say(30, "pinned", {"reason": "reference for the paper"})


def _result(
    service: Producer, at: datetime, job: str, name: str, kind: str, media_type: str
) -> None:
    """Write that a result can be fetched, and that it was."""
    subject, path = f"{job}/{kind}", f"results/{job}/{name}"
    size = service.random.randint(20_000, 400_000)
    facts = {"job": job, "kind": kind, "bytes": size, "media_type": media_type}
    expires = text_of(at + timedelta(days=6))
    service.say(at + timedelta(seconds=1), "result.offered", subject, facts | {"expires": expires})
    facts |= {"path": path, "sha256": hashlib.sha256(path.encode()).hexdigest()}
    service.say(at + timedelta(seconds=40), "result.recorded", subject, facts)


def image_queue(seed: int) -> Producer:
    """Return an afternoon of an image queue: one at a time, with a crash and a clearing."""
    service = Producer("/images/queue", seed)
    at = DAY + timedelta(hours=14)
    names = ("harbour", "mill", "market", "bridge", "orchard", "chapel", "weir", "ferry", "quarry")
    jobs = [f"image-{number:03}" for number in range(1, len(names) + 1)]
    for job, name in zip(jobs, names, strict=True):
        at += timedelta(seconds=2)
        submitted = {"kind": "image-tags", "name": f"{name}.jpg", "input": f"album/{name}.jpg"}
        queued = {"queue": "images", "owner": "tomas", "native_status": "pending", "priority": 1}
        service.say(at, "job.submitted", job, submitted | queued)
    for job in jobs[:6]:
        at = _image(service, at + timedelta(seconds=3), job)
    paused, resumed = at + timedelta(seconds=9), at + timedelta(minutes=20)
    cleared = resumed + timedelta(minutes=1)
    service.say(paused, "queue.paused", "images", {"reason": "moving the album"})
    service.say(resumed, "queue.resumed", "images", {"reason": "album moved"})
    service.say(cleared, "queue.cleared", "images", {"reason": "wrong album", "count": 2})
    for job in jobs[7:]:
        cancelled = {"reason": "queue cleared", "native_status": "cancelled"}
        service.say(cleared, "job.cancelled", job, cancelled)
    return service


def _image(service: Producer, at: datetime, job: str) -> datetime:
    """Write one image's run: the third fails, the fourth is cut off by a restart."""
    service.say(at, "job.started", job, {"worker": "images-1", "native_status": "processing"})
    for fraction, stage in ((0.1, "loading"), (0.4, "describing"), (0.8, "finding tags")):
        at += timedelta(seconds=service.random.randint(2, 12))
        service.say(at, "job.progressed", job, {"fraction": fraction, "stage": stage})
    at += timedelta(seconds=5)
    if job == "image-003":
        error = {"class": "FileNotFoundError", "message": "album/market.jpg is not there"}
        service.say(at, "job.failed", job, {"native_status": "failed", "error": error})
    elif job == "image-004":
        reason = "found unfinished after a restart"
        interrupted = {"native_status": "interrupted", "reason": reason}
        service.say(at, "job.interrupted", job, interrupted)
    else:
        tags = service.random.sample(["river", "stone", "roof", "tree", "boat", "cloud"], 3)
        ended = {"native_status": "completed", "result": {"tags": tags}}
        service.say(at, "job.succeeded", job, ended)
    return at
