"""Masking of known secrets, in raw bytes and in text, before anything of them is stored.

Only shapes that are known to be secrets are masked: a name that says so before a value, a token
of a known issuer, a password in an address. What has no such shape cannot be told from text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MASK: Final = "***"
"""What stands where a secret stood; it has the same spelling in JSON, in a URL and in `meta`."""

_NAME: Final = (
    rb"(?:pass(?:word|wd|phrase)|(?<![a-z])pwd|secret|token|api[_-]?key|access[_-]?key"
    rb"|private[_-]?key|client[_-]?key|x-(?:amz|goog)-credential|authorization"
    rb"|signature|(?<![a-z])sig)(?:[_-]?(?:key|id|value|hash))?"
)
"""Names whose value is a secret, also as the end of a longer name (``db_password``)."""

_NAME_HINTS: Final = tuple(
    rb"password passwd passphrase pwd secret token key credential authorization sig".split()
)


@dataclass(frozen=True, slots=True)
class _Shape:
    """A shape of secret. What has none of the (lower-case) hints need not be searched for it."""

    hints: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    mask: bytes


def _shape(hints: tuple[bytes, ...], pattern: bytes, mask: bytes = rb"\1***") -> _Shape:
    return _Shape(hints, re.compile(pattern, re.IGNORECASE | re.DOTALL), mask)


_SHAPES: Final = (
    # A private key, up to its end line or, where that was cut off, up to the end.
    _shape(
        (b"private",),
        rb"-----BEGIN[A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END[A-Z0-9 ]{0,40}-----|\Z)",
        rb"***",
    ),
    # A password in an address, plain and percent-encoded.
    _shape((b"@",), rb"(://[^/\s:@\"'?#]{0,256}:)[^/\s\"'?#]{1,1024}@", rb"\1***@"),
    _shape(
        (b"%40",),
        rb"(%3A%2F%2F(?:(?!%2F|%40|%3A)[^\s\"&]){0,256}%3A)[^\s\"&]{1,1024}?(%40)",
        rb"\1***\2",
    ),
    # A value after its name: a JSON string, one inside a JSON string, a JSON number, key=value.
    _shape(_NAME_HINTS, rb"(" + _NAME + rb"\"\s*:\s*\")(?:[^\"\\]|\\.)+"),
    _shape(_NAME_HINTS, rb"(" + _NAME + rb"\\+\"\s*:\s*\\+\")[^\"\\]+"),
    _shape(_NAME_HINTS, rb"(" + _NAME + rb"\\*\"\s*:\s*)[-0-9.E+]+", rb'\1"***"'),
    _shape(
        _NAME_HINTS,
        rb"(" + _NAME + rb"[\"']?\s*=\s*[\"']?)(?:(?:bearer|basic)[ +])?[^\s\"'&;,<>()\\]+",
    ),
    _shape(_NAME_HINTS, rb"(" + _NAME + rb"%3D)(?:(?!%26|%22)[^\s\"'&;,<>()\\])+"),
    # The same as people and programs write it in text and headers.
    _shape(
        (b"authorization", b"key", b"pass"),
        rb"((?:authorization|api[_-]?key|password|passwd|passphrase)[\"']?: ?)"
        rb"(?:(?:bearer|basic)[ +])?[^\s\"'&;,<>()\\]+",
    ),
    _shape((b"bearer",), rb"(\bbearer(?:[ +]|%20))[A-Z0-9._~+/%-]{6,}=*"),
    # Tokens that carry their issuer: AWS, Google, GitHub, GitLab, Slack, and any JWT.
    _shape((b"akia", b"asia"), rb"(?<![A-Z0-9])(?-i:A[KS]IA[A-Z0-9]{16})", rb"***"),
    _shape((b"goog",), rb"(?<![A-Z0-9])(?-i:GOOG1?[A-Z0-9]{20,60})", rb"***"),
    _shape(
        (b"aiza", b"ya29."), rb"(?<![A-Z0-9])(?:AIza[A-Z0-9_-]{35}|ya29\.[A-Z0-9_-]{10,})", rb"***"
    ),
    _shape(
        (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"glpat-"),
        rb"(?<![A-Z0-9])(?:gh[pousr]_[A-Z0-9]{30,}|github_pat_\w{20,}|glpat-[A-Z0-9_-]{16,})",
        rb"***",
    ),
    _shape((b"xox",), rb"(?<![A-Z0-9])xox[a-z]-[A-Z0-9-]{10,}", rb"***"),
    _shape((b"hooks.slack.com",), rb"(hooks\.slack\.com/services/)[A-Z0-9/_-]+"),
    _shape((b"eyj",), rb"(?<![A-Z0-9])eyJ[A-Z0-9_-]{8,}\.[A-Z0-9_-]{8,}\.?[A-Z0-9_-]*", rb"***"),
)

_SECRET_NAME: Final = re.compile(_NAME.decode() + r"\Z", re.IGNORECASE)
_HINTS: Final = re.compile(
    b"|".join(sorted({re.escape(hint) for shape in _SHAPES for hint in shape.hints}))
)


_LONG_RUN: Final = re.compile(r"(?![0-9a-f]+(?![0-9A-Za-z]))[0-9A-Za-z]{32,}")


def mask_path(path: str) -> str:
    """Return the path of a request with what may be a secret in it replaced.

    That is every run of 32 letters and digits or more, unless it is a plain hexadecimal number,
    as ids and digests are.
    """
    return _LONG_RUN.sub(MASK, mask_text(path))


def may_hold_secrets(raw: bytes) -> bool:
    """Return whether there is any hint of a secret; cheap, and rarely true of ordinary text."""
    return _HINTS.search(raw.lower()) is not None


def mask_bytes(raw: bytes) -> bytes:
    """Return ``raw`` with every known secret in it replaced; any bytes will do."""
    lowered = raw.lower()
    if _HINTS.search(lowered) is None:
        return raw
    for shape in _SHAPES:
        if any(hint in lowered for hint in shape.hints):
            raw = shape.pattern.sub(shape.mask, raw)
    return raw


def mask_text(text: str) -> str:
    """Return ``text`` with every known secret in it replaced."""
    raw = text.encode()
    masked = mask_bytes(raw)
    return text if masked is raw else masked.decode()


def mask_value(name: str, text: str) -> str:
    """Return the value of a field: masked as a whole where its name says that it is a secret."""
    return MASK if text and _SECRET_NAME.search(name) else mask_text(text)
