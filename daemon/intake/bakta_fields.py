"""Reading what a Bakta server and its clients say, field by named field, without any secret.

Only fields that are named here or in the decoders are read; nothing else of a message is kept. A
text is kept after three things are cut out of it: secrets of a known shape, the values of the
message's own ``secret`` fields, and whatever is a run of 32 letters and digits or more, which is
what a job's secret looks like. No fault says a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, unquote

from daemon.intake.message import Moment
from daemon.intake.secrets import MASK, mask_text
from domain.errors import Fault
from domain.faults import FAULTS_MAX, raise_faults
from domain.timestamps import format_timestamp, is_missing, parse_timestamp

SOURCE: Final = "/bakta"

_RUN: Final = re.compile(r"[0-9A-Za-z]{32,}")
_QUERY: Final = re.compile(r"\?\S*=\S*")
_JOB_ID: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")
_PLAIN_UUID: Final = re.compile(r"[0-9a-f]{32}")
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")
_SECRET_MIN: Final = 4
"""A shorter value of a ``secret`` field is not looked for: it would be found everywhere."""
_VALUES_MAX: Final = 100_000
"""So many values of a message are searched for secrets."""


class Said:
    """One message: its objects are read by name, what is wrong is noted, `check` raises it."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields = fields
        self._faults: list[Fault] = []
        self._secrets = _secrets_of(fields)

    def refuse(self, pointer: str, detail: str) -> None:
        """Note what is wrong with a field; ``detail`` quotes nothing."""
        if len(self._faults) < FAULTS_MAX:
            self._faults.append(Fault(f"{pointer.lstrip('/')}: {detail}", pointer=pointer))

    def check(self) -> None:
        """Raise what is wrong.

        Raises:
            Invalid: there is something.

        """
        raise_faults(self._faults)

    def object(self, fields: Mapping[str, Any], name: str, place: str = "") -> Mapping[str, Any]:
        """Return an object, empty where there is none."""
        found = fields.get(name)
        if found is not None and not isinstance(found, dict):
            self.refuse(f"{place}/{name}", "has to be an object")
        return found if isinstance(found, dict) else {}

    def objects(
        self, fields: Mapping[str, Any], name: str, place: str = ""
    ) -> list[tuple[str, Mapping[str, Any]]]:
        """Return the objects of an array with their places."""
        found = fields.get(name)
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            self.refuse(f"{place}/{name}", "has to be an array of objects")
            return []
        return [(f"{place}/{name}/{index}", one) for index, one in enumerate(found)]

    def text(self, fields: Mapping[str, Any], name: str, place: str = "") -> str:
        """Return a text without secrets, empty where there is none."""
        found = fields.get(name)
        if found is not None and not isinstance(found, str):
            self.refuse(f"{place}/{name}", "has to be a text")
        return self.clean(found) if isinstance(found, str) else ""

    def moment(self, fields: Mapping[str, Any], name: str, place: str = "") -> Moment:
        """Return a time; of a text that is none nothing is kept."""
        text = self.text(fields, name, place)
        try:
            time = parse_timestamp(text)
        except ValueError:
            return Moment()
        return Moment() if is_missing(time) else Moment(format_timestamp(time), time)

    def word(self, fields: Mapping[str, Any], name: str, place: str = "") -> str:
        """Return a word of the server, such as a status; of what is no word nothing is kept."""
        text = self.text(fields, name, place)
        return text if _WORD.fullmatch(text) else MASK if text else ""

    def job(self, fields: Mapping[str, Any], place: str = "") -> str:
        """Return the id of a job."""
        found = fields.get("jobID")
        if isinstance(found, str) and _JOB_ID.fullmatch(found):
            if _PLAIN_UUID.fullmatch(found) and found not in self._secrets:
                return found
            if found == self.clean(found):
                return found
        self.refuse(f"{place}/jobID", "has to be the id of a job")
        return ""

    def clean(self, text: str) -> str:
        """Return a text without secrets and without the queries of addresses."""
        for spelling in dict.fromkeys((text, unquote(text))):
            if any(secret in spelling for secret in self._secrets) or _RUN.search(spelling):
                text = spelling
                break
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return _RUN.sub(MASK, mask_text(_QUERY.sub(f"?{MASK}", text)))


def query_of(text: str) -> dict[str, str]:
    """Return the fields of a query, of an address or of a query alone; the last of each name."""
    query = text.rpartition("?")[2].partition("#")[0]
    try:
        return {name: values[-1] for name, values in parse_qs(query, max_num_fields=16).items()}
    except ValueError:
        return {}


def _secrets_of(fields: Mapping[str, Any]) -> list[str]:
    """Return the values of all fields named ``secret``, the longest first."""
    found: set[str] = set()
    waiting: list[Any] = [fields]
    for _ in range(_VALUES_MAX):
        if not waiting:
            break
        one = waiting.pop()
        if isinstance(one, dict):
            secret = one.get("secret")
            if isinstance(secret, str) and len(secret) >= _SECRET_MIN:
                found.add(secret)
            waiting.extend(value for value in one.values() if isinstance(value, dict | list | str))
        elif isinstance(one, list):
            waiting.extend(value for value in one if isinstance(value, dict | list))
        elif "secret=" in one:
            found.update(each for each in [query_of(one).get("secret", "")] if each)
    return sorted(found, key=len, reverse=True)
