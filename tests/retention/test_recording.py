"""Policies in the log: each change once, with before and after, why and by whom."""

from __future__ import annotations

from typing import Any

from keeping import Kept, policies

from daemon.retention.recording import PolicyRecorder, listing, recorded, recorded_policies
from domain.retention import Policies

ENDED = {"name": "done", "category": "job", "age": "ended", "purge_after": "30d"}


def start(kept: Kept, *tables: dict[str, Any], actor: str = "ana", named: str = "") -> Policies:
    """Start as a daemon with some policies."""
    found = policies(*tables, named=named)
    PolicyRecorder(kept.log, found, actor, "file chronicled.toml").step(kept.now)
    return found


def test_what_changes_is_recorded_once(kept: Kept) -> None:
    """A start with the same policies records nothing; a new one, another one, one less does."""
    start(kept, ENDED)
    kept.after(1)
    start(kept, ENDED, actor="bo")
    (first,) = kept.stream("policy/done")
    assert "before" not in first.payload
    assert first.payload["after"]["purge_after"] == "30d"
    assert first.extensions["actor"] == "ana"
    assert first.payload["reason"] == "file chronicled.toml"
    start(kept, ENDED | {"purge_after": "40d"}, actor="bo")
    start(kept, actor="cy")
    _, second, third = kept.stream("policy/done")
    assert (second.payload["before"]["purge_after"], second.payload["after"]["purge_after"]) == (
        "30d",
        "40d",
    )
    assert third.payload["before"]["purge_after"] == "40d"
    assert "after" not in third.payload
    start(kept)
    start(kept, ENDED)
    assert len(kept.stream("policy/done")) == 4


def test_another_policy_in_front_changes_no_other(kept: Kept) -> None:
    """Where a policy stands is not what it says."""
    start(kept, ENDED)
    start(kept, ENDED | {"name": "kind", "kind": "work"}, ENDED)
    assert len(kept.stream("policy/done")) == 1
    assert len(kept.stream("policy/kind")) == 1


def test_policies_are_listed_with_since_when_and_by_whom(kept: Kept) -> None:
    """In the order in which they decide."""
    found = start(kept, ENDED)
    kept.after(1)
    found = start(kept, ENDED, named="flowlord", actor="bo")
    rows = listing(found, recorded(kept.log))
    assert [row["name"] for row in rows][:2] == ["done", "flowlord.job.archived"]
    assert (rows[0]["by"], rows[1]["by"]) == ("ana", "bo")
    assert rows[0]["since"] < rows[1]["since"]
    assert listing(policies(ENDED), {})[0]["since"] is None


def test_the_log_tells_the_policies_to_who_has_no_configuration(kept: Kept) -> None:
    """What was last recorded, in the same order; what is gone is not among it."""
    start(kept, ENDED, named="flowlord")
    found = start(kept, ENDED | {"kind": "work", "archive_after": "7d"}, named="amr")
    assert recorded_policies(kept.log).ordered == found.ordered
