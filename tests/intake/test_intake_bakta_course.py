"""The course of a Bakta job by the polls of its list: repeats, ends, starting over, absence."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from bakta_log import told_log
from bakta_samples import INIT, JOB, START, listed, poll, result, state

from domain.timestamps import parse_timestamp

RESCHEDULED = [
    poll("RUNNING", "17:03:00"),
    poll("ERROR", "17:05:00"),
    poll("RUNNING", "17:40:00.5"),
    poll("RUNNING", "17:45:00"),
    poll("SUCCESSFUL", "17:50:00"),
]


def test_many_polls_of_a_running_job_are_one_event(tmp_path: Path) -> None:
    """Seventeen answers with a moving ``updated`` add one event; the others are duplicates."""
    with told_log(tmp_path) as told:
        receipts = [
            told.tell(poll("RUNNING", f"17:{minute}:00.{minute}")).receipts
            for minute in range(10, 27)
        ]
        assert told.log.head() == 1
        (event,) = told.events()
    assert [each.duplicate for (each,) in receipts] == [False] + [True] * 16
    assert not any(each.differs for (each,) in receipts)
    assert (event.type, event.time) == ("job.started", parse_timestamp("2026-02-04T17:10:00.1Z"))
    assert event.payload == {
        "native_status": "RUNNING",
        "extra": {"name": "pOSAK1.fna", "started": "2026-02-04T17:01:14Z"},
    }


def test_absent_is_not_lost(tmp_path: Path) -> None:
    """A job in neither list, as between its making and its start, is as it was."""
    with told_log(tmp_path) as told:
        told.tell(INIT, "bakta-job-init")
        appended = told.tell(listed())
        assert (appended.receipts, appended.dead_letters) == ((), 0) or not appended.receipts
        assert told.types() == ["job.submitted"]
        assert told.job()["status"] == "submitted"


def test_what_the_server_does_not_know_is_lost_and_may_be_found(tmp_path: Path) -> None:
    """NOT_FOUND after a restart and UNAUTHORIZED lose the job once; a later poll finds it."""
    with told_log(tmp_path) as told:
        told.tell(poll("RUNNING", "17:03:00"))
        for _ in range(3):
            told.tell({"time": "2026-02-04T17:04:00Z", "response": listed(job="UNAUTHORIZED")})
        lost = told.job()
        assert told.types() == ["job.started", "job.lost"]
        told.tell(poll("RUNNING", "17:05:00"))
        told.tell(poll("RUNNING", "17:06:00"))
        assert told.types() == ["job.started", "job.lost", "job.started"]
        assert told.job()["status"] == "running"
    assert (lost["status"], lost["native_status"]) == ("lost", "UNAUTHORIZED")
    assert lost["error"] is None


def test_a_deleted_result_does_not_undo_its_success(tmp_path: Path) -> None:
    """A job that ended well and is then not found was cleared away: that is noted only."""
    with told_log(tmp_path) as told:
        told.tell(poll("SUCCESSFUL", "17:08:40"))
        told.tell(listed(job="NOT_FOUND"))
        told.tell(listed(job="NOT_FOUND"))
        assert told.types() == ["job.succeeded", "job.progressed"]
        job = told.job()
    assert (job["status"], job["native_status"]) == ("succeeded", "SUCCESSFUL")


def test_a_success_that_comes_after_the_loss_stands(tmp_path: Path) -> None:
    """Told late, an end is more than that the server forgot the job since."""
    with told_log(tmp_path) as told:
        told.tell(listed(job="NOT_FOUND"))
        told.tell(poll("SUCCESSFUL", "17:08:40"))
        assert told.job()["status"] == "succeeded"


def test_a_job_may_run_again_after_an_error(tmp_path: Path) -> None:
    """The server scheduled it anew: failed, running again, succeeded, each shown in its turn."""
    with told_log(tmp_path) as told:
        shown = []
        for answer in RESCHEDULED:
            told.tell(answer)
            shown.append(told.job()["status"])
        assert shown == ["running", "failed", "running", "running", "succeeded"]
        assert told.types() == ["job.started", "job.failed", "job.started", "job.succeeded"]


def test_whatever_is_told_again_adds_nothing(tmp_path: Path) -> None:
    """Every answer again, in order and backwards, alone and in one body, as body and as lines."""
    with told_log(tmp_path) as told:
        for answer in RESCHEDULED:
            told.tell(answer)
        before = (told.log.head(), told.job())
        for answer in [*RESCHEDULED, *reversed(RESCHEDULED)]:
            told.tell(answer)
        told.tell(RESCHEDULED)
        told.tell_lines(*RESCHEDULED)
        assert (told.log.head(), told.job()) == before


def test_one_body_says_the_same_as_many(tmp_path: Path) -> None:
    """Answers in one array see each other, as they do when they come one by one."""
    with told_log(tmp_path) as told:
        told.tell(RESCHEDULED)
        assert told.types() == ["job.started", "job.failed", "job.started", "job.succeeded"]


@pytest.mark.parametrize("last", [3, 5])
def test_the_order_of_answers_does_not_matter(tmp_path: Path, last: int) -> None:
    """Every order of the first answers ends in one status; then all again adds nothing."""
    wanted = {3: "running", 5: "succeeded"}[last]
    for number, order in enumerate(permutations(RESCHEDULED[:last])):
        path = tmp_path / str(number)
        path.mkdir()
        with told_log(path) as told:
            for answer in order:
                told.tell(answer)
            assert told.job()["status"] == wanted, order
            before = told.log.head()
            for answer in order:
                told.tell(answer)
            assert (told.log.head(), told.job()["status"]) == (before, wanted), order


def test_a_poll_that_lags_behind_the_end_starts_nothing(tmp_path: Path) -> None:
    """The server looks every 15 s: RUNNING a moment after the end is of before it."""
    late, end = poll("RUNNING", "17:08:50"), poll("SUCCESSFUL", "17:08:40")
    for number, order in enumerate([(late, end), (end, late), (end, late, end, late)]):
        path = tmp_path / str(number)
        path.mkdir()
        with told_log(path) as told:
            for answer in order:
                told.tell(answer)
            assert told.job()["status"] == "succeeded"
            assert sorted(told.types()) == ["job.started", "job.succeeded"]


def test_calls_without_a_time_come_before_what_follows_them(tmp_path: Path) -> None:
    """Told after the polls, making and start of a job do not turn it back."""
    with told_log(tmp_path) as told:
        told.tell(poll("RUNNING", "17:03:00"))
        for format_, call in (("bakta-job-start", START), ("bakta-job-init", INIT)):
            told.tell({k: v for k, v in call.items() if k != "time"}, format_)
        job = told.job()
    assert job["status"] == "running"
    assert (job["kind"], job["name"]) == ("bakta", "pOSAK1 (2nd).fna")
    assert job["params"]["translationTable"] == 11


def test_a_clock_ahead_does_not_keep_a_job_waiting(tmp_path: Path) -> None:
    """The client's clock is ahead of the server's: the poll that comes after the start counts."""
    with told_log(tmp_path) as told:
        told.tell(START | {"time": "2026-02-04T17:05:30Z"}, "bakta-job-start")
        told.tell(poll("RUNNING", "17:05:00"))
        assert told.job()["status"] == "running"


def test_both_spellings_of_success_are_one(tmp_path: Path) -> None:
    """SUCCESSFULL, which old servers wrote, is the same end."""
    with told_log(tmp_path) as told:
        told.tell(poll("SUCCESSFULL", "17:08:40"))
        told.tell(poll("SUCCESSFUL", "17:08:40"))
        assert told.types() == ["job.succeeded"]


@pytest.mark.parametrize("word", ["PROCESSING", "PROCESSED", "PROCESSING_ERROR"])
def test_the_parsing_of_results_is_a_stage(tmp_path: Path, word: str) -> None:
    """What happens to results on this side is no status of the annotation."""
    with told_log(tmp_path) as told:
        told.tell(poll("SUCCESSFUL", "17:08:40"))
        told.tell(poll(word, "17:09:00"))
        told.tell(poll(word, "17:10:00"))
        assert told.types() == ["job.succeeded", "job.progressed"]
        job = told.job()
    assert (job["status"], job["stage"]) == ("succeeded", word)


def test_an_answer_with_results_is_no_proof_of_an_end(tmp_path: Path) -> None:
    """Such an answer is given for a job that never started too; the job is as it was."""
    with told_log(tmp_path) as told:
        told.tell(INIT, "bakta-job-init")
        told.tell(result(), "bakta-job-result")
        assert told.types() == ["job.submitted"]


def test_a_whole_job_from_its_making_to_its_removal(tmp_path: Path) -> None:
    """All calls and answers in their order, with the job as each leaves it."""
    steps: list[tuple[str, dict[str, Any], str]] = [
        ("bakta-job-init", INIT, "submitted"),
        ("bakta-job-list", listed(), "submitted"),
        ("bakta-job-start", START, "queued"),
        ("bakta-job-list", listed(state("INIT", "17:01:20")), "queued"),
        ("bakta-job-list", poll("RUNNING"), "running"),
        ("bakta-job-list", poll("SUCCESSFUL", "17:08:40"), "succeeded"),
        ("bakta-job-result", result(), "succeeded"),
        ("bakta-job-delete", {"request": {"jobID": JOB, "secret": "x"}}, "succeeded"),
        ("bakta-job-list", listed(job="NOT_FOUND"), "succeeded"),
    ]
    with told_log(tmp_path) as told:
        for format_, message, status in steps:
            told.tell(message, format_)
            assert told.job()["status"] == status, format_
        before = told.log.head()
        for format_, message, _ in steps:
            told.tell(message, format_)
        assert told.log.head() == before
