"""Starting a child: a module of this program, in a process that inherits what it is given only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[1]


def start_child(
    module: str, arguments: Iterable[int], descriptors: Iterable[int]
) -> subprocess.Popen[bytes]:
    """Run a module with the same interpreter and environment; it keeps these descriptors open.

    Raises:
        OSError: it could not be started.

    """
    search = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(  # noqa: S603  our own program
        [sys.executable, "-P", "-m", module, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": search},
        stdin=subprocess.DEVNULL,
        pass_fds=tuple(descriptors),
    )
