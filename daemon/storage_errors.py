"""What SQLite and the file system raise, as our errors of storage."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import apsw

from domain.errors import ChronicledError, DiskFull, StorageFailed


@contextmanager
def as_storage_errors(
    what: str,
    translate: Callable[[apsw.Error], ChronicledError],
    kinds: tuple[type[apsw.Error], ...] = (apsw.Error,),
) -> Iterator[None]:
    """Raise what is raised inside as an error of storage, about ``what`` is written.

    ``translate`` returns our error for one of SQLite's; others than those ``kinds`` are let pass.

    Raises:
        DiskFull, StorageFailed: the disk refused; and what ``translate`` returns.

    """
    try:
        yield
    except kinds as error:
        raise translate(error) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (DiskFull if full else StorageFailed)(
            f"{what} cannot be written: {error.strerror}"
        ) from error
