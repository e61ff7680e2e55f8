"""``chronicled redact``: what it prints, and what it refuses."""

from __future__ import annotations

import getpass

from commands import chronicled, document, event, lines
from daemon_process import DaemonProcess


def test_a_value_is_taken_out_once(daemon: DaemonProcess) -> None:
    """By position or by source and id; who asks again is told that it is done."""
    here = ("--data", daemon.data)
    sent = event(1)
    chronicled("append", *here, text=lines(sent))
    asked = ("--pointer", "/data/kind", "--why", "a test", "--by", "ana", *here)
    done = chronicled("redact", "1", *asked)
    assert done.stdout.splitlines() == ["event 1: /data/kind is redacted; event 2 says so"]
    again = chronicled("redact", sent["id"], "--source", sent["source"], *asked)
    assert "was redacted before; nothing is done" in again.stdout
    (said,) = document("events", "list", "--type", "log.redacted", *here)["items"]
    assert (said["actor"], said["data"]["why"]) == ("ana", "a test")


def test_who_does_it_is_always_recorded(daemon: DaemonProcess) -> None:
    """Without `--by` it is the user: of a redaction, a pin, and a run that is asked for."""
    here = ("--data", daemon.data)
    chronicled("append", *here, text=lines(event(1)))
    document("jobs", "list", *here)
    chronicled("redact", "1", "--pointer", "/data/kind", "--why", "a test", *here)
    chronicled("jobs", "pin", event(1)["subject"], *here)
    chronicled("maintenance", "run", "vacuum", "--wait", *here)
    for type_ in ("log.redacted", "job.pinned", "maintenance.started"):
        (said,) = document("events", "list", "--type", type_, *here)["items"]
        assert said["actor"] == getpass.getuser()


def test_an_event_that_is_not_named_well_is_refused(daemon: DaemonProcess) -> None:
    """An id needs its source; an event that is not there is not found; a pointer leads nowhere."""
    asked = ("--pointer", "/data/kin", "--why", "w", "--data", daemon.data)
    assert "needs its --source" in chronicled("redact", "e7", *asked, code=1).stderr
    assert "log ends at 0" in chronicled("redact", "7", *asked, code=1).stderr
    said = chronicled("redact", "e7", "--source", "/tests", *asked, code=1).stderr
    assert "No event of '/tests'" in said
    chronicled("append", "--data", daemon.data, text=lines(event(1)))
    assert "did you mean 'kind'?" in chronicled("redact", "1", *asked, code=1).stderr
