"""Fixtures of the archive's tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The strict fake of Google Cloud Storage is kept where it is used most.
sys.path.append(str(Path(__file__).parent.parent / "backup"))

from archive_site import Site
from gcs_fake import GcsFake
from stores import bucket_opener


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return an empty site whose archive is a directory."""
    with Site(tmp_path) as site:
        yield site


@pytest.fixture
def gcs_fake() -> Iterator[GcsFake]:
    """Return a running strict fake of Google Cloud Storage with a bucket ``kept``."""
    with GcsFake("kept") as fake:
        yield fake


@pytest.fixture
def bucket_site(tmp_path: Path, gcs_fake: GcsFake) -> Iterator[Site]:
    """Return an empty site whose archive is in a bucket."""
    store = bucket_opener(gcs_fake.url, "kept")().objects
    with Site(tmp_path, store) as site:
        yield site
