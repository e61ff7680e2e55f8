"""How many descriptors the daemon may have."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import resource
from daemon.descriptors import raise_descriptor_limit
raise_descriptor_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_usual_limit_of_descriptors_is_raised() -> None:
    """A soft limit of 1,024 would be used up by as many streams: it becomes the hard one."""
    limited = ["sh", "-c", 'ulimit -S -n 1024; ulimit -H -n 4096; exec "$@"', "sh"]
    command = [*limited, sys.executable, "-c", PROGRAM]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["4096", "4096"]
