"""What can go wrong with the archive.

::

    ChronicledError
      ArchiveError                  500  archive_failed
        NoArchive                   409  no_archive         none is configured
        NotArchived                 404  not_archived
        ArchiveDamaged              500  archive_damaged    an object is not what was stored
        FileInTheWay                409  file_in_the_way    another file is where one belongs
      ViewsBehind (NotReady)        503  not_ready

What the store itself says (`daemon.backup.errors`) comes out as it is.
"""

from __future__ import annotations

from domain.errors import ChronicledError


class ArchiveError(ChronicledError):
    """A step of the archive failed."""

    code = "archive_failed"
    title = "The archive failed"
    hint = "`chronicled archive verify` says which objects are right; the log is not affected."


class NoArchive(ArchiveError):
    """No archive is configured."""

    code = "no_archive"
    status = 409
    title = "There is no archive"
    hint = "Set [retention] archive, and start again."


class NotArchived(ArchiveError):
    """The job is not in the archive."""

    code = "not_archived"
    status = 404
    title = "Not archived"
    hint = "`chronicled archive list` says which jobs are."


class ArchiveDamaged(ArchiveError):
    """An object of the archive does not hold what was stored."""

    code = "archive_damaged"
    title = "An object of the archive is damaged"
    hint = "Bring it back from a copy of the archive; `chronicled archive verify` checks it."


class FileInTheWay(ArchiveError):
    """Another file is where one of the archive belongs."""

    code = "file_in_the_way"
    status = 409
    title = "Another file is in the way"
    hint = "Move it, and restore again; nothing was changed."
