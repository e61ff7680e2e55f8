"""How many files and connections the process may have open at once."""

from __future__ import annotations

import resource
from typing import Final

DESCRIPTORS: Final = 65_536
"""More than all connections, streams and files of a daemon together."""


def raise_descriptor_limit() -> None:
    """Raise the soft limit to the hard one, or to `DESCRIPTORS` where that is beyond.

    The usual soft limit of 1,024 is for programs that call ``select``; the daemon does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
