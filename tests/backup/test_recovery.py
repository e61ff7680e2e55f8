"""What a daemon does before it opens its log, for every log and every place it may meet."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest
from sites import Site, manifest_of, rewrite

from daemon.backup.directory_store import DirectoryRegister, DirectoryStore
from daemon.backup.errors import BackupError, RestoreRefused, StoreRefused, StoreUnavailable
from daemon.backup.manifest import RESERVED_EVENTS, Writer
from daemon.backup.store import Place, Register, Versioned
from daemon.lock import LOG_FILE

SHIPPED, HEAD = 40, 45
"""What the place of these tests has, and what its writer had reported."""


class _Closed:
    """A register that answers with an error."""

    def __init__(self, error: BackupError) -> None:
        self._error = error

    def read(self) -> Versioned | None:
        raise self._error

    def swap(self, content: bytes, version: str | None) -> NoReturn:
        raise self._error


class _Interrupted(BaseException):
    """The process was killed here."""


class _Watched:
    """A register around which something happens when it is swapped."""

    def __init__(
        self, register: Register, before: Callable[[], object], after: Callable[[], object]
    ) -> None:
        self._register, self._before, self._after = register, before, after

    def read(self) -> Versioned | None:
        return self._register.read()

    def swap(self, content: bytes, version: str | None) -> str:
        self._before()
        swapped = self._register.swap(content, version)
        self._after()
        return swapped


def _die() -> NoReturn:
    raise _Interrupted


def _nothing() -> None:
    pass


def killed(site: Site, *, claimed: bool) -> None:
    """Start, and die when the place is about to be claimed, or was."""
    before, after = (_nothing, _die) if claimed else (_die, _nothing)
    place = site.place
    site.place = Place(place.objects, _Watched(place.register, before, after))
    with pytest.raises(_Interrupted):
        site.start()
    site.place = place


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a place, and copies of one directory as of 20, 30, ... events."""
    folder = tmp_path_factory.mktemp("recorded")
    place = _place(folder / "kept")
    site, there = Site(folder / "origin", place), 0
    for events in (20, 30, 40, 42, 45, 50):
        site.append(events - there)
        there = events
        site.copied(folder / f"as-of-{events}")
        if events in (20, SHIPPED):
            site.ship()
    rewrite(place, lambda manifest: manifest.model_copy(update={"head": HEAD}))
    return folder


@pytest.fixture
def kept(recorded: Path, tmp_path: Path) -> Place:
    """Return a place that has 40 events, whose writer had reported 45."""
    shutil.copytree(recorded / "kept", tmp_path / "kept")
    return _place(tmp_path / "kept")


class Stages:
    """The directory as it was at a number of events; a copy each time."""

    def __init__(self, recorded: Path, place: Place, folder: Path) -> None:
        self.place = place
        self._recorded = recorded
        self._folder = folder

    def at(self, events: int, data: Path | None = None, name: str = "here") -> Site:
        """Return a copy."""
        data = data or self._folder / f"as-of-{events}"
        return Site(self._recorded / f"as-of-{events}", self.place).copied(data, name=name)


@pytest.fixture
def stages(recorded: Path, kept: Place, tmp_path: Path) -> Stages:
    """Return the copies of a directory, whose place has 40 events."""
    return Stages(recorded, kept, tmp_path)


def _place(root: Path) -> Place:
    return Place(DirectoryStore(root), DirectoryRegister(root))


@pytest.fixture
def second_epoch(tmp_path: Path, kept: Place) -> Site:
    """Return another directory that has restored the log, and gone on in the second epoch."""
    site = Site(tmp_path / "second", kept)
    site.start()
    site.append(7, "second").ship()
    return site


def _empty(stages: Stages, data: Path) -> Site:
    return Site(data, stages.place).append(0)


def _none(stages: Stages, data: Path) -> Site:
    return Site(data, stages.place)


def _as_of(events: int, stages: Stages, data: Path) -> Site:
    return stages.at(events, data)


def _diverged(events: int, stages: Stages, data: Path) -> Site:
    return stages.at(30, data).append(events, "diverged")


def _other(stages: Stages, data: Path) -> Site:
    return Site(data, stages.place).append(50)


Make = Callable[[Stages, Path], Site]
LOCALS: dict[str, Make] = {
    "none": _none,
    "empty": _empty,
    "behind, at a segment's end": partial(_as_of, 20),
    "behind, within a segment": partial(_as_of, 30),
    "as shipped": partial(_as_of, 40),
    "rolled back behind the reported head": partial(_as_of, 42),
    "same": partial(_as_of, 45),
    "ahead": partial(_as_of, 50),
    "diverged, and shorter": partial(_diverged, 5),
    "diverged, and longer": partial(_diverged, 20),
    "another log": _other,
}
MINE = {
    "none": "restored",
    "empty": "restored",
    "behind, at a segment's end": "fetched",
    "behind, within a segment": "fetched",
    "as shipped": "fetched",
    "rolled back behind the reported head": "fetched",
    "same": "kept",
    "ahead": "kept",
    "diverged, and shorter": "different events",
    "diverged, and longer": "different events",
    "another log": "has a backup of",
}
ANOTHERS = {
    **MINE,
    "behind, at a segment's end": "belongs to another daemon",
    "behind, within a segment": "belongs to another daemon",
    "as shipped": "kept",
    "rolled back behind the reported head": "kept",
}


@pytest.mark.parametrize("mine", [True, False], ids=["own place", "another's place"])
@pytest.mark.parametrize("local", LOCALS)
def test_every_log_meets_a_place(
    local: str, mine: bool, stages: Stages, kept: Place, tmp_path: Path
) -> None:
    """It is kept, brought on, restored, or refused with both positions; what it had stays."""
    site = LOCALS[local](stages, tmp_path / "data")
    if not mine:
        other = Writer(id="there", session="1", host="elsewhere")
        rewrite(kept, lambda manifest: manifest.model_copy(update={"writer": other}))
    before = site.chain() if (site.data / LOG_FILE).exists() else {}
    manifest, expected = manifest_of(kept), (MINE if mine else ANOTHERS)[local]
    if " " in expected:
        with pytest.raises(RestoreRefused, match=expected) as refused:
            site.start()
        assert refused.value.exit_code == 4
        assert refused.value.operator_hint
        assert site.chain() == before
        assert manifest_of(kept) == manifest
        return
    outcome = site.start()
    assert outcome.action == expected
    after = site.chain()
    site.require_right()
    if expected == "kept":
        assert after == before
        assert outcome.epoch is None
        return
    complete = max(max(before, default=0), SHIPPED)
    assert (outcome.epoch, outcome.position) == (2, complete)
    assert after.items() >= before.items()
    assert after[SHIPPED] == manifest.digest
    assert site.restored_events() == [max(after)] == [manifest.reserved + 1]
    assert manifest_of(kept).epochs[-1].after == complete
    # The place is this directory's now, and goes on.
    assert site.append(3).ship().shipped == max(after) + 3


@pytest.mark.parametrize("failure", [StoreUnavailable("away"), StoreRefused("no right")])
@pytest.mark.parametrize("local", LOCALS)
def test_every_log_meets_a_store_that_does_not_answer(
    local: str, failure: BackupError, stages: Stages, tmp_path: Path
) -> None:
    """A log is gone on with, as it is; without one it is refused, unless empty is allowed."""
    site = LOCALS[local](stages, tmp_path / "data")
    site.place = Place(site.place.objects, _Closed(failure))
    if local in ("none", "empty"):
        with pytest.raises(RestoreRefused, match="cannot be read") as refused:
            site.start()
        assert "--allow-empty" in (refused.value.operator_hint or "")
        assert site.start(allow_empty=True).action == "fresh"
        return
    before = site.chain()
    assert site.start().action == "unseen"
    assert site.chain() == before


@pytest.mark.parametrize("local", LOCALS)
def test_every_log_meets_an_empty_place(local: str, stages: Stages, tmp_path: Path) -> None:
    """Nothing is done: the log that is there, or begins there, will be shipped."""
    site = LOCALS[local](stages, tmp_path / "data")
    root = tmp_path / "new"
    site.place = _place(root)
    assert site.start().action == "fresh"
    assert not list(site.place.objects.list(""))


def test_a_damaged_manifest_stops_no_log_that_is_there(
    stages: Stages, kept: Place, tmp_path: Path
) -> None:
    """Who has a log starts on it; who has none is told that the manifest cannot be read."""
    found = kept.register.read()
    assert found is not None
    kept.register.swap(b"not JSON", found.version)
    assert stages.at(45).start().action == "unseen"
    with pytest.raises(RestoreRefused, match="manifest cannot be read"):
        Site(tmp_path / "new", kept).start()


def test_an_empty_log_that_lost_nothing_begins_no_epoch(tmp_path: Path) -> None:
    """A daemon that never recorded anything starts again as if it were the first time."""
    site = Site(tmp_path / "data", _place(tmp_path / "new")).append(0)
    site.ship()
    assert site.start().action == "kept"
    assert site.append(1).chain().keys() == {1}
    # When it reported an event that is gone now, there is an epoch.
    site.ship()
    again = Site(tmp_path / "again", site.place)
    assert (again.start().action, again.restored_events()) == ("restored", [RESERVED_EVENTS + 2])


@pytest.mark.parametrize("events", [30, 40])
def test_the_beginning_of_an_older_epoch_is_brought_on(
    events: int, stages: Stages, second_epoch: Site, tmp_path: Path
) -> None:
    """Its own writer's log gets what the next epoch has, and begins a third one."""
    site = stages.at(events, tmp_path / "data", name=second_epoch.name)
    before = second_epoch.chain()
    assert site.start().epoch == 3
    site.require_right()
    after = site.chain()
    assert after.items() >= before.items()
    assert site.restored_events() == [min(p for p in before if p > SHIPPED), max(after)]
    site.append(2).ship()


def test_an_older_epoch_with_events_of_its_own_has_diverged(
    stages: Stages, second_epoch: Site, tmp_path: Path
) -> None:
    """Also where nothing of the next epoch was shipped yet; both positions are told."""
    site = stages.at(45, tmp_path / "data")
    with pytest.raises(RestoreRefused, match=r"head 45\).*epoch 2.*two since position 40") as told:
        site.start()
    hint = told.value.operator_hint or ""
    assert f"mv {site.data} {site.data}.diverged" in hint
    site.data.rename(f"{site.data}.diverged")
    assert Site(site.data, site.place).start().epoch == 3


def test_a_place_that_is_an_epoch_behind_is_taken_over(
    stages: Stages, second_epoch: Site, tmp_path: Path
) -> None:
    """A log in a later epoch than its place begins one after both."""
    older = stages.at(40, tmp_path / "data")
    older.place = _place(tmp_path / "older")
    older.ship()
    second_epoch.place = older.place
    outcome = second_epoch.recovery().take_over("the place is older")
    assert (outcome.action, outcome.epoch) == ("taken", 3)
    second_epoch.require_right()
    assert second_epoch.append(1).ship().epoch == 3


class TestCrashes:
    """The process is killed between two steps; the next start mends it."""

    def test_between_the_claim_and_the_event_of_an_epoch(
        self,
        stages: Stages,
        kept: Place,
        tmp_path: Path,
    ) -> None:
        """A restore that was killed has no log; the next one begins another epoch."""
        site = Site(tmp_path / "data", kept)
        killed(site, claimed=True)
        assert manifest_of(kept).epoch == 2
        assert not (site.data / LOG_FILE).exists()
        assert (site.start().action, manifest_of(kept).epoch) == ("restored", 3)
        site.require_right()
        assert site.append(1).ship().epoch == 3

    @pytest.mark.parametrize("events", [30, 42])
    def test_with_a_log(self, events: int, stages: Stages, kept: Place) -> None:
        """An epoch that was claimed and not begun is followed by one that is."""
        site = stages.at(events)
        killed(site, claimed=True)
        assert manifest_of(kept).epoch == 2
        assert site.start().epoch == 3
        site.require_right()
        assert site.append(1).ship().epoch == 3

    def test_after_a_segment_of_the_next_epoch(
        self,
        stages: Stages,
        second_epoch: Site,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """What was fetched of the next epoch does not make the log one that has diverged."""
        second_epoch.append(3, "more").ship()
        site = stages.at(30, tmp_path / "data", name=second_epoch.name)
        with monkeypatch.context() as patch:
            patch.setattr("daemon.backup.recovery.begin", lambda *_: _die())
            with pytest.raises(_Interrupted):
                site.start()
        assert site.chain().items() >= second_epoch.chain().items()
        assert site.start().epoch == 4
        site.require_right()
        assert site.append(1).ship().epoch == 4

    def test_after_everything_was_fetched(
        self, stages: Stages, kept: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No position is used again that the lost machine may have used, however far it got."""
        reserved = rewrite(kept, lambda m: m.model_copy(update={"head": SHIPPED})).reserved
        site = stages.at(30)
        with monkeypatch.context() as patch:
            patch.setattr("daemon.backup.recovery.begin", lambda *_: _die())
            with pytest.raises(_Interrupted):
                site.start()
        assert max(site.chain()) == SHIPPED
        assert site.start().epoch == 3
        assert min(at for at in site.chain() if at > SHIPPED) > reserved
        site.require_right()

    def test_two_that_restore_at_once(
        self,
        stages: Stages,
        kept: Place,
        tmp_path: Path,
    ) -> None:
        """Exactly one wins; the other is refused, and has nothing that could be taken for a log."""
        first, second = Site(tmp_path / "one", kept, "one"), Site(tmp_path / "two", kept, "two")
        overtaken = _Watched(kept.register, second.start, _nothing)
        first.place = Place(kept.objects, overtaken)
        with pytest.raises(RestoreRefused, match="another daemon ships") as refused:
            first.start()
        assert refused.value.exit_code == 4
        assert list(first.data.iterdir()) == []
        assert (manifest_of(kept).writer.id, manifest_of(kept).epoch) == ("two", 2)
        second.append(1).ship()
