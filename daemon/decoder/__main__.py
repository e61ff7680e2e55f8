"""``python -m daemon.decoder``: started by the daemon, with a socket it inherits."""

from __future__ import annotations

import sys

from daemon.decoder.child import main

sys.exit(main())
