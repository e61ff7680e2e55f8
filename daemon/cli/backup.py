"""``chronicled backup``: by the daemon, or on a directory at rest and straight from the store."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from daemon.cli.configuration import FileOption
from daemon.cli.failures import CommandError
from daemon.cli.log_files import parse_point
from daemon.cli.operation import operate
from daemon.cli.output import (
    Column,
    column,
    counted,
    notice,
    on_terminal,
    print_fields,
    print_json,
    print_line,
    print_list,
    size,
)
from daemon.cli.progress import Unit, progress_shown
from daemon.cli.session import DataOption, JsonOption, Session, data_directory, with_session
from daemon.lock import LOG_FILE, find_daemon
from domain.errors import DirectoryLocked
from domain.moments import Point

if TYPE_CHECKING:
    from daemon.config import Config

EXIT_FINDING: Final = 1

app = typer.Typer(
    help="The backup: snapshots, proofs, restoring, and how it stands.", no_args_is_help=True
)

SkipLettersOption = Annotated[
    bool, typer.Option("--skip-letters", help="Do without dead letters that no object has.")
]
PlaceOption = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="URL", help="The place of the backup; else the one that is configured."
    ),
]

LIST_COLUMNS: Final = (
    column("name", whole=True),
    column("epoch", right=True),
    column("position", right=True, whole=True),
    column("taken", whole=True),
    Column("size", lambda item: size(item["bytes"]), right=True),
    column("events", right=True),
    column("proof", whole=True, state=True),
)


@app.command("create")
@with_session
def create(session: Session, file: FileOption = None) -> None:
    """Take a snapshot now, unless nothing is new since the newest one."""
    with progress_shown("backup", Unit.SHARE) as on_progress:
        if daemon := session.connect():
            result = operate(daemon, {"kind": "backup"}, on_progress)
        else:
            config = _configured(session.target.data, file)
            result = _told(_at_rest().create(config, on_progress))
    if session.as_json:
        print_json(result)
    elif result["skipped"]:
        print_line("Nothing is new since the newest snapshot.")
    else:
        print_line(f"Stored {_described(result['snapshot'])}")


@app.command("list")
@with_session
def list_snapshots(session: Session, file: FileOption = None, place: PlaceOption = None) -> None:
    """List the snapshots in the store, the newest first, without downloading any of them."""
    if place is None and (daemon := session.connect()):
        answer = daemon.get("/api/backup/snapshots")
    else:
        from daemon.backup.documents import listing_document

        found = _at_rest().list_place(_configured(session.target.data, file, place))
        answer = listing_document(found, found["shipped"])
    if session.as_json:
        print_json(answer)
        return
    print_list(LIST_COLUMNS, answer["items"])
    if on_terminal():
        segments = answer["segments"]
        notice(
            f"{counted(len(answer['items']), 'snapshot')}, "
            f"{counted(segments['count'], 'segment')} ({size(segments['bytes'])}); "
            f"complete up to position {answer['shipped']}, times in UTC"
        )


@app.command("prove")
@with_session
def prove(
    session: Session,
    snapshot: Annotated[
        str | None, typer.Argument(metavar="[SNAPSHOT]", help="Its name; else the newest.")
    ] = None,
    file: FileOption = None,
) -> None:
    """Prove a snapshot: restore it elsewhere, verify it, and compare the views.

    Exits with 1 when it is not what it was.
    """
    with progress_shown("prove", Unit.SHARE) as on_progress:
        if daemon := session.connect():
            asked = {"kind": "prove"} | ({"snapshot": snapshot} if snapshot else {})
            result = operate(daemon, asked, on_progress)
        else:
            config = _configured(session.target.data, file)
            result = _told(_at_rest().prove(config, snapshot, on_progress))
    if session.as_json:
        print_json(result)
    elif result["ok"]:
        print_line(f"Proved {_described(result['snapshot'])}")
    else:
        found = result["snapshot"]
        print_line(f"Not right: {_described(found)}: {found['finding']}")
    if not result["ok"]:
        raise typer.Exit(EXIT_FINDING)


@app.command("prune")
@with_session
def prune(
    session: Session,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed; remove nothing.")
    ] = False,
    file: FileOption = None,
) -> None:
    """Remove the snapshots that the configuration does not keep, and those that are unfinished."""
    with progress_shown("prune", Unit.SHARE) as on_progress:
        if daemon := session.connect():
            result = operate(daemon, {"kind": "prune", "dry_run": dry_run}, on_progress)
        else:
            result = _at_rest().prune(_configured(session.target.data, file), dry_run)
    if session.as_json:
        print_json(result)
        return
    for name in result["snapshots"]:
        print_line(name)
    print_line(
        f"{'Would remove' if dry_run else 'Removed'} "
        f"{counted(len(result['snapshots']), 'snapshot')} and "
        f"{counted(len(result['strays']), 'stray')}, {size(result['bytes'])}"
    )


@app.command("status")
@with_session
def status(session: Session, file: FileOption = None) -> None:
    """Say how the backup stands, and how far it is behind."""
    if daemon := session.connect():
        answer = daemon.get("/api/backup")
    else:
        found = _at_rest().status_of(_configured(session.target.data, file))
        answer = _told(_told(found, "proved"))
        notice(f"No daemon runs on {session.target}; this is what the store says.")
    if session.as_json:
        print_json(answer)
    else:
        print_fields({key: _in_a_line(value) for key, value in answer.items()})


@app.command("restore")
def restore(
    into: Annotated[
        Path, typer.Option("--into", metavar="DIR", help="A data directory that has no log.")
    ],
    point: Annotated[
        Point | None,
        typer.Option(
            "--to",
            metavar="POSITION|TIME",
            parser=parse_point,
            help="The moment: a position, a time, a date, or -2h; else the newest.",
        ),
    ] = None,
    place: PlaceOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be restored; write nothing.")
    ] = False,
    skip_letters: SkipLettersOption = False,
    file: FileOption = None,
    data: DataOption = "data",
    as_json: JsonOption = False,
) -> None:
    """Bring the log back from the store, as of any moment, into a directory.

    It is verified, and has its name when it is whole. What was downloaded when it ends early is
    used by the next attempt. A daemon that ships to the store is not disturbed.
    """
    config = _configured(data_directory(data), file, place)
    _require_no_log(into)
    with progress_shown("restore", Unit.BYTES) as on_progress:
        result = _told(
            _at_rest().restore(
                config, point, into, on_progress, dry_run=dry_run, skip_letters=skip_letters
            )
        )
    if as_json:
        print_json(result)
        return
    snapshot = result["snapshot"]
    begin = f"the snapshot {snapshot['name']}" if snapshot else "the first event"
    print_line(
        f"{'Would restore' if dry_run else 'Restored'} position {result['position']}: {begin} and "
        f"{counted(len(result['segments']), 'segment')}, {size(result['bytes'])}, into {into}"
    )
    for first, last in result["skipped_letters"]:
        print_line(f"Without the dead letters {first} to {last}")
    if not dry_run:
        into_ = shlex.quote(str(into))
        notice(f"Its views: chronicled rebuild --data {into_}")
        notice(f"Is it right: chronicled verify --data {into_}")


@app.command("takeover")
def takeover(
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; recorded in the log.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    skip_letters: SkipLettersOption = False,
    file: FileOption = None,
    data: DataOption = "data",
    as_json: JsonOption = False,
) -> None:
    """Make this directory's log the one that the backup goes on with, in a new epoch.

    For when the daemon that shipped before is gone for good. Where it still runs, it is refused
    from then on, and what it records is in no backup.
    """
    directory = data_directory(data)
    config = _configured(directory, file)
    if running := find_daemon(directory):
        raise DirectoryLocked(
            f"{directory} is in use by {running}", hint="Stop the daemon on this directory first."
        )
    _confirm(f"Take over the backup at {config.backup.url} for the log in {directory}?", yes)
    with progress_shown("takeover", Unit.BYTES) as on_progress:
        result = _at_rest().takeover(config, reason, on_progress, skip_letters=skip_letters)
    if as_json:
        print_json(result)
    else:
        print_fields(result)


def _at_rest() -> ModuleType:
    # Imported where it is used: asking a daemon needs none of it, and starts faster without.
    from daemon.backup import at_rest

    return at_rest


def _configured(data: Path, file: Path | None, place: str | None = None) -> Config:
    """Return the configuration, which names a place.

    Raises:
        CommandError: it names none.

    """
    from daemon.config import load

    config = load(data=data, file=file, place=place)
    if not config.backup.url:
        raise CommandError(
            "No backup",
            f"no daemon runs on {data}, and the configuration names no place",
            hint="Name the configuration by --config FILE, or the place where --from is taken.",
        )
    return config


def _require_no_log(directory: Path) -> None:
    if (directory / LOG_FILE).exists():
        from daemon.backup.errors import RestoreRefused

        raise RestoreRefused(
            f"there is a log in {directory}", hint="Restore into a directory that has none."
        )


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody can be asked here", param_hint="--yes")
    typer.confirm(question, abort=True, err=True)


def _told(result: dict[str, Any], field: str = "snapshot") -> dict[str, Any]:
    from daemon.backup.documents import result_document

    return result_document(result, field)


def _in_a_line(value: Any) -> Any:
    # A place tells of its newest snapshot and of its newest proved one, as documents.
    if not isinstance(value, dict) or "raw_bytes" not in value:
        return value
    told = f"{value['name']}, taken {value['taken']}, {value['proof']}"
    return f"{told} {value['proved']}" if value["proved"] else told


def _described(snapshot: dict[str, Any]) -> str:
    return (
        f"{snapshot['name']}: position {snapshot['position']}, {size(snapshot['bytes'])} "
        f"({size(snapshot['raw_bytes'])} unpacked)"
    )
