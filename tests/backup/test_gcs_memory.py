"""Objects go through a bounded amount of memory, whatever their size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from gcs_fake import GcsFake

MIB = 1 << 20
SIZE = 200 * MIB

SCRIPT = """
import json, resource, sys
from daemon.backup.gcs_store import GcsBucket, GcsStore

url, path, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = GcsStore(GcsBucket("kept", endpoint=url), "daemon")

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

with open(path, "rb") as source:
    store.put_if_absent("small", source, 1 << 20, {})
    begun = peak()
    source.seek(0)
    store.put_if_absent("large", source, size, {})
uploaded = peak()
received = sum(len(piece) for piece in store.get("large"))
print(json.dumps({"up": uploaded - begun, "down": peak() - begun, "received": received}))
"""


def test_a_large_object_is_never_held_whole(
    gcs_fake: GcsFake, tmp_path: Path, repository: Path
) -> None:
    """200 MiB go up and come down, and the process grows by less than 64 MiB."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(SIZE)
    command = [sys.executable, "-c", SCRIPT, gcs_fake.url, str(path), str(SIZE)]
    run = subprocess.run(
        command, capture_output=True, cwd=repository, text=True, check=True, timeout=100
    )
    grown = json.loads(run.stdout)
    assert grown["received"] == SIZE
    assert grown["up"] < 64 * MIB
    assert grown["down"] < 64 * MIB
