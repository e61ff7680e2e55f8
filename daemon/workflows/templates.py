"""Templates: the tokens that are filled in, and those that only look as if they were."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from daemon.workflows.issues import Issues
from daemon.workflows.parsing import Phase
from domain.suggest import nearest, shorten

_EXACT: Final = ("min", "TS", "SLUG", "HOUR_SLUG", "DAY_SLUG", "MONTH_SLUG", "uuid")
_ANY_CASE: Final = ("yyyy", "yy", "mm", "dd", "hh", "host", "pod")
_KNOWN: Final = (*_ANY_CASE, *_EXACT)
_TOKEN: Final = re.compile(r"\{([^{}]*)\}")
_DOUBLED: Final = re.compile(r"\{\{([^{}]*)\}\}")
_META: Final = re.compile(r"meta:(\w+)")
_FILE_KEYS: Final = ("file", "filename")


def check_template(phase: Phase, issues: Issues) -> None:
    """Find what of a phase's template comes out otherwise than it looks."""
    if not phase.template:
        if phase.topic:
            issues.warning(
                "no_template", "without a template its tasks have an empty info", phase.index
            )
        return
    at = phase.template.find("#")
    # Behind a number sign nothing is filled in, unless it is the very first character.
    text, rest = (phase.template[:at], phase.template[at:]) if at > 0 else (phase.template, "")
    if any(_is_known(token) for token in _TOKEN.findall(rest)):
        issues.warning("token_after_hash", "behind a '#' no token is filled in", phase.index)
    doubled = [token for token in _DOUBLED.findall(text) if _is_known(token)]
    if doubled:
        shown = f"{{{{{doubled[0]}}}}}"
        message = f"{shown} comes out with braces around it; write {{{doubled[0]}}}"
        issues.error("doubled_braces", message, phase.index)
    if re.search(r"[{}]", _TOKEN.sub("", _DOUBLED.sub("", text))):
        issues.error("unbalanced_braces", "a brace has no partner", phase.index)
    tokens = list(dict.fromkeys(_TOKEN.findall(text)))
    for token in tokens:
        if not _is_known(token):
            _unknown(phase, token, issues)
    if text.count("{uuid}") > 1:
        issues.warning("repeated_uuid", "only the first {uuid} is filled in", phase.index)
    _check_meta(phase, [found[1] for token in tokens if (found := _META.fullmatch(token))], issues)


def _is_known(token: str) -> bool:
    return token in _EXACT or token.lower() in _ANY_CASE or bool(_META.fullmatch(token))


def _unknown(phase: Phase, token: str, issues: Issues) -> None:
    """Tell of a token that is none: an error where it is surely a slip, else a warning."""
    right = next((known for known in _KNOWN if known.lower() == token.strip().lower()), None)
    if right is not None:
        message = f"{{{token}}} is not filled in; write {{{right}}}"
        issues.error("unknown_token", message, phase.index)
    elif token.strip().lower().startswith("meta"):
        message = f"{shorten('{' + token + '}')} is not filled in; write {{meta:KEY}}"
        issues.error("unknown_token", message, phase.index)
    else:
        near = nearest(token, _KNOWN)
        hint = f"; did you mean {{{near}}}?" if near else ""
        message = f"{shorten('{' + token + '}')} is no token and stays as it is{hint}"
        issues.warning("unknown_token", message, phase.index)


def _check_meta(phase: Phase, keys: list[str], issues: Issues) -> None:
    """Find keys of ``{meta:KEY}`` that nothing which starts the phase provides."""
    rule = phase.rule
    is_batch = bool(rule.first("meta") or rule.first("meta-file"))
    if not keys or phase.depends_on or not phase.has_trigger:
        # A worker may set any key for the children, and so may who asks for a backload.
        return
    if rule.first("cron") and not rule.first("files") and not is_batch:
        message = f"{{meta:{keys[0]}}} is not filled in: a cron phase without meta has no keys"
        issues.error("meta_never_filled", message, phase.index)
        return
    provided: Collection[str] = {*_FILE_KEYS, *rule.values} if rule.first("files") else rule.meta
    missing = [key for key in keys if key not in provided]
    if missing and not rule.first("meta-file"):
        message = f"nothing provides {{meta:{missing[0]}}}"
        issues.warning("meta_not_provided", message, phase.index)
