"""Views and checkpoints over an epoch: what knows nothing of a lost tail is gone on with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest
from epoch_log import GAP, resume
from feeds import dump

from daemon.eventlog.log import EventLog
from daemon.eventlog.log_file import LogFile
from daemon.replay.checkpoints import Checkpoints
from daemon.replay.limits import Bounds
from daemon.replay.replay import replay
from daemon.replay.verify import verify
from domain.errors import NotReady
from domain.events import NewEvent
from projections.runner import ProjectionRunner
from projections.views import Views

KEPT, LOST = 30, 40
CLOSE = Bounds(count=10, spacing=10)


def submitted(first: int, last: int) -> list[NewEvent]:
    """Return one job.submitted for each number, and a start of some earlier job."""
    found = [
        NewEvent("job.submitted", f"j{n}", "/tests", f"e{n}", b'{"kind":"k"}')
        for n in range(first, last)
    ]
    found[-1] = NewEvent("job.started", f"j{first // 2}", "/tests", f"s{last}", b"{}")
    return found


@contextmanager
def appended(path: Path, first: int, last: int) -> Iterator[EventLog]:
    """Append events to the log at a path and lend it."""
    with closing(EventLog.open(path)) as log:
        log.start()
        log.append(submitted(first, last))
        yield log


def built(path: Path, log: EventLog | LogFile) -> None:
    """Bring the views at a path up to a log, and close them."""
    with closing(ProjectionRunner(path, log)) as runner:
        runner.catch_up()


@pytest.fixture
def logs(tmp_path: Path) -> tuple[Path, Path]:
    """Return a log as it was saved, and as it was when its machine was lost."""
    path, saved = tmp_path / "log.db", tmp_path / "saved.db"
    with appended(path, 0, KEPT) as log:
        pass
    shutil.copyfile(path, saved)
    with appended(path, KEPT, LOST) as log:
        assert log.head() == LOST
    return saved, path


@pytest.fixture
def views(tmp_path: Path) -> Path:
    """Return where the views are."""
    return tmp_path / "views.db"


def went_on(path: Path) -> EventLog:
    """Begin an epoch in a saved log, and append what came instead of what was lost."""
    resume(path, gap=GAP)
    log = EventLog.open(path)
    log.start()
    # Jobs that the lost tail had too come again, and are known by other events now.
    log.append(submitted(KEPT + 5, LOST + 5))
    return log


def generations(path: Path) -> list[int]:
    """Return the numbers of the live sets of tables."""
    with closing(apsw.Connection(str(path))) as db:
        rows = db.execute("SELECT generation FROM projections WHERE live ORDER BY 1")
        return [row[0] for row in rows]


def fresh(folder: Path, log: EventLog) -> object:
    """Return all rows of views that were built from nothing."""
    path = folder / "fresh.db"
    built(path, log)
    return dump(path)


def epoch_of(path: Path) -> int:
    """Return the epoch that views are of."""
    with closing(apsw.Connection(str(path))) as db:
        found: int = db.execute("SELECT value FROM views_meta WHERE key = 'epoch'").get
        return found


def test_views_without_a_lost_tail_are_gone_on_with(
    tmp_path: Path, logs: tuple[Path, Path], views: Path
) -> None:
    """The same tables are brought on into the new epoch, and are what a fresh build gives."""
    with closing(EventLog.open(logs[0])) as log:
        built(views, log)
    before = generations(views)
    with closing(went_on(logs[0])) as log:
        reader = Views(views, log=log)
        assert len(reader.list_jobs(limit=100).items) == KEPT - 1
        reader.close()
        built(views, log)
        assert generations(views) == before
        assert epoch_of(views) == 2
        assert dump(views) == fresh(tmp_path, log)


def test_views_of_a_lost_tail_are_built_afresh(
    tmp_path: Path, logs: tuple[Path, Path], views: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Views that were further on than the log is complete are no views of it any more."""
    with closing(EventLog.open(logs[1])) as log:
        built(views, log)
    with closing(went_on(logs[0])) as log:
        reader = Views(views, log=log)
        with pytest.raises(NotReady, match="of epoch 1 up to 40, of which epoch 2 has 30"):
            reader.list_jobs()
        reader.close()
        built(views, log)
        assert "built afresh" in caplog.text
        assert epoch_of(views) == 2
        assert dump(views) == fresh(tmp_path, log)


def test_views_that_know_a_stream_of_a_lost_tail_are_built_afresh(
    tmp_path: Path, logs: tuple[Path, Path], views: Path
) -> None:
    """A build that was ended may know streams beyond its position; their numbers are wrong now."""
    with closing(EventLog.open(logs[0])) as log:
        built(views, log)
    with closing(EventLog.open(logs[1])) as log:
        built(tmp_path / "ahead.db", log)
    with closing(apsw.Connection(str(views))) as db:
        db.execute("ATTACH ? AS ahead", (str(tmp_path / "ahead.db"),))
        db.execute("INSERT OR IGNORE INTO entities SELECT * FROM ahead.entities")
    with closing(went_on(logs[0])) as log:
        built(views, log)
        assert dump(views) == fresh(tmp_path, log)


def test_views_are_verified_before_they_are_gone_on_with(
    logs: tuple[Path, Path], views: Path
) -> None:
    """Between a restore and the next start good views of the epoch before are no finding."""
    with closing(EventLog.open(logs[0])) as log:
        built(views, log)
    went_on(logs[0]).close()
    for quick in (True, False):
        assert verify(logs[0], views, quick=quick).findings == []


def test_checkpoints_of_the_kept_past_stay(tmp_path: Path, logs: tuple[Path, Path]) -> None:
    """Copies before the end of what is complete serve on; those of a lost tail are removed."""
    saved, lost = logs
    with closing(LogFile(lost)) as log:
        checkpoints = Checkpoints(tmp_path, log, CLOSE)
        for position in (20, 40):
            replay(log, tmp_path / "then.db", position)
            checkpoints.save(tmp_path / "then.db", log.head())
        assert [each.position for each in checkpoints.list()] == [20, 40]
    with closing(went_on(saved)) as log:
        checkpoints = Checkpoints(tmp_path, log, CLOSE)
        assert [each.position for each in checkpoints.list()] == [20]
        checkpoints.clean()
        assert [each.name for each in checkpoints.folder.iterdir()] == [f"{20:020d}.db.zst"]
        target = tmp_path / "now.db"
        replayed = replay(log, target, log.head(), checkpoints=checkpoints)
        assert replayed == KEPT - 20 + 11
        assert dump(target) == fresh(tmp_path, log)


def test_positions_that_are_lost_do_not_space_checkpoints(
    tmp_path: Path, logs: tuple[Path, Path]
) -> None:
    """Distances are counted in positions that the log has, so none is made in a gap, or for it."""
    saved, _ = logs
    with closing(went_on(saved)) as log:
        checkpoints = Checkpoints(tmp_path, log, CLOSE)
        head = log.head()
        assert (checkpoints.count(0, head), checkpoints.spacing(head)) == (41, 10)
        assert checkpoints.beyond(25, 5) == KEPT
        assert checkpoints.beyond(25, 6) == KEPT + GAP + 1
        assert checkpoints.gap(head) == (0, head)
        replay(log, tmp_path / "then.db", head, checkpoints=checkpoints, leaving=True)
        begun = KEPT + GAP + 1
        assert [each.position for each in checkpoints.list()] == [10, 20, 30]
        assert checkpoints.gap(head) is None
        assert not checkpoints.is_wanted(begun, head)
        assert checkpoints.is_wanted(head, head)
