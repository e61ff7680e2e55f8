"""Stores to run against: a directory, an emulator, our strict fake, and any given endpoint."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from gcp_storage_emulator.server import create_server
from gcs_fake import GcsFake
from stores import Open, bucket_opener

from daemon.backup.directory_store import DirectoryRegister, DirectoryStore
from daemon.backup.store import Capabilities, Place


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """Return the address of a running gcp-storage-emulator with a bucket ``kept``."""
    with create_server("127.0.0.1", 0, in_memory=True, default_bucket="kept") as server:
        yield f"http://127.0.0.1:{server._api._httpd.server_port}"


@pytest.fixture
def gcs_fake() -> Iterator[GcsFake]:
    """Return a running strict fake of Google Cloud Storage with a bucket ``kept``."""
    with GcsFake("kept") as fake:
        yield fake


STORES = ["directory", "emulator", "fake"]
if ENDPOINT := os.environ.get("CHRONICLED_TEST_GCS_ENDPOINT"):
    STORES.append("endpoint")


@pytest.fixture(params=STORES)
def open_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Return what opens an empty place, for each kind of store."""
    if request.param == "directory":
        root = tmp_path / "kept"
        yield lambda: Place(DirectoryStore(root), DirectoryRegister(root))
    elif request.param == "emulator":
        weak = Capabilities(preconditions=False)
        yield bucket_opener(request.getfixturevalue("emulator"), "kept", capabilities=weak)
    elif request.param == "fake":
        yield bucket_opener(request.getfixturevalue("gcs_fake").url, "kept")
    else:
        assert ENDPOINT is not None
        opened = bucket_opener(ENDPOINT, os.environ["CHRONICLED_TEST_GCS_BUCKET"])
        yield opened
        objects = opened().objects
        for stored in objects.list(""):
            objects.delete(stored.name)


@pytest.fixture
def place(open_place: Open) -> Place:
    """Return an empty place."""
    return open_place()


@pytest.fixture
def preconditions(place: Place) -> None:
    """Leave out a test of preconditions for a store that declares that it has none."""
    if not place.objects.capabilities.preconditions:
        pytest.skip("this store declares that it has no preconditions")
