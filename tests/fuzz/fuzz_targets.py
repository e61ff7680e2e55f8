"""Every fuzz target, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import fuzz_backup
import fuzz_history
import fuzz_intake
from fuzz_target import Target

TARGETS: Final[Mapping[str, Target]] = {
    target.name: target
    for target in (*fuzz_intake.TARGETS, *fuzz_backup.TARGETS, *fuzz_history.TARGETS)
}
