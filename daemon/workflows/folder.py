"""The workflow files of a path: one file, or every file of a directory tree."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from daemon.workflows.workflow_file import FILE_BYTES_MAX

FILES_MAX: Final = 10_000
"""More files than this in a tree are too many; then nothing of it counts as gone."""


@dataclass
class Listing:
    """What lies below a path; ``problems`` says by name what could not be looked at.

    A problem of the whole path has the name ``.``.
    """

    files: dict[str, Path] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def lacks(self, name: str) -> bool:
        """Return whether a file that was there is gone, as far as that can be told."""
        places = [name, *(parent.as_posix() for parent in Path(name).parents)]
        return name not in self.files and not any(place in self.problems for place in places)


def list_files(root: Path) -> Listing:
    """Return the workflow files of a file or directory, by their path relative to it.

    Every regular file counts, whatever its name is, hidden ones too; links to files are followed,
    links to directories are not.
    """
    listing = Listing()
    try:
        mode = root.stat().st_mode
    except (OSError, ValueError) as error:
        listing.problems["."] = f"{root} is not there: {_reason(error)}"
        return listing
    if not stat.S_ISDIR(mode):
        listing.files[root.name] = root
        return listing
    waiting = [root]
    while waiting:
        waiting += _look(root, waiting.pop(), listing)
        if len(listing.files) > FILES_MAX:
            listing.problems["."] = f"{root} holds more than {FILES_MAX} files"
            listing.files = dict(list(listing.files.items())[:FILES_MAX])
            break
    if not listing.files and not listing.problems:
        # What was mounted there may be gone, and looks like this.
        listing.problems["."] = f"{root} is empty"
    return listing


def read_file(path: Path) -> bytes:
    """Return the bytes of a workflow file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, or too large.

    """
    # A pipe would be waited for without this.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123  a descriptor, not a path
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no regular file")
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"it is larger than {FILE_BYTES_MAX} bytes")
    return content


def _look(root: Path, directory: Path, listing: Listing) -> list[Path]:
    """Add the files of one directory; return the directories in it, the last by name first."""
    name = directory.relative_to(root).as_posix()
    try:
        with os.scandir(directory) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        listing.problems[name] = f"{name} cannot be listed: {_reason(error)}"
        return []
    below = []
    for entry in entries:
        path = Path(entry.path)
        relative = path.relative_to(root).as_posix()
        try:
            relative.encode()
            if entry.is_dir(follow_symlinks=False):
                below.append(path)
            elif entry.is_file():
                listing.files[relative] = path
        except UnicodeEncodeError:
            shown = relative.encode(errors="replace").decode()
            listing.problems[shown] = f"{shown} is no name in UTF-8"
        except OSError as error:
            listing.problems[relative] = f"{relative} cannot be looked at: {_reason(error)}"
    return below[::-1]


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
