"""From the url of a place to its store: what is taken, and what is refused, with the reason."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from gcs_fake import GcsFake
from hypothesis import given
from hypothesis import strategies as st
from stores import content_of, put

from daemon.backup.errors import StoreRefused
from daemon.backup.places import check_url, open_place
from domain.errors import ConfigurationError

DATA = Path("/var/lib/chronicled")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "neither file:// nor gs://; known are: file, gs"),
        ("/var/backups", "neither file:// nor gs://"),
        ("gcs://bucket", "did you mean 'gs'?"),
        ("files:///dir", "did you mean 'file'?"),
        ("https://storage.googleapis.com/bucket", "neither file:// nor gs://"),
        ("file://host/dir", "three slashes, and no host"),
        ("file://dir", "three slashes, and no host"),
        ("file:dir", "a whole path"),
        ("file://", "a whole path"),
        ("file:///dir%00", "a whole path"),
        ("file:///dir%ff", "not UTF-8"),
        ("file:///dir?a=b", "no user, query or fragment"),
        ("file:///dir#a", "no user, query or fragment"),
        ("gs://", "the name of a bucket"),
        ("gs:///prefix", "the name of a bucket"),
        ("gs://Bucket", "the name of a bucket"),
        ("gs://b", "the name of a bucket"),
        ("gs://bucket:80/prefix", "the name of a bucket"),
        ("gs://user:secret@bucket/prefix", "no user, query or fragment"),
        ("gs://bucket/prefix?token=secret", "no user, query or fragment"),
        ("gs://bucket/a//b", "an empty or a hidden part"),
        ("gs://bucket/../b", "an empty or a hidden part"),
        ("gs://[bucket", "not a url"),
    ],
)
def test_what_is_no_place(url: str, reason: str) -> None:
    """A url that names no place is refused with the reason, and is not repeated."""
    with pytest.raises(ConfigurationError) as caught:
        check_url(url, DATA)
    assert reason in caught.value.detail
    assert "secret" not in caught.value.detail
    assert "gs://bucket/prefix" in caught.value.operator_hint


@pytest.mark.parametrize(
    "url",
    [
        "gs://bucket",
        "gs://bucket/",
        "gs://my.bucket-1_a/prefix/of/ours/",
        "gs://bucket/%C3%BC%20x",
        "file:///var/backups/chronicled",
        "file:///var/lib/chronicled-backup",
        "FILE:///var/backups/",
    ],
)
def test_what_is_a_place(url: str) -> None:
    """These are taken, and nothing is asked of them yet."""
    check_url(url, DATA)


@given(st.text())
def test_no_text_does_anything_else(text: str) -> None:
    """Whatever is written there, it is a place or a configuration error."""
    for url in (text, f"gs://{text}", f"file://{text}", f"file:///{text}"):
        with contextlib.suppress(ConfigurationError):
            check_url(url, DATA)


def test_the_data_directory_is_no_place(tmp_path: Path) -> None:
    """A place in the data directory, around it, or it itself is refused, links or not."""
    data = tmp_path / "state" / "data"
    data.mkdir(parents=True)
    (tmp_path / "link").symlink_to(data)
    (tmp_path / "around").symlink_to(data.parent)
    inside = [data, data / "backup", tmp_path / "link", tmp_path / "link" / "backup"]
    inside += [data / ".." / "data" / "x"]
    for place in inside:
        with pytest.raises(ConfigurationError, match="it is in the data directory"):
            check_url(f"file://{place}", data)
    for place in (data.parent, tmp_path, tmp_path / "around", Path("/")):
        with pytest.raises(ConfigurationError, match="the data directory is in it"):
            check_url(f"file://{place}", data)
    with pytest.raises(ConfigurationError, match="it is in the data directory"):
        check_url(f"file://{data}", tmp_path / "link")
    with pytest.raises(ConfigurationError, match="it is in the data directory"):
        open_place(f"file://{data}", data=data)
    check_url(f"file://{data}-backup", data)


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    """A link that leads in a circle is refused."""
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(ConfigurationError, match="cannot be followed"):
        check_url(f"file://{tmp_path}/circle/x", tmp_path / "data")


def test_a_directory_is_opened(tmp_path: Path) -> None:
    """What stands behind % in the path is the name of the directory, and it is shown as given."""
    place = open_place(f"file://{tmp_path}/a%20b%23", data=tmp_path / "data")
    put(place, "segments/a")
    assert (tmp_path / "a b#" / "segments" / "a").read_bytes() == b"content"
    assert place.objects.url == f"file://{tmp_path}/a%20b%23"


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_a_bucket_is_opened_where_the_environment_says(
    gcs_fake: GcsFake, tmp_path: Path, scheme: str
) -> None:
    """``STORAGE_EMULATOR_HOST`` is honoured, without credentials even where there are some."""
    key = tmp_path / "key.json"
    key.write_text("no key")
    environment = {"STORAGE_EMULATOR_HOST": scheme + gcs_fake.url.removeprefix("http://")}
    place = open_place(
        "gs://kept/of/ours", data=tmp_path / "data", environment=environment, credentials=key
    )
    put(place, "segments/a")
    assert content_of(place, "segments/a") == b"content"
    assert gcs_fake.objects.names("kept") == ["of/ours/segments/a"]
    assert place.objects.url == "gs://kept/of/ours"


def test_the_whole_bucket_is_a_place(gcs_fake: GcsFake, tmp_path: Path) -> None:
    """Without a prefix, names of objects are those in the bucket."""
    environment = {"STORAGE_EMULATOR_HOST": gcs_fake.url}
    place = open_place("gs://kept", data=tmp_path, environment=environment)
    put(place, "segments/a")
    place.register.swap(b"one", None)
    assert gcs_fake.objects.names("kept") == ["manifest.json", "segments/a"]


def test_the_key_is_read(tmp_path: Path) -> None:
    """A key that is named is really read; what is wrong with it is told."""
    key = tmp_path / "key.json"
    place = open_place("gs://kept", data=tmp_path, environment={}, credentials=key)
    with pytest.raises(StoreRefused, match="No such file"):
        place.objects.find("a")
    key.write_text("{}")
    place = open_place("gs://kept", data=tmp_path, environment={}, credentials=key)
    with pytest.raises(StoreRefused, match="the file does not hold one"):
        place.objects.find("a")


def test_a_directory_needs_nothing_of_google(tmp_path: Path, repository: Path) -> None:
    """Opening a directory does not load Google's client, which takes its time."""
    script = (
        "import sys, pathlib\n"
        "from daemon.backup.places import open_place\n"
        f"open_place('file://{tmp_path}/kept', data=pathlib.Path('/nowhere'))\n"
        "assert not [name for name in sys.modules if name.startswith(('google.', 'requests'))]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=repository)
