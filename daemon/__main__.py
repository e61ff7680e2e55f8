"""``python -m daemon`` is the command ``chronicled``."""

from __future__ import annotations

from daemon.cli.main import run

if __name__ == "__main__":
    run()
