"""Marked secrets: each door has one of its own, so that what is found says where it came in."""

from __future__ import annotations

import random
from base64 import b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path

import zstandard

_LETTERS = "BCDFGHJKLMNPQRSTVWXZbcdfghjkmnpqrstvwxz23456789"


class Marks:
    """Makes secrets, and finds them in any text: as they are, in base64, in hexadecimal."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._forms: dict[str, list[bytes]] = {}

    def new(self, door: str) -> str:
        """Return the secret of a door; it has no shape that a pattern would know."""
        assert door not in self._forms
        secret = "".join(self._random.choices(_LETTERS, k=24))
        raw = secret.encode()
        self._forms[door] = [raw, raw.hex().encode(), *_in_base64(raw)]
        return secret

    def found_in(self, content: bytes) -> set[str]:
        """Return the doors whose secret is in some bytes."""
        return {
            door for door, forms in self._forms.items() if any(form in content for form in forms)
        }

    def found_below(self, folder: Path) -> dict[str, set[str]]:
        """Return the doors whose secret is in files below a folder, with the files' names."""
        found: dict[str, set[str]] = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                for door in self.found_in(content_of(path)):
                    found.setdefault(door, set()).add(path.relative_to(folder).as_posix())
        return found


def content_of(path: Path) -> bytes:
    """Return what a file holds, decompressed where it is compressed, after the name it has."""
    raw = path.read_bytes()
    if path.name.endswith(".zst") or b"\x28\xb5\x2f\xfd" in raw[:1024]:
        reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        return path.name.encode() + raw + reader.read()
    return path.name.encode() + raw


def _in_base64(raw: bytes) -> Iterable[bytes]:
    """Return what a text is in base64, wherever it begins in what was encoded."""
    for before in range(3):
        encoded = b64encode(b"x" * before + raw)
        start = -(-before * 4 // 3) if before else 0
        yield encoded[start : len(encoded) - 4]


def basic(user: str, secret: str) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + b64encode(f"{user}:{secret}".encode()).decode()


def said(found: Mapping[str, set[str]], allowed: Mapping[str, str]) -> list[str]:
    """Return what was found of doors where they may not be; ``allowed`` are parts of names."""
    return [
        f"{door}: {name}"
        for door, names in found.items()
        for name in sorted(names)
        if door not in allowed or not any(part in name for part in allowed[door].split())
    ]
