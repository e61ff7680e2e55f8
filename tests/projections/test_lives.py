"""Entities that were archived and purged: the rows are those of the log that is left."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from feeds import built, dump
from hypothesis import given, note, settings
from hypothesis import strategies as st
from lived import RemovedFeed, copy_of, logs, steps
from test_bulk import NEVER, register, small

from projections import entities, job_states, states
from projections.registry import PROJECTIONS
from projections.runner import ProjectionRunner

FEW = ("one", "a::run-1:now:1")


def expected(folder: str, feed: RemovedFeed, *, removed: bool = True) -> dict[str, Any]:
    """Return the rows of a replay in log order of what is left."""
    path = Path(folder, "expected.db")
    built(path, copy_of(feed, removed=removed), bulk_events=NEVER)
    return dump(path)


@settings(max_examples=60, deadline=None)
@given(logs(), st.integers(1, 9), st.booleans())
def test_a_replay_knows_no_difference(feed: RemovedFeed, size: int, cold: bool) -> None:
    """With the replaced events or without them, in batches of any size: the same rows."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        wanted = expected(folder, feed)
        if cold:
            patch.setattr(states, "REMEMBERED_MAX", 0)
            patch.setattr(job_states, "REMEMBERED_MAX", 0)
            patch.setattr(entities, "ENTITIES_CACHED_MAX", 0)
        path = Path(folder, "views.db")
        built(path, feed, build_events=size, bulk_events=NEVER)
        assert dump(path) == wanted
        whole = Path(folder, "whole.db")
        built(whole, feed, bulk_events=NEVER)
        assert dump(whole) == wanted


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 3), st.booleans(), st.booleans())
def test_whole_streams_know_no_difference(
    source: st.DataObject, streams: int, removed: bool, beside: bool
) -> None:
    """A build of whole streams has the same rows, and stands at the same place."""
    feed = source.draw(logs(60, (*FEW, "two"), taken_over=removed))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        wanted = expected(folder, feed)
        small(patch, streams)
        path = Path(folder, "views.db")
        runner = ProjectionRunner(path, copy_of(feed, removed=removed), bulk_events=1)
        runner.catch_up()
        if beside:
            runner.request_rebuild()
            runner.catch_up()
        runner.close()
        assert dump(path) == wanted
        assert register(path) == register(Path(folder, "expected.db"))


ACTIONS = st.lists(
    st.tuples(st.just("append"), st.lists(steps(FEW), min_size=1, max_size=6))
    | st.tuples(st.just("step"), st.integers(1, 3))
    | st.tuples(st.just("rebuild"), st.sampled_from([each.name for each in PROJECTIONS]))
    | st.tuples(st.just("rebuild"), st.none())
    | st.tuples(st.sampled_from(["restart", "remove", "take over"]), st.none()),
    min_size=1,
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(ACTIONS, st.booleans(), st.booleans())
def test_lanes_that_are_apart_come_to_the_same(actions: Any, cold: bool, bulk: bool) -> None:
    """Builds beside live tables, restarts, and removals once all have passed the markers."""
    feed = RemovedFeed()
    options = {"batch_events": 3, "build_events": 4, "bulk_events": 1 if bulk else NEVER}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("projections.runner.BESIDE_EVENTS", 2)
        small(patch, 1)
        if cold:
            patch.setattr(entities, "ENTITIES_CACHED_MAX", 0)
        path = Path(folder, "views.db")
        runner = ProjectionRunner(path, feed, **options)  # type: ignore[arg-type]
        for action, value in actions:
            if action == "append":
                for step in value:
                    step(feed)
            elif action == "step":
                for _ in range(value):
                    runner.step(0)
            elif action == "rebuild":
                runner.request_rebuild(value)
            elif action == "restart":
                runner.close()
                runner = ProjectionRunner(path, feed, **options)  # type: ignore[arg-type]
            else:
                runner.catch_up()
                feed.remove()
                if action == "take over":
                    feed.take_over()
                    feed.remove()
        runner.catch_up()
        runner.close()
        note(str([(each.position, each.type, each.subject) for each in feed.events]))
        assert dump(path) == expected(folder, feed)
