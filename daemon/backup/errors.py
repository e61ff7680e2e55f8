"""What can go wrong between the log and an object store.

::

    ChronicledError
      BackupError                   500  backup_failed
        StoreUnavailable            503  store_unavailable    may pass by itself: try again
        StoreRefused                502  store_refused        an operator has to act
          PlaceEmpty                502  place_empty          it had a backup, and has none
        ObjectMissing               404  object_missing
        ObjectDamaged               500  object_damaged
        AlreadyThere                409  object_exists        another object has that name
        SwapLost                    409  swap_lost            somebody else wrote the manifest
        NotTheWriter                409  not_the_writer       the place belongs to another daemon
        NoBackup                    404  no_backup
        RestoreRefused              (exit 4)  restore_refused

Texts name objects and positions, never what is in them, an address with a token, or a key.
"""

from __future__ import annotations

from typing import ClassVar, Final

from domain.errors import ChronicledError

_ANOTHER_WAY: Final = (
    "`chronicled backup prove NAME` says which snapshots are right, `chronicled backup list` which "
    "there are; an earlier moment may still come back."
)


class BackupError(ChronicledError):
    """A step of the backup failed."""

    code = "backup_failed"
    title = "Backup failed"
    hint = "`chronicled backup status` says which step; the log itself is not affected."


class StoreUnavailable(BackupError):
    """The object store does not answer, or says that it cannot for now."""

    code = "store_unavailable"
    status = 503
    title = "The object store cannot be reached"
    retry_after_seconds: ClassVar[int] = 10
    hint = "It is tried again; check the network and the store's own status."


class StoreRefused(BackupError):
    """The object store answers, and does not let us: credentials, rights, or no such bucket."""

    code = "store_refused"
    status = 502
    title = "The object store refuses"
    hint = "Check [backup] url, that the bucket exists, and the rights of the service account."


class PlaceEmpty(StoreRefused):
    """The place has had the backup of this log, and has nothing now."""

    code = "place_empty"
    title = "The place of the backup is empty"
    hint = (
        "Is its disk mounted, its prefix the right one? To begin a new backup there: stop the "
        "daemon, and run `chronicled backup takeover`."
    )


class ObjectMissing(BackupError):
    """An object that should be there is not."""

    code = "object_missing"
    status = 404
    title = "An object is missing"
    hint = _ANOTHER_WAY


class ObjectDamaged(BackupError):
    """An object does not hold what was stored: its length or a checksum differs."""

    code = "object_damaged"
    title = "An object is damaged"
    hint = _ANOTHER_WAY


class AlreadyThere(BackupError):
    """There is an object of that name, and it holds something else."""

    code = "object_exists"
    status = 409
    title = "Another object has that name"


class SwapLost(BackupError):
    """The small object is no longer what it was when it was read."""

    code = "swap_lost"
    status = 409
    title = "Somebody else wrote the manifest"


class NotTheWriter(BackupError):
    """The place in the store belongs to another daemon."""

    code = "not_the_writer"
    status = 409
    title = "Another daemon ships to this place"
    hint = (
        "Give this daemon another [backup] url; or, when the other one is gone for good, stop this "
        "one and run `chronicled backup takeover`."
    )


class NoBackup(BackupError):
    """There is no backup that would do."""

    code = "no_backup"
    status = 404
    title = "There is no such backup"
    hint = "`chronicled backup list` says what there is."


class RestoreRefused(BackupError):
    """The daemon does not start on this log and this backup: one of them would lose events."""

    code = "restore_refused"
    status = 409
    title = "Restore refused"
    exit_code = 4


def emptied() -> PlaceEmpty:
    """Return the error of a place that has had the backup of a log, and has no manifest now."""
    return PlaceEmpty("the place has had the backup of this log, and has no manifest now")
