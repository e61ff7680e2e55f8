"""``chronicled archive``: the jobs that moved out of the log, and bringing one back."""

from __future__ import annotations

from typing import Any, Final

import typer

from daemon.cli.configuration import FileOption
from daemon.cli.connection import archive_path
from daemon.cli.jobs import ByOption, JobArgument, ReasonOption
from daemon.cli.listing import CursorOption, LimitOption, given, read_list, show_list
from daemon.cli.operation import operate
from daemon.cli.output import (
    Column,
    column,
    counted,
    plain,
    print_fields,
    print_json,
    print_line,
    size,
    visible,
)
from daemon.cli.progress import progress_shown
from daemon.cli.session import Session, user, with_session

EXIT_FINDING: Final = 1

app = typer.Typer(
    help="The archive: list and show its jobs, bring one back, verify it.", no_args_is_help=True
)

LIST_COLUMNS: Final = (
    column("archived", whole=True),
    column("status", state=True, whole=True),
    column("kind"),
    column("name"),
    column("events", right=True),
    column("files", right=True),
    Column("size", lambda item: size(item["bytes"]), right=True),
    column("rule"),
    column("job", whole=True),
)


@app.command("list")
@with_session
def list_archive(session: Session, limit: LimitOption = 50, cursor: CursorOption = None) -> None:
    """List the jobs in the archive, the newest first."""
    answer = read_list(session.reader(), "/api/archive", {}, limit=limit, cursor=cursor)
    show_list(session, answer, LIST_COLUMNS)


@app.command("show")
@with_session
def show_archived(session: Session, job: JobArgument) -> None:
    """Show a job in the archive: its objects, and whether they are there."""
    answer = session.reader().get(archive_path(job))
    if session.as_json:
        print_json(answer)
        return
    files = answer.pop("files")
    print_fields({**answer, "files": len(files)})
    for file in files:
        print_line(f"{visible(file['path'])}  {size(file['bytes'])}  {file['sha256']}")


@app.command("restore")
@with_session
def restore(
    session: Session,
    job: JobArgument,
    by: ByOption = None,
    reason: ReasonOption = None,
    file: FileOption = None,
) -> None:
    """Bring a job back: put its files in their places again, never over another file.

    The archive stays as it is.
    """
    with progress_shown("restore") as on_progress:
        if daemon := session.connect():
            path = f"{archive_path(job)}/restore"
            result = operate(daemon, given(by=by or user(), reason=reason), on_progress, path=path)
        else:
            from daemon.cli.directory import restore_archived

            result = restore_archived(
                session.target.data, file, job, reason, by or user(), on_progress
            )
    if session.as_json:
        print_json(result)
        return
    print_line(f"{visible(job)}: {counted(result['files'], 'file')} put back, {_left(result)}")


def _left(result: dict[str, Any]) -> str:
    told = f"{size(result['bytes'])}; {result['there']} there already"
    return f"{told}, {result['elsewhere']} elsewhere" if result["elsewhere"] else told


@app.command("verify")
@with_session
def verify(session: Session, file: FileOption = None) -> None:
    """Read every object of the archive, and compare its digests with what the log says.

    Exits with 1 when one is missing or damaged.
    """
    with progress_shown("verify") as on_progress:
        if daemon := session.connect():
            result = operate(daemon, {"kind": "archive-verify"}, on_progress)
        else:
            from daemon.cli.directory import verify_archive

            result = verify_archive(session.target.data, file, on_progress)
    if session.as_json:
        print_json(result)
    else:
        for finding in result["findings"]:
            print_line(f"{visible(finding['job'])}: {plain(finding['detail'])}")
        told = f"{counted(result['jobs'], 'job')}, {counted(result['objects'], 'object')}"
        verdict = "all right" if result["ok"] else f"{result['damaged']} damaged or missing"
        print_line(f"{told}, {size(result['bytes'])}: {verdict}")
    if not result["ok"]:
        raise typer.Exit(EXIT_FINDING)
