"""The settings of sources: what each kind needs, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.config import load
from domain.errors import ConfigurationError

FILE = 'kind = "file"\npath = "/var/a"\n'
NATS = 'kind = "nats"\nurl = "nats://h:4222"\nstream = "S"\nsubject = "s.>"\n'


def read(tmp_path: Path, *entries: str) -> None:
    """Load a configuration of these sources, named a, b, and so on."""
    config = tmp_path / "chronicled.toml"
    named = zip("abc", entries, strict=False)
    config.write_text("".join(f'[[sources]]\nname = "{name}"\n{entry}' for name, entry in named))
    load(file=config, data=tmp_path, environment={})


def test_a_source_of_each_kind(tmp_path: Path) -> None:
    """What each kind needs is enough."""
    read(tmp_path, FILE, 'kind = "folder"\npath = "/var/b"\n', NATS)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('kind = "file"\n', "kind file needs path"),
        ('kind = "nats"\nurl = "nats://h"\nstream = "S"\n', "kind nats needs subject"),
        (FILE + 'format = "flowlord-tsk"\n', "flowlord-task"),
        (FILE + 'subject = "s"\n', "kind file has no subject"),
        ('kind = "file"\npath = "a"\n', "absolute"),
        ('kind = "folder"\npath = "/a"\nafter = "move"\n', "moved_to"),
        ('kind = "folder"\npath = "/a"\nafter = "move"\nmoved_to = "b"\n', "absolute"),
        ('kind = "folder"\npath = "/a"\nafter = "move"\nmoved_to = "/a/../a/"\n', "another"),
        (NATS.replace("h:4222", "u:p@h"), "no password"),
        (NATS.replace("nats://", "http://"), "must be nats://"),
        (FILE + 'pth = "s"\n', "unknown key pth"),
    ],
)
def test_what_is_refused(tmp_path: Path, entry: str, said: str) -> None:
    """A fault is named together with what helps."""
    with pytest.raises(ConfigurationError, match=said):
        read(tmp_path, entry)


@pytest.mark.parametrize("entry", [FILE, NATS + 'durable = "d"\n'])
def test_two_sources_may_not_read_the_same(tmp_path: Path, entry: str) -> None:
    """One file, or one consumer, has one reader."""
    with pytest.raises(ConfigurationError, match="'a' reads the same"):
        read(tmp_path, entry, entry)
