"""``chronicled diff``, ``timeline`` and ``trace``: what happened, and what belongs together."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from daemon.cli.connection import Reader
from daemon.cli.failures import CommandError
from daemon.cli.listing import AsOfOption, CursorOption, LimitOption, given, read_list, show_list
from daemon.cli.output import (
    STATUS_STYLES,
    Column,
    Row,
    column,
    notice,
    on_terminal,
    plain,
    print_json,
    print_list,
    seconds,
    short,
)
from daemon.cli.session import Session, with_session

_NOT_FOUND: Final = 404
_PIPE_COLUMNS: Final = 100_000
"""A line of a tree is not broken in a pipe."""

FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="POINT",
        help="The earlier point: position, time, date, or how long ago (-2h). Default: the start.",
    ),
]
ToOption = Annotated[
    str | None, typer.Option("--to", metavar="POINT", help="The later point; default: now.")
]
EntityArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="A job's id, or a stream such as alert/ID.")
]

CHANGE_COLUMNS = (
    column("field", whole=True),
    Column("from", lambda change: change["from"], state=True),
    Column("to", lambda change: change["to"], state=True),
    Column("event", lambda change: change["event"]["type"], whole=True),
    Column("time", lambda change: change["event"]["time"], whole=True),
    Column("position", lambda change: change["event"]["position"], right=True, whole=True),
)

JOB_COLUMNS = (
    column("time", whole=True),
    Column("what", lambda job: _what(job), whole=True),
    column("from", state=True, whole=True),
    column("to", state=True, whole=True),
    column("attempt", "to_attempt", right=True),
    column("events", right=True),
    column("kind"),
    column("name"),
    column("id", whole=True),
)

TIMELINE_COLUMNS = (
    Column("time", lambda item: item["event"]["time"], whole=True),
    column("relation", whole=True),
    Column("event", lambda item: item["event"]["type"], whole=True),
    column("entity", whole=True),
    Column("position", lambda item: item["event"]["position"], right=True, whole=True),
    Column("said", lambda item: _said(item["event"]["data"])),
)


def _what(job: Row) -> str:
    words = [word for word in ("appeared", "ended") if job[word]]
    return " ".join(words) or "changed"


def _said(data: dict[str, Any]) -> Any:
    """Return the words of an event, or all that it says."""
    error = data.get("error") or {}
    words = data.get("message") or data.get("reason") or error.get("message")
    return words or data.get("title") or data or None


def stream_of(entity: str) -> str:
    """Return the stream that an argument names: as it is, or of the job with this id."""
    return entity if _is_stream(entity) else f"job/{entity}"


def _is_stream(name: str) -> bool:
    """Return whether a name begins as those of streams do; anything else is the id of a job."""
    # Imported here: the models of all events take longer to load than most commands need.
    from domain.catalog import event_types

    return name.partition("/")[0] in {entry.category for entry in event_types()} and "/" in name


@with_session
def diff(
    session: Session,
    stream: Annotated[
        str | None, typer.Argument(metavar="STREAM", help="job/ID, alert/ID or file/PATH.")
    ] = None,
    jobs: Annotated[
        bool, typer.Option("--jobs", help="Which jobs appeared, changed status or ended.")
    ] = False,
    earlier: FromOption = None,
    later: ToOption = None,
    kind: Annotated[str | None, typer.Option(help="With --jobs: of this kind.")] = None,
    name: Annotated[str | None, typer.Option(help="With --jobs: of this name.")] = None,
    status: Annotated[
        list[str] | None, typer.Option(help="With --jobs: a status now; may be repeated.")
    ] = None,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
) -> None:
    """Compare two points of history: a stream field by field, or the jobs by their status."""
    points = {"from": earlier, "to": later}
    params = given(**points, kind=kind, name=name, status=status)
    if jobs == (stream is not None):
        raise CommandError("Which difference?", "name a stream, or say --jobs", exit_code=2)
    if stream is None:
        params["jobs"] = "true"
        answer = read_list(session.reader(), "/api/diff", params, limit=limit, cursor=cursor)
        show_list(session, answer, JOB_COLUMNS)
        return
    answer = session.reader().get("/api/diff", {**params, "stream": stream_of(stream)})
    if session.as_json:
        print_json(answer)
        return
    print_list(CHANGE_COLUMNS, answer["changes"])
    if on_terminal():
        count, events = len(answer["changes"]), answer["events"]
        points_said = f"from position {answer['from']} to {answer['to']}"
        notice(f"{count} fields differ by {events} events, {points_said}, times in UTC")


@with_session
def timeline(
    session: Session,
    entity: EntityArgument,
    as_of: AsOfOption = None,
    limit: LimitOption = 1000,
    cursor: CursorOption = None,
) -> None:
    """Tell what happened to a job, and to all that is tied to it, in order of time."""
    params = given(stream=stream_of(entity), as_of=as_of)
    answer = read_list(session.reader(), "/api/timeline", params, limit=limit, cursor=cursor)
    show_list(session, answer, TIMELINE_COLUMNS)


@with_session
def trace(
    session: Session,
    name: Annotated[
        str, typer.Argument(metavar="ID", help="A job's id, a stream, or a correlation id.")
    ],
    as_of: AsOfOption = None,
) -> None:
    """Draw the tree that a job belongs to: from its topmost parent down."""
    story, asked = _story(session.reader(), name, given(as_of=as_of, limit=1))
    if session.as_json:
        print_json({key: story[key] for key in ("entities", "truncated", "unresolved", "as_of")})
        return
    _draw(story, asked)
    if story["truncated"]:
        notice("There is more than a trace may hold; not all of it is shown.")
    if story["unresolved"]:
        notice(f"Causes that were not found: {', '.join(story['unresolved'][:10])}")


def _story(reader: Reader, name: str, params: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the story of the topmost parent of a job, or of a run; and the stream asked for."""
    asked = stream_of(name)
    try:
        story = reader.get("/api/timeline", {**params, "stream": asked})
    except CommandError as error:
        if error.status != _NOT_FOUND or _is_stream(name):
            raise
        try:
            return reader.get("/api/timeline", {**params, "correlation": name}), asked
        except CommandError as second:
            if second.status != _NOT_FOUND:
                raise
            raise CommandError(
                "Nothing to trace", f"there is neither a job nor a correlation {name!r}"
            ) from None
    parents = [each for each in story["entities"] if each["relation"] == "parent"]
    if parents:
        story = reader.get("/api/timeline", {**params, "stream": parents[-1]["stream"]})
    return story, asked


def _draw(story: dict[str, Any], asked: str) -> None:
    """Print the tree: coloured on a terminal, with the same lines in a pipe."""
    entities = {each["stream"]: each for each in story["entities"]}
    below: dict[str | None, list[dict[str, Any]]] = {}
    of_job = next(iter(entities.values()))["relation"] == "self"
    others = 0
    for each in entities.values():
        if of_job and each["relation"] == "correlation":
            others += 1
            continue
        below.setdefault(each["from"], []).append(each)
    width = None if on_terminal() else _PIPE_COLUMNS
    console = Console(file=sys.stdout, highlight=False, width=width, emoji=False)
    drawn: set[str] = set()
    for each in (*below.get(None, ()), *entities.values()):
        # What is left are jobs that are each other's parents: in a circle, below no root.
        skipped = of_job and each["relation"] == "correlation"
        if each["stream"] not in drawn and not skipped:
            console.print(_tree(each, below, drawn, asked), soft_wrap=not on_terminal())
    if others:
        notice(f"{others} more have the same correlation: `chronicled timeline` tells of them.")


def _tree(
    root: dict[str, Any],
    below: dict[str | None, list[dict[str, Any]]],
    drawn: set[str],
    asked: str,
) -> Tree:
    """Return an entity with all that is below it; without recursion, as it may be deep."""
    top = Tree(_label(root, asked))
    drawn.add(root["stream"])
    pending = [(root, top)]
    while pending:
        entity, node = pending.pop()
        for each in below.get(entity["stream"], ()):
            if each["stream"] not in drawn:
                drawn.add(each["stream"])
                pending.append((each, node.add(_label(each, asked))))
    return top


def _label(entity: dict[str, Any], asked: str) -> Text:
    """Return the line of an entity: how it is tied, its name, status, start and duration."""
    status = entity["status"] or "-"
    category, _, subject = entity["stream"].partition("/")
    name = Text(plain(subject if category == "job" else entity["stream"]))
    if entity["stream"] == asked:
        name.stylize("bold underline")
    relation = entity["relation"]
    plainly = entity["from"] is None or relation in ("child", category)
    tied = [] if plainly else [Text(f"{relation}:", style="dim")]
    about = " ".join(plain(entity[part]) for part in ("kind", "name") if entity[part])
    attempt = entity["attempt"] or 1
    parts = [
        *tied,
        name,
        Text(plain(status), style=STATUS_STYLES.get(status, "")),
        *([Text(about, style="dim")] if about else []),
        *([Text(f"attempt {attempt}")] if attempt > 1 else []),
        Text(short(entity["started"] or entity["first"])),
        Text(seconds(entity["run_seconds"]) or ""),
    ]
    line = Text("  ").join(parts)
    line.rstrip()
    return line
