"""Files that jobs make, beside the daemon: it archives them, and deletes what it has archived."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import zstandard
from oracle import Broken, Oracle
from place import Bucket


class Results:
    """The files of one simulation, below ``root``: small, each with a content of its own."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self.root = root

    def made(self, job: str, name: str) -> dict[str, Any]:
        """Write a file, as a job does it; return what an event says of it."""
        path, content = self.root / job / f"{name}.gff3", f"##gff-version 3\n{name} of {job}\n"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        digest = sha256(content.encode()).hexdigest()
        where = str(path.relative_to(self.root))
        return {"job": job, "path": where, "bytes": len(content), "sha256": digest}

    def judge(self, oracle: Oracle, bucket: Bucket) -> int:
        """Require that the file of each result is there, or in the archive, or purged with its job.

        Returns how many are in the archive.

        Raises:
            Broken: one is nowhere, or is not what it was.

        """
        kept = {_digest_in(bucket.content(f"archive/{name}")) for name in bucket.names("archive")}
        archived = 0
        for events in oracle.sent.values():
            data = events[0]["data"]
            if events[0]["type"] != "result.recorded" or not isinstance(data, dict):
                continue
            path, digest = self.root / data["path"], data["sha256"]
            archived += digest in kept
            if path.exists():
                if sha256(path.read_bytes()).hexdigest() != digest:
                    raise Broken(f"{path.name} is not what its job made")
            elif digest not in kept and f"job/{data['job']}" not in oracle.purged:
                raise Broken(f"{path.name} of {data['job']} is neither there nor in the archive")
        return archived


def _digest_in(content: bytes) -> str:
    """Return the SHA-256 of what an object of the archive holds."""
    with zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True) as reader:
        return sha256(reader.read()).hexdigest()
