"""Makes the sample files beside it: ``python -m daemon.demo.samples [DIRECTORY]``.

Everything in them is invented. The same seed makes the same bytes; a test compares them.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from daemon.demo.services import annotation_service, image_queue
from daemon.demo.tasks import Line, task_day

SEED = 20251112
DIRECTORY = Path(__file__).parent

CUT_LINE = '{"type":"csv2json","job":"stations","info":"gs://valley-raw/2025/11/12/23/sta'
"""The last line of a worker that was killed while it wrote; it becomes a dead letter."""


@dataclass(frozen=True)
class Sample:
    """One sample file, and the format that `chronicled append` reads it as."""

    name: str
    format: str

    @property
    def path(self) -> Path:
        """Where the file is."""
        return DIRECTORY / self.name


SAMPLES = (
    Sample("tasks-todo.ndjson", "flowlord-task"),
    Sample("tasks-done.ndjson", "flowlord-task"),
    Sample("files.ndjson", "flowlord-file"),
    Sample("notifications.ndjson", "gcs-notification"),
    Sample("annotation.ndjson", "cloudevents"),
    Sample("images.ndjson", "cloudevents"),
)


def contents() -> dict[str, str]:
    """Return the text of every sample file by its name."""
    day = task_day(SEED)
    lines = {
        "tasks-todo.ndjson": _text(day.todo),
        "tasks-done.ndjson": _text(day.done) + CUT_LINE + "\n",
        # An object store announces objects on a file topic too; twice is once.
        "files.ndjson": _text(day.files + day.notifications[:2]),
        "notifications.ndjson": _text(day.notifications),
        "annotation.ndjson": _text(annotation_service(SEED).lines),
        "images.ndjson": _text(image_queue(SEED).lines),
    }
    return {sample.name: lines[sample.name] for sample in SAMPLES}


def _text(lines: list[tuple[datetime, Line]]) -> str:
    """Return lines in the order they were sent, as the producers write them."""
    ordered = sorted(lines, key=lambda line: line[0])
    return "".join(
        json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n" for _, line in ordered
    )


def write(directory: Path) -> None:
    """Write every sample file into a directory."""
    for name, text in contents().items():
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY)
