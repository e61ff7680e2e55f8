"""``python -m daemon.replay``: started by the daemon, with a socket it inherits."""

from __future__ import annotations

import sys

from daemon.replay.child import main

sys.exit(main())
