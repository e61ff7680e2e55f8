"""``python -m daemon.projector``: started by the daemon, with two sockets it inherits."""

from __future__ import annotations

import sys

from daemon.lifecycle import loading

with loading():
    from daemon.projector.child import main

sys.exit(main())
