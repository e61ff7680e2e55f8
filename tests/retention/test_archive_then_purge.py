"""A job's whole way by the policies: into the archive, and out of it for good."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

from keeping import Kept

from daemon.archive.opening import make_archive
from daemon.backup.directory_store import DirectoryStore
from daemon.backup.errors import StoreUnavailable
from daemon.replay.verify import verify


def test_a_job_is_archived_and_purged_by_its_policies(tmp_path: Path) -> None:
    """Its events and files are in the archive first, and nowhere in the end; its counts stay."""
    data, root = tmp_path / "data", tmp_path / "results"
    data.mkdir()
    root.mkdir()
    with Kept(data) as kept:
        store = DirectoryStore(tmp_path / "archive")

        def wait(_position: int) -> bool:
            kept.project()
            return True

        archive = make_archive(store, data, root, kept.log, kept.views, wait)
        kept.by(named="amr", archiver=archive.archiver)

        def apply() -> None:
            assert not kept.apply().left
            while archive.service.step(kept.now) == 0:
                pass
            kept.truncation.run_dry()
            kept.project()

        kept.job("a", "started", "succeeded")
        (root / "a.gff3").write_bytes(b"features")
        kept.say(
            "result.recorded", "a/gff3", job="a", path="a.gff3", bytes=8,
            sha256=sha256(b"features").hexdigest(),
        )  # fmt: skip
        kept.after(7)
        assert kept.due() == {"a": "archive"}
        apply()
        assert kept.types("job/a") == ["job.archived"]
        assert kept.stream("job/a")[0].payload["rule"] == "amr.job.succeeded"
        assert list(root.iterdir()) == []
        assert len(list(store.list(""))) >= 2
        shown, _ = kept.views.job("a")
        assert shown is not None
        assert shown["archived"]
        kept.after(89)
        assert kept.due() == {}
        kept.after(1)
        (item,) = kept.plan().items
        assert (item.action, item.rule) == ("purge", "amr.job.archived")
        assert [part.stream for part in item.parts] == ["result/a/gff3"]
        apply()
        assert kept.types("job/a") == ["job.purged"]
        assert kept.types("result/a/gff3") == ["result.purged"]
        assert list(store.list("")) == []
        assert kept.views.job("a")[0] is None
        assert kept.views.summary()["jobs"]["by_status"] == {"succeeded": 1}
        assert kept.due() == {}
        kept.log.close()
        assert verify(data / "log.db", data / "views.db").findings == []


def test_a_job_that_is_pinned_within_the_run_is_not_archived(tmp_path: Path) -> None:
    """What was decided holds for the job as it was then: a pin that comes in between counts."""
    data, root = tmp_path / "data", tmp_path / "results"
    data.mkdir()
    root.mkdir()
    with Kept(data) as kept:

        def pin_and_wait(_position: int) -> bool:
            if "job.pinned" not in kept.types("job/a"):
                kept.say("job.pinned", "a", reason="a legal hold")
            kept.project()
            return True

        store = DirectoryStore(tmp_path / "archive")
        archive = make_archive(store, data, root, kept.log, kept.views, lambda _: True)
        kept.by(named="amr", archiver=archive.archiver)
        kept.job("a", "started", "succeeded")
        kept.after(8)
        plan = kept.plan()
        archive.archiver._wait = pin_and_wait
        applied = kept.apply(plan)
        assert [(item.id, str(why)) for item, why in applied.left] == [("a", "moved on")]
        assert kept.types("job/a")[-1] == "job.pinned"
        assert list(store.list("")) == []


def test_a_store_that_does_not_answer_is_asked_once(tmp_path: Path) -> None:
    """Whoever waits for each job in turn waits for days; the next run tries again."""
    data = tmp_path / "data"
    data.mkdir()
    with Kept(data) as kept:

        def wait(_position: int) -> bool:
            kept.project()
            return True

        class Away(DirectoryStore):
            asked = 0

            def put_if_absent(self, *_arguments: Any, **_more: Any) -> NoReturn:
                self.asked += 1
                raise StoreUnavailable("it does not answer")

        store = Away(tmp_path / "archive")
        archive = make_archive(store, data, None, kept.log, kept.views, wait)
        kept.by(named="amr", archiver=archive.archiver)
        for number in range(3):
            kept.job(f"j{number}", "started", "succeeded")
        kept.after(8)
        applied = kept.apply()
        assert [str(why) for _, why in applied.left] == ["archive failed"] * 3
        assert store.asked == 1
