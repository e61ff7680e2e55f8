"""``python -m daemon.replay``: a verification in a process of its own, for the daemon."""

from __future__ import annotations

import sys

from daemon.replay.verifier import main

sys.exit(main())
