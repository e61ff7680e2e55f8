"""The ``meta`` text of a task: ``key=value&key=value``, in either of its two spellings.

Some producers write it percent-encoded, some as it is; what it says is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote_plus, unquote_plus

from daemon.intake.secrets import mask_value, may_hold_secrets

MetaValue = str | list[str]


class Meta:
    """What a ``meta`` text says, secrets masked, and the text itself.

    ``raw`` is the text as it came; where a secret had to be masked, it is written anew.
    """

    def __init__(self, raw: str) -> None:
        pairs = [_pair(part) for part in raw.split("&") if part]
        self.raw = raw
        if may_hold_secrets(unquote_plus(raw).encode()):
            masked = [(key, mask_value(key, value)) for key, value in pairs]
            if masked != pairs:
                self.raw = "&".join(f"{quote_plus(key)}={quote_plus(one)}" for key, one in masked)
            pairs = masked
        self._values: dict[str, list[str]] = {}
        for key, value in pairs:
            self._values.setdefault(key, []).append(value)

    def first(self, key: str) -> str:
        """Return the first value of a key, empty where there is none."""
        return self._values.get(key, [""])[0]

    @property
    def values(self) -> Mapping[str, MetaValue]:
        """Every key with its value, or with the list of its values where it is repeated."""
        return {
            key: values[0] if len(values) == 1 else values for key, values in self._values.items()
        }


def _pair(part: str) -> tuple[str, str]:
    """Split at the first ``=``, then decode; a broken ``%`` stays as it is."""
    key, _, value = part.partition("=")
    return unquote_plus(key), unquote_plus(value)
