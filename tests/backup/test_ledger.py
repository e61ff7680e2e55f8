"""The manifest in the hands of its writer: lost answers, conflicts, takeovers, many at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from backup_driving import LOG_ID, WRITER, CellRegister, directory_place, manifest_of
from hypothesis import given
from hypothesis import strategies as st

from daemon.backup.errors import NotTheWriter, StoreUnavailable, SwapLost
from daemon.backup.manifest import Ledger, Manifest, Writer, load, whose
from daemon.backup.store import Register

OTHER = Writer(id="other", session="another")


def own(writer: Writer) -> object:
    """Return what lets only one writer go on with a place."""

    def fits(manifest: Manifest) -> Manifest:
        if manifest.writer.id != writer.id:
            raise NotTheWriter(whose(manifest))
        return manifest

    return fits


def claimed(register: Register, writer: Writer = WRITER) -> Ledger:
    """Return the ledger of a writer that has claimed the place."""
    ledger = Ledger(register, writer)
    ledger.claim(lambda: manifest_of(writer=writer), own(writer))
    return ledger


def shipped_more(manifest: Manifest) -> Manifest:
    """Ship one event more."""
    return manifest.model_copy(update={"shipped": manifest.shipped + 1})


def held(register: Register) -> Manifest:
    """Return what the register holds."""
    found = load(register)
    assert found is not None
    return found[0]


def test_an_empty_place_is_claimed_and_changed() -> None:
    """The first claim makes the manifest; changes count its sequence."""
    register = CellRegister()
    ledger = Ledger(register, WRITER)
    assert not ledger.claimed
    ledger.claim(manifest_of, own(WRITER))
    assert ledger.claimed
    assert ledger.manifest == held(register) == manifest_of()
    ledger.change(shipped_more)
    assert (held(register).shipped, held(register).sequence) == (1, 2)


def test_a_change_that_changes_nothing_is_not_written() -> None:
    """Nothing is swapped when the manifest says it already."""
    register = CellRegister()
    ledger = claimed(register)
    assert ledger.change(lambda manifest: manifest) == manifest_of()
    assert register.swaps == 1


def test_a_place_of_another_daemon_is_not_claimed() -> None:
    """What speaks against a claim leaves the manifest as it was."""
    register = CellRegister()
    claimed(register)
    with pytest.raises(NotTheWriter, match="writer writer"):
        claimed(register, OTHER)
    assert held(register).writer == WRITER


def test_a_claim_after_a_restart_goes_on_with_what_is_there() -> None:
    """Another session of the same daemon keeps what the place says."""
    register = CellRegister()
    claimed(register).change(shipped_more)
    again = WRITER.model_copy(update={"session": "later"})
    ledger = claimed(register, again)
    assert (ledger.manifest.shipped, ledger.manifest.sequence) == (1, 3)
    assert held(register).writer == again


def test_a_session_that_was_followed_by_another_writes_nothing_more() -> None:
    """Whoever was taken over finds that out at the next change, and at the next look."""
    register = CellRegister()
    first = claimed(register)
    second = claimed(register, WRITER.model_copy(update={"session": "later"}))
    for attempt in (lambda: first.change(shipped_more), first.read_again) * 2:
        with pytest.raises(NotTheWriter):
            attempt()
    assert held(register) == second.manifest
    assert second.change(shipped_more).shipped == 1


def test_a_manifest_that_is_gone_is_not_written_again() -> None:
    """Somebody who emptied the place is not answered with an old manifest."""
    register = CellRegister()
    ledger = claimed(register)
    register.held = None
    with pytest.raises(NotTheWriter, match="gone"):
        ledger.change(shipped_more)
    assert register.held is None


def test_a_claim_whose_answer_is_lost_is_done_again() -> None:
    """The second attempt finds the place its own."""
    register = CellRegister()
    register.answers_lost = {1}
    ledger = Ledger(register, WRITER)
    with pytest.raises(StoreUnavailable):
        ledger.claim(manifest_of, own(WRITER))
    ledger.claim(manifest_of, own(WRITER))
    assert ledger.manifest == held(register)


@given(st.sets(st.integers(2, 30)), st.sets(st.integers(2, 30)), st.integers(1, 10))
def test_changes_are_done_once_though_answers_are_lost(
    lost: set[int], refused: set[int], changes: int
) -> None:
    """A change that is asked for until it is answered was done, and only once."""
    register = CellRegister()
    register.answers_lost, register.refused = lost, refused
    ledger = claimed(register)
    for number in range(1, changes + 1):
        for _ in range(60):
            try:
                ledger.change(
                    lambda manifest, wanted=number: manifest.model_copy(update={"shipped": wanted})
                )
            except StoreUnavailable:
                continue
            break
        assert ledger.manifest == held(register)
        assert held(register).shipped == number
    assert held(register).sequence == changes + 1


def test_changes_of_two_threads_lose_nothing(tmp_path: Path) -> None:
    """Threads of one daemon change the manifest one after the other."""
    register = directory_place(tmp_path).register
    ledger = claimed(register)
    rounds = 20

    def work() -> None:
        for _ in range(rounds):
            ledger.change(shipped_more)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work) for _ in range(2)]:
            done.result()
    assert held(register).shipped == 2 * rounds
    assert held(register).sequence == 2 * rounds + 1


@pytest.mark.parametrize("empty", [True, False])
def test_of_two_claims_exactly_one_wins(tmp_path: Path, empty: bool) -> None:
    """Two daemons that claim a place at one moment: one has it, the other is told so."""
    with ThreadPoolExecutor(2) as pool:
        for round_ in range(12):
            register = directory_place(tmp_path / str(round_)).register
            if not empty:
                claimed(register)
            writers = [Writer(id=f"w{n}", session="s") for n in range(2)]
            together = threading.Barrier(2)

            def claim(
                writer: Writer, register: Register = register, together: object = together
            ) -> bool:
                ledger = Ledger(register, writer)

                def fits(manifest: Manifest) -> Manifest:
                    if manifest.writer not in (WRITER, writer):
                        raise NotTheWriter(whose(manifest))
                    return manifest

                together.wait(20)
                try:
                    ledger.claim(lambda: manifest_of(writer=writer), fits)
                except (SwapLost, NotTheWriter):
                    return False
                return True

            won = list(pool.map(claim, writers))
            assert sorted(won) == [False, True]
            assert held(register).writer == writers[won.index(True)]
            assert held(register).log_id == LOG_ID
