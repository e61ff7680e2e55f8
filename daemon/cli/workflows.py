"""``chronicled workflows``: workflow files, as the daemon loaded them or checked where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from daemon.cli.listing import (
    AsOfOption,
    CursorOption,
    LimitOption,
    ask,
    given,
    read_list,
    show_list,
)
from daemon.cli.output import Column, column, counted, notice, print_json, print_line, visible
from daemon.cli.session import JsonOption, Session, with_session

app = typer.Typer(help="Workflow files: what they say, and what is wrong.", no_args_is_help=True)

EXIT_FINDING: Final = 1


LIST_COLUMNS: Final = (
    column("loaded", whole=True),
    column("state", state=True, whole=True),
    column("versions", right=True),
    Column("phases", lambda item: len(item["phases"]), right=True),
    Column("issues", lambda item: len(item["issues"]), right=True),
    Column("next", lambda item: min((due["runs"][0]["time"] for due in _due(item)), default=None)),
    column("path", whole=True),
)


def _due(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [due for due in item["next"] if due["runs"]]


@app.command("list")
@with_session
def list_workflows(
    session: Session,
    state: Annotated[str | None, typer.Option(help="loaded or removed.")] = None,
    issues: Annotated[
        bool | None, typer.Option("--issues/--sound", help="Whether something is wrong with it.")
    ] = None,
    q: Annotated[str | None, typer.Option("-q", help="A part of the path.")] = None,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
    as_of: AsOfOption = None,
) -> None:
    """List the workflow files that were loaded, by path."""
    params = given(state=state, issues=issues, q=q, as_of=as_of)
    answer = read_list(session.reader(), "/api/workflows", params, limit=limit, cursor=cursor)
    show_list(session, answer, LIST_COLUMNS)


@app.command("show")
@with_session
def show_workflow(
    session: Session,
    path: Annotated[str, typer.Argument(help="The path, relative to the root of the files.")],
    as_of: AsOfOption = None,
) -> None:
    """Show one workflow file: what starts what, when it is due, and what is wrong with it."""
    shown = ask(session.reader(), f"/api/workflows/{quote(path, safe='')}", given(as_of=as_of))
    if session.as_json:
        print_json(shown)
        return
    print_line(visible(f"{shown['path']}: {shown['state']} {shown['loaded']} {shown['sha256']}"))
    due = {each["index"]: each["runs"][0]["time"] for each in _due(shown)}
    for node in shown["graph"]["nodes"]:
        print_line(visible(_node_line(node, shown, due)))
    for issue in shown["issues"]:
        print_line(_line(shown["path"], issue))


def _node_line(node: dict[str, Any], shown: dict[str, Any], due: dict[int, str]) -> str:
    if node["missing"]:
        return f"  {node['phase']}: not in the file"
    phase = shown["phases"][node["index"]]
    names = (("after", "depends_on"), ("cron", "cron"), ("files", "files"), ("retry", "retry"))
    said = [f"{word} {phase[name]}" for word, name in names if phase.get(name)]
    said += [f"next {due[node['index']]}"] if node["index"] in due else []
    return f"  {node['phase']}: {', '.join(said) or 'nothing starts it'}"


@app.command("check")
def check(
    path: Annotated[Path, typer.Argument(help="A workflow file, or a directory of them.")],
    strict: Annotated[bool, typer.Option("--strict", help="Take warnings for errors.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check workflow files; exit 1 where one has an error. Needs no daemon."""
    files = _check(path)
    found = [issue for file in files for issue in file["issues"]]
    errors = sum(issue["severity"] == "error" for issue in found)
    ok = not (found if strict else errors)
    if as_json:
        print_json({"ok": ok, "files": files})
    else:
        for file in files:
            for issue in file["issues"]:
                print_line(_line(file["path"], issue))
        said = counted(errors, "error"), counted(len(found) - errors, "warning")
        notice(f"{counted(len(files), 'file')}: {', '.join(said)}")
    if not ok:
        raise typer.Exit(EXIT_FINDING)


def _check(path: Path) -> list[dict[str, Any]]:
    """Return every file with its digest, phases and findings."""
    # Imported here: most commands start faster without these.
    from daemon.workflows.folder import list_files, read_file
    from daemon.workflows.workflow_file import read_workflow

    listing = list_files(path)
    files = {}
    for name, place in listing.files.items():
        try:
            files[name] = {"path": name, **read_workflow(read_file(place)).document()}
        except (OSError, ValueError) as error:
            listing.problems[name] = str(getattr(error, "strerror", None) or error)
    for name, problem in listing.problems.items():
        issue = {"code": "unreadable", "severity": "error", "message": problem}
        files[name] = {"path": name, "sha256": None, "phases": [], "issues": [issue]}
    return [files[name] for name in sorted(files)]


def _line(path: str, issue: dict[str, Any]) -> str:
    """Return ``FILE:PHASE: SEVERITY CODE MESSAGE``; the phase is left out for a file as a whole."""
    place = f"{path}:{issue['phase']}" if "phase" in issue else path
    return visible(f"{place}: {issue['severity']} {issue['code']} {issue['message']}")
