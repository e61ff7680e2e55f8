"""``chronicled verify`` and ``chronicled rebuild``: by the daemon, or on a directory at rest."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from daemon.cli.operation import operate
from daemon.cli.output import plain, print_json, print_line
from daemon.cli.progress import progress_shown
from daemon.cli.session import Session, with_session

EXIT_FINDING: Final = 1
EXIT_DAMAGED: Final = 5

VIEWS_FINDING: Final = "views"
"""The kind of finding that is about the views; every other one is about the log."""


@with_session
def verify(
    session: Session,
    quick: Annotated[
        bool, typer.Option("--quick", help="The newest 1,000 events and the counters only.")
    ] = False,
) -> None:
    """Verify the log and the views: digest chain, gaps, keys, and views = replay.

    Exits with 1 when only the views differ, with 5 when the log itself is damaged.
    """
    with progress_shown("verify") as on_progress:
        if daemon := session.connect():
            asked = {"kind": "verify"} | ({"quick": True} if quick else {})
            result = operate(daemon, asked, on_progress)
        else:
            from daemon.cli.directory import verify_files

            result = verify_files(session.target.data, quick, on_progress)
    if session.as_json:
        print_json(result)
    else:
        _print_report(result)
    if not result["ok"]:
        raise typer.Exit(_exit_code(result["findings"]))


def _print_report(result: dict[str, Any]) -> None:
    """Print one line for each part, then the findings, then the verdict."""
    letters = result["dead_letters"]
    for each in result["projections"]:
        rows = "not compared" if each["rows"] is None else f"{each['rows']} rows {each['digest']}"
        state = "ok" if each["ok"] else "differs"
        print_line(f"{plain(each['name'])} at {each['position']}: {rows}, {state}")
    print_line(f"dead letters: {letters['letters']}, which came {letters['count']} times")
    for finding in result["findings"]:
        print_line(_told(finding))
    upto = f"up to position {result['position']}"
    if not result["ok"]:
        count = len(result["findings"])
        print_line(f"{count} finding{'s' if count > 1 else ''} {upto}")
    elif result["quick"]:
        print_line(f"the newest {result['events']} events {upto} are as they were recorded")
    else:
        print_line(f"{result['events']} events {upto}: everything is as it was recorded")
        compared = min((each["position"] for each in result["projections"]), default=0)
        if compared < result["position"]:
            print_line(f"the views were compared up to position {compared} only")


@with_session
def rebuild(
    session: Session,
    projection: Annotated[
        str | None, typer.Argument(metavar="[PROJECTION]", help="Which one; else all of them.")
    ] = None,
) -> None:
    """Build the views again from the log, beside the ones in use, and swap them."""
    with progress_shown("rebuild") as on_progress:
        if daemon := session.connect():
            asked = {"kind": "rebuild"} | ({"projection": projection} if projection else {})
            result = operate(daemon, asked, on_progress)
        else:
            from daemon.cli.directory import rebuild_files

            result = rebuild_files(session.target.data, projection, on_progress)
    if session.as_json:
        print_json(result)
    else:
        print_line(f"Rebuilt: {', '.join(result['projections'])}")


def _told(finding: dict[str, Any]) -> str:
    place = "" if finding.get("position") is None else f" at position {finding['position']}"
    return f"{plain(finding['kind'])}{place}: {plain(finding['detail'])}"


def _exit_code(findings: list[dict[str, Any]]) -> int:
    """Return what the worst finding means: views that differ, or damage of the log."""
    in_views = all(finding["kind"] == VIEWS_FINDING for finding in findings)
    return EXIT_FINDING if in_views else EXIT_DAMAGED
