"""Purges that are forgotten after their time, beside whoever reads all of the log."""

from __future__ import annotations

import pytest
from keeping import DAY, Kept

from daemon.eventlog.truncation import Bound
from daemon.retention import summarising as summarising_module
from daemon.retention.summarising import Summarising
from domain.epochs import day_stream
from projections.summary import day_text


def forgetting(kept: Kept) -> Summarising:
    """Return what forgets purges after ten days."""

    def wait(_position: int) -> bool:
        kept.project()
        return True

    return Summarising(
        kept.log,
        kept.views,
        10 * DAY,
        alone=kept.retention.alone,
        wait=wait,
        bound=lambda: Bound(kept.log.head() + 1),
    )


def test_no_purge_is_forgotten_while_somebody_reads_the_log(kept: Kept) -> None:
    """A verification meets each tombstone, or none; the next run forgets them."""
    kept.by({"category": "job", "age": "ended", "purge_after": "1d"})
    kept.job("a", "succeeded")
    kept.after(2)
    kept.apply()
    kept.after(20)
    with kept.log.keeping("a verification"):
        assert forgetting(kept).run(kept.now) == {"forgotten": 0}
        assert kept.types("job/a") == ["job.purged"]
    assert forgetting(kept).run(kept.now) == {"forgotten": 1}
    assert kept.types("job/a") == []


def test_all_pages_of_old_purges_are_forgotten_in_one_run(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are; the day's counts are told by one event."""
    monkeypatch.setattr(summarising_module, "TOMBSTONES_AT_ONCE", 2)
    kept.by({"category": "job", "age": "ended", "purge_after": "1d"})
    began = kept.now
    for number in range(5):
        kept.job(f"j{number}", "succeeded")
    kept.after(2)
    kept.apply()
    kept.after(20)
    assert forgetting(kept).run(kept.now) == {"forgotten": 5}
    kept.project()
    assert kept.views.summary()["jobs"]["by_status"] == {"succeeded": 5}
    assert len(kept.stream(day_stream(kept.log.log_id, day_text(began // DAY)))) == 1
