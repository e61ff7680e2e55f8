"""A running daemon that is sent secrets in every place: no byte of them is anywhere afterwards."""

from __future__ import annotations

import random
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from bakta_samples import INIT, JOB, START, VERSION, listed, presigned, result, state
from daemon_process import DaemonProcess

CASES = (
    "bakta-job-init",
    "bakta-job-start",
    "bakta-job-list",
    "bakta-job-result",
    "bakta-job-delete",
    "bakta-version",
)
PLAIN, LINES = "application/json", "application/x-ndjson"


class Secrets:
    """Makes secrets at random, and remembers them."""

    def __init__(self) -> None:
        self._random = random.Random(20260204)
        self.made: list[str] = []

    def make(self, length: int = 32) -> str:
        """Return a secret as a server makes it."""
        signs = string.ascii_letters + string.digits
        self.made.append("".join(self._random.choices(signs, k=length)))
        return self.made[-1]

    def address(self, path: str) -> str:
        """Return an address with a signature, a credential and a session token of its own."""
        return (
            f"https://s3.example.org/bakta/{path}?X-Amz-Algorithm=AWS4-HMAC-SHA256"
            f"&X-Amz-Credential=AKIA{self.make(16).upper()}%2F20260204%2Fs3%2Faws4_request"
            f"&X-Amz-Date=20260204T181500Z&X-Amz-Expires=518400"
            f"&X-Amz-Security-Token={self.make(200)}&X-Amz-Signature={self.make(64)}"
        )


def valid(secrets: Secrets) -> Iterator[tuple[str, Any]]:
    """Yield good messages that hold secrets where they belong."""
    job = {"jobID": JOB, "secret": secrets.make()}
    links = {
        f"uploadLink{name}": secrets.address(f"jobs/{JOB}/inputs/{name}")
        for name in ("Fasta", "Prodigal", "Replicons")
    }
    yield CASES[0], INIT | {"response": {"job": job, **links}}
    yield CASES[1], START | {"request": {**START["request"], "job": job}}
    yield CASES[2], listed(state("RUNNING") | {"secret": secrets.make()})
    files = {key: secrets.address(f"jobs/{JOB}/results/result.x") for key in ("TSV", "GFF3")}
    yield CASES[3], result() | {"ResultFiles": files, "secret": secrets.make()}
    yield CASES[4], {"request": {"jobID": JOB, "secret": secrets.make()}}
    yield CASES[4], {"request": f"https://h/job/delete?jobID={JOB}&secret={secrets.make()}"}
    yield CASES[5], VERSION | {"secret": secrets.make()}


def strange(secrets: Secrets) -> Iterator[tuple[str, Any]]:
    """Yield messages that hold secrets where they do not belong, most of them broken."""
    yield CASES[0], {"request": {"name": secrets.make()}, "response": INIT["response"]}
    yield CASES[0], {"request": {"name": f"a{secrets.make()}"}, "response": INIT["response"]}
    yield CASES[0], {"request": [secrets.make()], "response": secrets.make()}
    yield CASES[1], {"request": {"job": {"jobID": secrets.make()}, "config": {}}}
    yield CASES[1], {"job": {"jobID": JOB}, "config": {"compliant": secrets.make()}}
    yield CASES[1], {"job": {"jobID": JOB}, "config": {secrets.make(): secrets.make()}}
    yield CASES[1], {"job": {"jobID": JOB}, "config": {"genus": secrets.address("x")}}
    yield CASES[2], listed(state(secrets.make()))
    yield CASES[2], listed(state("RUNNING") | {"jobStatus": [secrets.make()]})
    yield CASES[2], listed(state("RUNNING") | {"updated": secrets.make(), "x": secrets.make()})
    yield CASES[2], listed(state("RUNNING") | {"jobID": secrets.make()})
    yield CASES[2], {"jobs": secrets.make(), "failedJobs": {secrets.make(): 1}}
    yield CASES[2], {secrets.make(): secrets.make()}
    yield CASES[2], listed(other=secrets.make())
    yield CASES[3], result() | {"ResultFiles": {secrets.make(): secrets.address("x")}}
    yield CASES[3], result() | {"ResultFiles": {"TSV": f"http://[{secrets.make()}/x"}}
    yield CASES[3], result() | {"ResultFiles": {"TSV": secrets.address(secrets.make())}}
    yield CASES[3], result() | {"ResultFiles": [secrets.address("x")]}
    yield CASES[3], {"request": {"jobID": JOB, "secret": secrets.make()}, "response": "No"}
    yield CASES[4], {"request": f"https://h/job/delete/{secrets.make()}"}
    yield CASES[4], {"request": f"https://h/job/{secrets.make()}?jobID={JOB}"}
    yield CASES[4], {"request": f"jobID={secrets.make()}&secret={secrets.make()}"}
    yield CASES[5], {"toolVersion": secrets.make(), "dbVersion": secrets.address("x")}
    yield CASES[5], {"toolVersion": {secrets.make(): 1}, "time": secrets.make()}
    yield CASES[2], secrets.make()
    yield CASES[2], [secrets.make()]


def bodies(secrets: Secrets) -> Iterator[tuple[str, bytes]]:
    """Yield every message whole, cut short, with a wrong byte, with NUL, and as an envelope."""
    for name, message in [*valid(secrets), *strange(secrets)]:
        raw = orjson.dumps(message)
        yield name, raw
        yield name, raw[: len(raw) * 4 // 5]
        yield name, raw[:-1] + b"\xff" + raw[-1:]
        yield name, b"\0" + raw
        yield name, raw + b"\n" + raw[1:]
        yield name, b"[" * 400 + raw + b"]" * 400
        yield name, b'{"x":' * 300 + raw + b"}" * 300


def answers(client: httpx.Client, secrets: Secrets) -> Iterator[httpx.Response]:
    """Yield the answer to every body, in every way that a body can be sent."""
    for name, body in bodies(secrets):
        for query in ("", "?on_error=deadletter"):
            for media_type in (PLAIN, LINES):
                headers = {"content-type": media_type}
                yield client.post(f"/api/intake/{name}{query}", content=body, headers=headers)
    for name, message in valid(secrets):
        yield client.post("/api/intake/pubsub-push", params={"inner": name}, json=message)
        yield client.post(f"/api/intake/{name}", content=orjson.dumps(message))
    yield client.delete("/job/delete", params={"jobID": JOB, "secret": secrets.make()})
    yield client.post(f"/api/intake/bakta-job-delete/{secrets.make()}", json={})
    yield client.post(f"/api/intake/{CASES[4]}", params={"secret": secrets.make()}, json={})
    yield client.post(f"/api/intake/{secrets.make()}", json={})
    for path in (
        "/api/jobs",
        f"/api/jobs/{JOB}",
        "/api/events?limit=500",
        "/api/deadletters?limit=100",
        "/api/alerts",
        "/metrics",
    ):
        yield client.get(path)


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> tuple[Secrets, Path, bytes]:
    """Send it all, verify; return the secrets, the data directory, and all that was answered."""
    secrets = Secrets()
    data = tmp_path_factory.mktemp("secrets") / "data"
    daemon = DaemonProcess(data, environment={"CHRONICLED_LOGGING__LEVEL": "debug"}).start()
    try:
        daemon.wait_caught_up()
        with daemon.client() as client:
            nothing = client.post("/api/intake/bakta-job-list", json=listed())
            assert (nothing.status_code, nothing.json()["events"]) == (200, [])
            told = [(each.status_code, each.content) for each in answers(client, secrets)]
        assert {status for status, _ in told} >= {200, 400, 415, 422}
        assert not [content for status, content in told if status >= 500]
        assert _found(secrets, _files(data)) == {}
        assert daemon.stop() == 0
    finally:
        daemon.close()
    command = [sys.executable, "-m", "daemon", "verify", "--data", str(data), "--json"]
    verified = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert verified.returncode == 0, verified.stderr
    said = b"\n".join(content for _, content in told)
    return secrets, data, said + verified.stdout + verified.stderr


def _files(data: Path) -> dict[str, bytes]:
    """Return every file of a data directory, and what the daemon wrote to its terminal."""
    files = {str(path): path.read_bytes() for path in data.rglob("*") if path.is_file()}
    stderr = data.with_name(f"{data.name}.stderr")
    return files | {str(stderr): stderr.read_bytes()}


def _found(secrets: Secrets, texts: dict[str, bytes]) -> dict[str, list[str]]:
    """Return the secrets in each text; of a long one also a part of it counts."""
    found = {
        name: [one for one in secrets.made if one[4:28].encode() in text or one.encode() in text]
        for name, text in texts.items()
    }
    return {name: ones for name, ones in found.items() if ones}


def test_no_secret_is_in_any_file(aftermath: tuple[Secrets, Path, bytes]) -> None:
    """Log, views, dead letters, what is replayed, and the terminal, while it ran and after."""
    secrets, data, _ = aftermath
    files = _files(data)
    names = {Path(name).name for name in files}
    assert {"log.db", "views.db"} <= names
    assert b"level" in files[str(data.with_name(f"{data.name}.stderr"))]
    assert len(secrets.made) > 60
    assert _found(secrets, files) == {}


def test_no_secret_is_in_any_answer(aftermath: tuple[Secrets, Path, bytes]) -> None:
    """Receipts, error texts, lists of jobs, events and dead letters."""
    secrets, _, said = aftermath
    assert b"RUNNING" in said
    assert _found(secrets, {"answers": said}) == {}


def test_the_search_finds_what_is_there() -> None:
    """The test can fail: a secret that is in a file is found."""
    secrets = Secrets()
    text = presigned("x") + secrets.make()
    assert _found(secrets, {"file": text.encode()}) == {"file": secrets.made}
