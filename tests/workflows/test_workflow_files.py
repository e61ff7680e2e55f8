"""Workflow files: what is read of them, and every finding with its place."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.workflows.issues import ISSUES_MAX
from daemon.workflows.parsing import PHASES_MAX
from daemon.workflows.workflow_file import read_workflow
from domain.catalog import validate_payload

HOURLY = """
[[phase]]
task = "csv2json:stations"
rule = "cron=0 5 * * * *&offset=-4h&retry_delay=30s"
retry = 3
template = "gs://valley/{HOUR_SLUG}/in.csv?output=gs://json/{YYYY}/{mm}/out-{TS}.json#{ts}"

[[phase]]
Task = "sql-load"
depends_on = "csv2json:stations"
Rule = "require={meta:file},{meta:rows}&job=readings&no_alert=true"
template = "{meta:file}?table=readings&day={yyyy}-{mm}-{dd}&at={min}&host={Host}&run={uuid}"

[[phase]]
task = "transform:clicks"
rule = "files=gs://raw/clicks/*/*.json.gz&table=clicks"
template = "{meta:file}?name={meta:filename}&table={meta:table}"

[[phase]]
TASK = "count"
DEPENDSON = "sql-load"
rule = "meta=depot:a,b|region:1,2&by=hour&for=-48h&cron=@daily"
template = "?depot={meta:depot}&region={meta:region}"
"""


def phase(**keys: object) -> str:
    """Return the text of a phase that has no finding, but for the keys given."""
    said: dict[str, object] = {"task": "load:a", "rule": "cron=0 * * * *", "template": "?x"}
    said |= keys
    lines = [
        f"{key} = {orjson.dumps(value).decode()}"
        for key, value in said.items()
        if value is not None
    ]
    return "\n".join(["[[phase]]", *lines, ""])


def issues(text: str) -> list[tuple[int | None, str, str]]:
    """Return phase, severity and code of each finding."""
    found = read_workflow(text.encode()).issues
    return [(issue.phase, issue.severity, issue.code) for issue in found]


def rule_issues(rule: str, **keys: object) -> list[tuple[str, str]]:
    """Return severity and code of the findings of a phase with this rule."""
    return [issue[1:] for issue in issues(phase(rule=rule, **keys))]


def test_a_good_file_is_read_as_it_is_meant() -> None:
    """Keys in any case, a job out of the rule; what is empty is left out; `#` ends a template."""
    workflow = read_workflow(HOURLY.encode())
    assert workflow.issues == ()
    first, second, third, fourth = workflow.document()["phases"]
    assert first == {
        "phase": "csv2json:stations",
        "topic": "csv2json",
        "job": "stations",
        "rule": "cron=0 5 * * * *&offset=-4h&retry_delay=30s",
        "retry": 3,
        "template": "gs://valley/{HOUR_SLUG}/in.csv"
        "?output=gs://json/{YYYY}/{mm}/out-{TS}.json#{ts}",
        "cron": "0 5 * * * *",
        "offset": "-4h",
        "retry_delay": "30s",
    }
    assert second["phase"] == "sql-load:readings"
    assert second["depends_on"] == "csv2json:stations"
    assert second["require"] == ["file", "rows"]
    assert second["no_alert"] is True
    assert third["files"] == "gs://raw/clicks/*/*.json.gz"
    assert (fourth["phase"], fourth["topic"]) == ("count", "count")
    assert "job" not in fourth
    assert fourth["meta"] == {"depot": ["a", "b"], "region": ["1", "2"]}
    assert (fourth["for"], fourth["by"], fourth["cron"]) == ("-48h", "hour", "@daily")


@pytest.mark.parametrize(
    "text",
    [
        b"The quick fox",
        b"\xff",
        b"[[phase]]\ntask = 1\ntask = 2",
        b"a = " + b"[" * 5_000,
        b"\xef\xbb",
    ],
)
def test_what_is_no_toml_is_one_finding(text: bytes) -> None:
    """A file that cannot be decoded has no phases and one error of the file as a whole."""
    workflow = read_workflow(text)
    assert workflow.phases == ()
    assert [(issue.code, issue.severity, issue.phase) for issue in workflow.issues] == [
        ("undecodable", "error", None)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (None, "warning", "no_phases")),
        ('title = "x"\n' + phase(), (None, "error", "unknown_key")),
        (phase() + "[[Phase]]", (None, "error", "duplicate_key")),
        ("phase = 3", (None, "error", "wrong_type")),
        ("phase = [3]", (0, "error", "wrong_type")),
        (phase(task=None), (0, "error", "missing_task")),
        (phase(task=":a"), (0, "error", "missing_task")),
        (phase(task=7), (0, "error", "wrong_type")),
        (phase(retry="invalid"), (0, "error", "wrong_type")),
        (phase(retry=True), (0, "error", "wrong_type")),
        (phase(retry=1.5), (0, "error", "wrong_type")),
        (phase(retry=-1), (0, "error", "negative_retry")),
        (phase(template=["x"]), (0, "error", "wrong_type")),
        (phase(retries=3), (0, "error", "unknown_key")),
        (phase(Rule="cron=@daily"), (0, "error", "duplicate_key")),
        (phase(task="a:b:c"), (0, "error", "bad_task")),
        (phase(dependsOn="lod"), (0, "error", "unknown_depends_on")),
        (phase(dependsOn="load:b"), (0, "error", "unknown_depends_on")),
        (phase(template=None), (0, "warning", "no_template")),
    ],
)
def test_keys_of_a_phase_are_checked(text: str, expected: tuple[int | None, str, str]) -> None:
    """Unknown keys, wrong types, missing values: each is found, with its place."""
    assert expected in issues(text)


@pytest.mark.parametrize(
    ("rule", "keys", "expected"),
    [
        ("cron=0 * * * *&require={meta:a}", {"dependsOn": "load"}, ("error", "cycle")),
        ("cron=0 * * * *;offset=1h", {}, ("error", "bad_rule")),
        ("cron=0 * * * *&x=%zz", {}, ("error", "bad_rule")),
        ("0 0 * * * *", {}, ("error", "bare_cron")),
        ("0 */5 * * *", {}, ("error", "bare_cron")),
        ("@daily", {}, ("error", "bare_cron")),
        ("", {}, ("warning", "no_trigger")),
        ("job=a", {}, ("warning", "no_trigger")),
        ("cron=0 0 0 * * * *", {}, ("error", "bad_cron")),
        ("cron=@dayly", {}, ("error", "bad_cron")),
        ("files=gs://b/[", {}, ("error", "bad_pattern")),
        ("files=gs://b/**/x", {}, ("warning", "plain_pattern")),
        ("files=gs://b/{yyyy}/x", {}, ("warning", "plain_pattern")),
        ("cron=0 * * * *&offset=1d", {}, ("error", "bad_duration")),
        ("cron=0 * * * *&for=2 days", {}, ("error", "bad_duration")),
        ("cron=0 * * * *&retry_delay=10", {"retry": 1}, ("error", "bad_duration")),
        ("cron=0 * * * *&retry_delay=-1s", {"retry": 1}, ("error", "bad_duration")),
        ("cron=0 * * * *&retry_delay=1s", {}, ("warning", "unused_rule_key")),
        ("cron=0 * * * *&by=fortnight", {}, ("error", "bad_by")),
        ("cron=0 * * * *&Offset=-4h", {}, ("error", "unknown_rule_key")),
        ("?cron=0 * * * *", {}, ("error", "unknown_rule_key")),
        ("cron=0 * * * *&meta_file=a.json", {}, ("error", "unknown_rule_key")),
        ("cron=0 * * * *&require:{meta:x}", {}, ("error", "unknown_rule_key")),
        ("cron=0 * * * *&owner=mara", {}, ("warning", "unknown_rule_key")),
        ("cron=0 * * * *&cron=@daily", {}, ("warning", "repeated_key")),
        ("cron=0 * * * *&no_alert", {}, ("warning", "empty_value")),
        ("cron=0 * * * *&no_alert=false", {}, ("warning", "no_alert_value")),
        ("cron=0 * * * *&job=b", {}, ("warning", "job_ignored")),
        ("cron=0 * * * *&files=a/*", {}, ("warning", "two_triggers")),
        ("files=a/*&count=3", {}, ("warning", "unused_rule_key")),
        ("files=a/*&offset=1h", {}, ("warning", "unused_rule_key")),
        ("files=a/*&meta=a:1", {}, ("warning", "unused_rule_key")),
        ("cron=0 * * * *&require={meta:x}", {}, ("warning", "unused_rule_key")),
        ("cron=0 * * * *&require=file", {}, ("error", "bad_require")),
        ("cron=0 * * * *&require={meta:a},b", {}, ("warning", "bad_require")),
        ("cron=0 * * * *&meta=a:1,2|b:1", {}, ("error", "unequal_meta")),
        ("cron=0 * * * *&meta=a:1|b=2", {}, ("error", "bad_meta")),
        ("cron=0 * * * *&meta=a:1&meta-file=x.json", {}, ("error", "meta_and_file")),
    ],
)
def test_rules_are_checked(rule: str, keys: dict[str, Any], expected: tuple[str, str]) -> None:
    """Each thing that can be wrong with a rule is found."""
    assert expected in rule_issues(rule, **keys)


@pytest.mark.parametrize(
    "rule",
    [
        "cron=0 * * * *", "cron=0+*+*+*+*", "cron=0 0 * * * SUN&offset=-24h", "cron=@every 1h",
        "cron=? 0 1 1 ?", "cron=0 * * * *&job=a", "files=/data/in/[0-9]*.txt&job=a",
        "cron=@daily&for=-48h&by=Weekly", "cron=@daily&meta=a:1,2|b:x,y", "&cron=0 * * * *&",
        "cron=@daily&meta-file=depots.json", "cron=0 * * * *&no_alert=true",
    ],
)  # fmt: skip
def test_what_is_right_is_no_finding(rule: str) -> None:
    """A good rule, in each of its forms, has no finding at all."""
    assert rule_issues(rule) == []


@pytest.mark.parametrize(
    ("template", "rule", "expected"),
    [
        ("?d={ts}", "cron=@daily", [("error", "unknown_token")]),
        ("?d={Min}", "cron=@daily", [("error", "unknown_token")]),
        ("?d={UUID}", "cron=@daily", [("error", "unknown_token")]),
        ("?d={meta.x}", "cron=@daily&meta=x:1", [("error", "unknown_token")]),
        ("?d={year}", "cron=@daily", [("warning", "unknown_token")]),
        ("?d={YyYy}{Mm}", "cron=@daily", []),
        ("?d={{yyyy}}", "cron=@daily", [("error", "doubled_braces")]),
        ("?d={yyyy", "cron=@daily", [("error", "unbalanced_braces")]),
        ("?d=yyyy}", "cron=@daily", [("error", "unbalanced_braces")]),
        ("?d=x#{yyyy}", "cron=@daily", [("warning", "token_after_hash")]),
        ("?d=x#{nothing}", "cron=@daily", []),
        ("{uuid}{uuid}", "cron=@daily", [("warning", "repeated_uuid")]),
        ("{meta:x}", "cron=@daily", [("error", "meta_never_filled")]),
        ("{meta:x}", "cron=@daily&for=-24h", [("error", "meta_never_filled")]),
        ("{meta:x}", "cron=@daily&meta=x:1", []),
        ("{meta:y}", "cron=@daily&meta=x:1", [("warning", "meta_not_provided")]),
        ("{meta:y}", "cron=@daily&meta-file=x.json", []),
        ("{meta:file}{meta:filename}{meta:files}", "files=a/*", []),
        ("{meta:rows}", "files=a/*", [("warning", "meta_not_provided")]),
        ("{meta:anything}", "", [("warning", "no_trigger")]),
    ],
)
def test_templates_are_checked(template: str, rule: str, expected: list[tuple[str, str]]) -> None:
    """Tokens that are none, or that nothing fills in, are found; all others are not."""
    assert rule_issues(rule, template=template) == expected


def test_child_may_use_any_key_of_its_parent() -> None:
    """A worker may set any key, so what a child's template asks for is no finding."""
    child = phase(task="next", dependsOn="load", rule="", template="{meta:rows}")
    assert issues(phase() + child) == []


def test_cycle_is_told_with_its_path() -> None:
    """Phases that start each other are one error at the first of them; a topic means every job."""
    text = (
        phase(task="a:1", rule="", dependsOn="c")
        + phase(task="b", rule="", dependsOn="a")
        + phase(task="c:x", rule="", dependsOn="b")
        + phase(task="d", rule="", dependsOn="d")
        + phase(task="e", rule="", dependsOn="c:x")
    )
    found = read_workflow(text.encode()).issues
    assert [(issue.code, issue.phase) for issue in found] == [("cycle", 0), ("cycle", 3)]
    assert found[0].message.endswith("a:1 -> b -> c:x -> a:1")
    assert found[1].message.endswith("d -> d")


_names = st.sampled_from(["a", "a:1", "a:2", "b", "b:1", "c"])


@given(st.lists(st.tuples(_names, st.one_of(st.none(), _names)), max_size=6))
def test_cycle_is_found_where_there_is_one(said: list[tuple[str, str | None]]) -> None:
    """A cycle is told just where some phase leads back to itself, by the plain rule of parents."""
    text = "".join(phase(task=task, dependsOn=parent) for task, parent in said)
    children = {
        index: [
            other
            for other, (_, parent) in enumerate(said)
            if parent is not None and parent in (task, task.partition(":")[0])
        ]
        for index, (task, _) in enumerate(said)
    }

    def reached(start: int) -> set[int]:
        found: set[int] = set()
        waiting = list(children[start])
        while waiting:
            index = waiting.pop()
            if index not in found:
                found.add(index)
                waiting += children[index]
        return found

    circular = {index for index in children if index in reached(index)}
    told = {place for place, _, code in issues(text) if code == "cycle"}
    assert told <= circular
    assert bool(told) == bool(circular)
    assert all(any(place in reached(index) for place in told) for index in circular)


def test_topic_waits_for_its_own_jobs_too() -> None:
    """A job that waits for its whole topic waits for itself."""
    text = phase(task="w:1") + phase(task="w:2", rule="", dependsOn="w")
    assert issues(text) == [(1, "error", "cycle")]


def test_repeated_phases_are_told() -> None:
    """The same phase again is an error; one of the same name with another trigger a warning."""
    text = phase() + phase() + phase(rule="cron=@daily")
    assert issues(text) == [(1, "error", "duplicate_phase"), (2, "warning", "duplicate_phase")]


def test_unknown_parent_gets_the_nearest_name() -> None:
    """A slip in dependsOn is told with the phase that was probably meant."""
    text = phase(task="transform:clicks") + phase(dependsOn="transform:click", rule="")
    (issue,) = read_workflow(text.encode()).issues
    assert issue.message.endswith("did you mean 'transform:clicks'?")


def test_findings_and_phases_are_bounded() -> None:
    """A file of very many faulty phases is read so far, and the rest is counted."""
    text = phase(template=None, rule="cron=@dayly") * (PHASES_MAX + 1)
    workflow = read_workflow(text.encode())
    assert len(workflow.phases) == PHASES_MAX
    assert workflow.issues[0].code == "too_many_phases"
    assert len(workflow.issues) == ISSUES_MAX
    assert workflow.issues[-1].code == "more_issues"
    assert workflow.issues[-1].severity == "error"


_values = st.one_of(
    st.text(max_size=30), st.integers(), st.booleans(), st.lists(st.text(), max_size=2)
)
_pieces = st.sampled_from(
    ["cron=", "files=", "meta=", "require=", "&", ";", "{meta:x}", "{", "}}", "* * * * *", "%", "#",
     "a:b", ",", "|", "[a-", "@every ", "1h", "=", "?", "for=", "\\"]
)  # fmt: skip


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["task", "rule", "template", "retry", "dependsOn", "Rule", "x"]),
            st.one_of(_values, st.lists(_pieces, max_size=8).map("".join)),
        ),
        max_size=4,
    )
)
def test_whatever_a_file_says_it_can_be_recorded(phases: list[dict[str, object]]) -> None:
    """No content of a file is too much for the reader, or for the payload of its event."""
    lines = []
    for each in phases:
        lines.append("[[phase]]")
        lines += [f"{key} = {_toml(value)}" for key, value in each.items()]
    workflow = read_workflow("\n".join(lines).encode(errors="replace"))
    assert validate_payload("workflow.loaded", workflow.document())


def _toml(value: object) -> str:
    """Return a value as TOML writes it, which is nearly as JSON does."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


@given(st.binary(max_size=200))
def test_any_bytes_have_an_outcome(content: bytes) -> None:
    """Bytes that are no workflow file give findings, never a failure."""
    assert len(read_workflow(content).sha256) == 64
