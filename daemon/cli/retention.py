"""``chronicled retention``: what is due by the policies, and having it archived and purged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from daemon.cli.connection import Connection
from daemon.cli.failures import CommandError
from daemon.cli.listing import CursorOption, LimitOption, given, read_list, show_list
from daemon.cli.operation import operate
from daemon.cli.output import (
    Column,
    column,
    counted,
    notice,
    plain,
    print_json,
    print_line,
    print_list,
    size,
)
from daemon.cli.progress import progress_shown
from daemon.cli.session import Session, user, with_session

app = typer.Typer(
    help="Retention: what is due by the policies, and applying it.", no_args_is_help=True
)

EXIT_USAGE: Final = 2
_SHOWN: Final = 50

PolicyFileOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="By the policies of this file instead."),
]
PresetOption = Annotated[
    str | None, typer.Option("--preset", metavar="NAME", help="By this preset instead.")
]

ITEM_COLUMNS: Final = (
    column("action"),
    column("category"),
    column("due", whole=True),
    column("events", right=True),
    Column("size", lambda item: size(item["bytes"]), right=True),
    column("rule"),
    column("why", "reason"),
    column("id", whole=True),
)
TOTAL_COLUMNS: Final = (
    column("rule", whole=True),
    column("category"),
    column("action"),
    column("entities", right=True),
    column("events", right=True),
    Column("size", lambda item: size(item["bytes"]), right=True),
)
UPCOMING_COLUMNS: Final = (
    Column("within", lambda item: f"{item['days']} days"),
    column("rule", whole=True),
    column("action"),
    column("entities", right=True),
)
LEFT_COLUMNS: Final = (
    column("action"),
    column("category"),
    column("why", whole=True),
    column("rule"),
    column("id", whole=True),
)
POLICY_COLUMNS: Final = (
    column("name", whole=True),
    column("category"),
    column("status"),
    column("kind"),
    column("age"),
    column("archive", "archive_after"),
    column("purge", "purge_after"),
    column("since", whole=True),
    column("by"),
)
CHANGE_COLUMNS: Final = (
    column("time", whole=True),
    column("policy", "subject", whole=True),
    column("by", "actor"),
    Column("before", lambda event: _policy_in_a_line(event["data"].get("before"))),
    Column("after", lambda event: _policy_in_a_line(event["data"].get("after"))),
)


@app.command("plan")
@with_session
def plan(
    session: Session,
    limit: LimitOption = _SHOWN,
    cursor: CursorOption = None,
    file: PolicyFileOption = None,
    preset: PresetOption = None,
) -> None:
    """Say what is due, when it became so, and by which rule; nothing is changed."""
    at_rest = False
    if file is None and preset is None:
        reader = session.reader()
        at_rest = not isinstance(reader, Connection)
        answer = read_list(reader, "/api/retention", {}, limit=limit, cursor=cursor)
    elif cursor is not None:
        raise typer.BadParameter("what other policies would do has no pages", param_hint="--cursor")
    else:
        daemon = session.daemon(f"chronicled retention plan {'--config' if file else '--preset'}")
        answer = daemon.post(f"/api/retention/preview?limit={limit}", _tried(file, preset))
    if session.as_json:
        print_json(answer)
    else:
        _show_plan(answer, at_rest=at_rest)


@app.command("apply")
@with_session
def apply(
    session: Session,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    plan_id: Annotated[
        str | None, typer.Option("--plan", metavar="ID", help="The plan that was looked at.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="So many items of the plan at the most.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who does it; else the user.")] = None,
) -> None:
    """Archive and purge what is due: only what the plan shows, and that is still so."""
    daemon = session.daemon("chronicled retention apply")
    if plan_id is None:
        answer = read_list(daemon, "/api/retention", {}, limit=_SHOWN)
        plan_id = answer["plan"]
        if not session.as_json:
            _show_plan(answer)
        if answer["entities"]:
            _confirm(_question(answer, limit), yes)
        elif not session.as_json:
            return
    else:
        _confirm(f"Apply the plan {plain(plan_id)}?", yes)
    result = _applied(daemon, plan_id, limit, by or user())
    if session.as_json:
        print_json(result)
    else:
        _show_result(result)


@app.command("policies")
@with_session
def policies(
    session: Session,
    history: Annotated[
        bool, typer.Option("--history", help="Every change, the newest first, and who made it.")
    ] = False,
    limit: LimitOption = _SHOWN,
    cursor: CursorOption = None,
) -> None:
    """List the policies, the first that fits deciding, with since when they hold and by whom."""
    if history:
        params = {"type": "policy.changed", "order": "desc"}
        answer = read_list(session.reader(), "/api/events", params, limit=limit, cursor=cursor)
        show_list(session, answer, CHANGE_COLUMNS)
        return
    answer = session.reader().get("/api/retention/policies")
    if session.as_json:
        print_json(answer)
        return
    print_list(POLICY_COLUMNS, answer["items"])
    if not answer["items"]:
        notice("There are no policies: everything is kept.")
    elif not answer["apply"]:
        notice("The daemon applies them only when it is asked to: [retention] apply = false.")


def _tried(file: Path | None, preset: str | None) -> dict[str, Any]:
    """Return the policies that are tried out: those of a file, or a preset, or both."""
    tried: dict[str, Any] = {}
    if file is not None:
        from daemon.config import load

        retention = load(file=file, environment={}).retention
        tried = {
            "policies": list(retention.policies),
            "preset": retention.preset,
            "archive": bool(retention.archive),
        }
    return tried | given(preset=preset)


def _show_plan(answer: dict[str, Any], *, at_rest: bool = False) -> None:
    print_line(
        f"plan {answer['plan']}: {answer['entities']} due, {counted(answer['events'], 'event')}, "
        f"{size(answer['bytes'])}"
    )
    for columns, name, label in (
        (TOTAL_COLUMNS, "totals", "total"),
        (ITEM_COLUMNS, "items", "item"),
        (UPCOMING_COLUMNS, "upcoming", "upcoming"),
    ):
        if answer[name]:
            print_list(columns, answer[name], label=label)
    if answer["more"]:
        notice(f"{answer['more']} more are due; they come in the next plan.")
    if answer["unarchivable"]:
        jobs = counted(answer["unarchivable"], "job")
        why = (
            "whether there is an archive is known to a running daemon only"
            if at_rest
            else "there is no archive: set [retention] archive"
        )
        notice(f"Not in the plan: {jobs} that would be archived; {why}.")


def _question(answer: dict[str, Any], limit: int | None) -> str:
    first = "" if limit is None or limit >= answer["entities"] else f"the first {limit} of "
    return f"Archive and purge {first}{answer['entities']} as planned? It cannot be undone."


def _confirm(question: str, yes: bool) -> None:
    """Ask a person on a terminal; elsewhere `--yes` has to say it."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(
            "Not confirmed",
            "what is purged does not come back",
            hint="Add --yes to do it without being asked.",
            exit_code=EXIT_USAGE,
        )
    typer.confirm(question, abort=True, err=True)


def _applied(daemon: Connection, plan_id: str, limit: int | None, by: str) -> dict[str, Any]:
    asked = {"kind": "retention-apply", "by": by, **given(plan=plan_id, limit=limit)}
    with progress_shown("retention") as on_progress:
        result: dict[str, Any] = operate(daemon, asked, on_progress)
    return result


def _show_result(result: dict[str, Any]) -> None:
    print_line(
        f"done {result['entities']} of {result['planned']} planned, "
        f"{counted(result['events'], 'event')}, {size(result['bytes'])}"
    )
    print_list(TOTAL_COLUMNS, result["totals"], label="total")
    if result["left_items"]:
        print_list(LEFT_COLUMNS, result["left_items"], label="left")
    if result["message"]:
        notice(result["message"])
    if result["more"]:
        notice(f"{result['more']} more are due: apply again.")


def _policy_in_a_line(policy: dict[str, Any] | None) -> str | None:
    if policy is None:
        return None
    told = [policy[key] for key in ("category", "status", "kind") if policy.get(key)]
    ages = [
        f"{verb} {policy[key]}"
        for verb, key in (("archive", "archive_after"), ("purge", "purge_after"))
        if policy[key] != "forever"
    ]
    return f"{' '.join(told)}: {', '.join(ages) or 'keep'} after {policy['age']}"
