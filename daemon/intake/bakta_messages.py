"""The messages of the Bakta web API by the names of their formats: what each is, how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from daemon.intake.bakta_answers import decode_list, decode_result, decode_version
from daemon.intake.bakta_calls import decode_delete, decode_init, decode_start
from daemon.intake.message import Options
from domain.events import NewEvent

Decode = Callable[[Mapping[str, Any], Options], list[NewEvent]]

BAKTA: Final[tuple[tuple[str, str, Decode], ...]] = (
    ("bakta-job-init", "a call of the Bakta web API that made a job", decode_init),
    ("bakta-job-start", "a call of the Bakta web API that started a job", decode_start),
    ("bakta-job-list", "answers of the Bakta web API about the states of jobs", decode_list),
    ("bakta-job-result", "answers of the Bakta web API with a job's results", decode_result),
    ("bakta-job-delete", "a call of the Bakta web API that deleted a job", decode_delete),
    ("bakta-version", "the versions of a Bakta server", decode_version),
)
