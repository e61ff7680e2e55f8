"""After a redaction nothing of the value is left: every file of a daemon is searched for it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard
from daemon_process import DaemonProcess
from redacting_logs import SECRET
from waiting import wait_until

from daemon.eventlog.proof import prove_log

POINTERS = ("/data/name", "/data/params/token")
FILLING = 1_500


def line(number: int, **data: Any) -> str:
    """Return a job.submitted as a line."""
    return json.dumps(
        {
            "specversion": "1.0", "id": f"e{number}", "source": "/tests", "type": "job.submitted",
            "subject": f"j{number}", "data": {"kind": "k", **data},
        }
    )  # fmt: skip


def operate(client: httpx.Client, kind: str, **asked: Any) -> dict[str, Any]:
    """Have the daemon do long work, and return what came of it."""
    answer = client.post("/api/operations", json={"kind": kind, **asked})
    assert answer.status_code == 202, answer.text
    path = f"/api/operations/{answer.json()['id']}"

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get(path).json()
        return found if found["ended"] else None

    done = wait_until(ended, f"{kind} has ended", seconds=60) or {}
    assert done["error"] is None, done
    return dict(done["result"])


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield every file below a folder with what is in it, unpacked where it is packed."""
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        content = path.read_bytes()
        yield path, content
        if path.suffix == ".zst" or content[:4] == (0x184D2A5E).to_bytes(4, "little"):
            yield (
                path,
                zstandard.ZstdDecompressor()
                .stream_reader(io.BytesIO(content), read_across_frames=True)
                .read(),
            )


def holders(folder: Path, text: str = SECRET) -> list[str]:
    """Return the files in which a text stands, in any case."""
    wanted = text.lower().encode()
    return sorted({str(path.relative_to(folder)) for path, content in contents(folder)
                   if wanted in content.lower()})  # fmt: skip


@pytest.fixture
def filled(daemons: Callable[..., DaemonProcess], tmp_path: Path) -> DaemonProcess:
    """Return a daemon whose log, views, checkpoints, moments and backup hold the secret."""
    environment = {
        "CHRONICLED_REPLAY__CHECKPOINT_EVENTS": "1000",
        "CHRONICLED_BACKUP__URL": f"file://{tmp_path / 'kept'}",
        "CHRONICLED_BACKUP__SEGMENT_SECONDS": "1",
        "CHRONICLED_BACKUP__PROVE": "false",
    }
    daemon = daemons(environment=environment).start()
    lines = [line(number) for number in range(FILLING)]
    lines[FILLING // 2] = line(FILLING // 2, name=f"x {SECRET}", params={"token": SECRET})
    with daemon.client(unix=True) as client:
        headers = {"content-type": "application/x-ndjson"}
        answer = client.post("/api/events", content="\n".join(lines), headers=headers)
        assert answer.status_code == 201
        wait_until(lambda: client.get("/api/backup").json()["shipped"] >= FILLING, "it is shipped")
        params: dict[str, Any] = {"as_of": FILLING - 50, "timeout": 30}
        assert client.get("/api/jobs", params=params).status_code == 200
        operate(client, "backup")
    wait_until(
        lambda: any("checkpoints" in name for name in holders(daemon.data)), "a checkpoint has it"
    )
    return daemon


def test_every_file_of_the_daemon_is_free_of_it(filled: DaemonProcess, tmp_path: Path) -> None:
    """Log, views, what is beside them, what is kept of the past, and the new snapshot."""
    data, kept = filled.data, tmp_path / "kept"

    def checkpoints() -> list[str]:
        return [name for name in holders(data) if name.endswith(".zst")]

    assert wait_until(checkpoints, "a checkpoint holds it too")
    held = holders(data)
    assert {"log.db-wal", "views.db-wal", "replay"} <= {name.partition("/")[0] for name in held}
    assert any(name.startswith("snapshots/") for name in holders(kept))
    before = set((kept / "snapshots").iterdir())
    asked = {"position": FILLING // 2 + 1, "why": "a token", "by": "ana"}
    with filled.client(unix=True) as client:
        for pointer in POINTERS:
            done = operate(client, "redact", pointer=pointer, **asked)
            assert done["changed"]
            assert done["backup"]["error"] is None
    assert holders(data) == []
    newest = max(set((kept / "snapshots").iterdir()) - before)
    assert str(newest.relative_to(kept)) not in holders(kept)
    with filled.client(unix=True) as client:
        assert not operate(client, "redact", pointer=POINTERS[0], **asked)["changed"]
        job = client.get(f"/api/jobs/j{FILLING // 2}").json()
        assert (job["name"], job["params"]) == ("[redacted]", {"token": "[redacted]"})
        for as_of in (FILLING - 50, FILLING + 1):
            params: dict[str, Any] = {"as_of": as_of, "timeout": 30}
            assert client.get("/api/jobs", params=params).status_code == 200
        assert operate(client, "verify")["ok"]
    filled.stop()
    assert holders(data) == []
    assert prove_log(data / "log.db", at_rest=True).findings == []


def test_a_daemon_that_is_killed_in_between_ends_it_at_its_next_start(
    filled: DaemonProcess,
) -> None:
    """From the transaction in the log on it is certain that all the rest follows."""
    with filled.client(unix=True) as client:
        asked = {"kind": "redact", "source": "/tests", "id": f"e{FILLING // 2}", "why": "x"}
        for pointer in POINTERS:
            answer = client.post("/api/operations", json={**asked, "pointer": pointer})
            assert answer.status_code == 202, answer.text
            path = f"/api/operations/{answer.json()['id']}"
            if pointer == POINTERS[0]:
                wait_until(lambda path=path: client.get(path).json()["ended"], "it has ended")
        wait_until(
            lambda: client.get("/api/events", params={"type": "log.redacted"}).json()["items"][1:],
            "the second is in the log",
        )
    filled.kill()
    filled.start()
    wait_until(lambda: not holders(filled.data), "nothing is left")


@pytest.mark.parametrize(
    ("asked", "place", "detail"),
    [
        ({"position": 1}, "/pointer", "redact takes pointer, why"),
        ({"position": 1, "pointer": "/data/kind"}, "/why", "redact takes"),
        ({"pointer": "/data/kind", "why": "w"}, "/position", "redact takes"),
        ({"position": 1, "id": "e", "pointer": "/data/x", "why": "w"}, "/position", "takes"),
        ({"position": 1, "pointer": "kind", "why": "w"}, "kind", "has to begin with /data/"),
    ],
)
def test_what_is_asked_wrongly_is_refused_at_once(
    daemon: DaemonProcess, asked: dict[str, Any], place: str, detail: str
) -> None:
    """One error, with its place; nothing is started."""
    with daemon.client(unix=True) as client:
        answer = client.post("/api/operations", json={"kind": "redact", **asked})
        assert answer.status_code == 422
        assert detail in answer.json()["detail"]
        assert place in [fault["pointer"] for fault in answer.json()["errors"]]
        assert client.get("/api/operations").json()["items"] == []
