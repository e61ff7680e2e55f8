"""What a fuzz target is, and what counts as a finding.

A target takes any bytes. What the code under it refuses has to be refused by an error of the
project's own tree that says something; whatever else comes out is a finding: another exception, an
assertion of the target, a crash, a hang, or memory without bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from domain.errors import ChronicledError

DETAIL_CHARACTERS_MAX = 20_000
"""No text of an error is longer: what was sent is shortened before it is repeated."""


@dataclass(frozen=True)
class Target:
    """One reader of foreign bytes.

    ``seeds`` makes its corpus, from valid inputs that the code itself writes. ``run`` raises
    whatever is a finding, and returns whether anything was taken. ``json`` says that inputs are
    JSON or lines of it, so that mutations of values and keys reach further than those of bytes.
    ``words`` are tokens that it knows.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    run: Callable[[bytes], bool]
    json: bool = True
    words: tuple[str, ...] = ()


@contextmanager
def refusing() -> Iterator[None]:
    """Let an error of ours pass, if it is a clear one."""
    try:
        yield
    except ChronicledError as error:
        check_clear(error)


def check_clear(error: ChronicledError) -> None:
    """Fail unless an error says what is wrong, in bounds, and is not that of a fault of ours."""
    assert error.code != ChronicledError.code, f"an internal error: {error.detail}"
    assert error.detail, f"{type(error).__name__} says nothing"
    for text in (error.detail, error.operator_hint, *(fault.detail for fault in error.errors)):
        assert len(text) <= DETAIL_CHARACTERS_MAX, f"{type(error).__name__} is not bounded"
        text.encode()
