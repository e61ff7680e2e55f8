"""Settings: defaults, where each value comes from, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.config import load
from daemon.settings import SCHEDULES, SECTIONS, Address
from domain.errors import ConfigurationError

DEFAULTS = {
    "server.listen": "127.0.0.1:8321",
    "server.socket": "/data/chronicled.sock",
    "server.subject_bytes": 4096,
    "server.event_bytes": 262_144,
    "server.batch_events": 10_000,
    "server.batch_bytes": 16_777_216,
    "server.read_threads": 4,
    "server.read_timeout_seconds": 10.0,
    "server.request_timeout_seconds": 30.0,
    "server.streams": 64,
    "log.synchronous": "FULL",
    "log.group_events": 5_000,
    "log.group_bytes": 8_388_608,
    "log.queue_events": 50_000,
    "log.queue_bytes": 67_108_864,
    "views.batch_events": 10_000,
    "views.synchronous": "NORMAL",
    "replay.checkpoints": 20,
    "replay.checkpoint_bytes": 2_147_483_648,
    "replay.checkpoint_events": 50_000,
    "replay.moments": 4,
    "replay.moment_bytes": 4_294_967_296,
    "backup.url": "",
    "backup.segment_seconds": 10.0,
    "backup.segment_events": 50_000,
    "backup.snapshot": "daily",
    "backup.keep": "24 hourly, 7 daily, 4 weekly, 12 monthly",
    "backup.prove": True,
    "backup.bytes_per_second": 50_000_000,
    "backup.timeout_seconds": 30.0,
    "backup.stop_seconds": 20.0,
    "backup.snapshot_on_stop": True,
    "backup.forget_after_days": 30.0,
    "backup.credentials": "",
    "workflows.path": "",
    "workflows.refresh_seconds": 15.0,
    "workflows.overdue": "4h",
    "workflows.overdue_for": {},
    "workflows.child_seconds": 60.0,
    "retention.preset": "",
    "retention.policies": [],
    "retention.archive": "",
    "retention.files_root": "",
    "retention.tombstones": "365d",
    "retention.apply": True,
    "retention.batch": 20,
    "retention.run_max": 20_000,
    "maintenance.retention": "30 2 * * *",
    "maintenance.size": "40 * * * *",
    "maintenance.scrub": "30 4 * * 0",
    "maintenance.vacuum": "20 * * * *",
    "maintenance.checkpoints": "50 * * * *",
    "maintenance.jitter_seconds": 60.0,
    "maintenance.result_bytes": 10_737_418_240,
    "maintenance.bytes_per_second": 50_000_000,
    "size.log_bytes": 0,
    "size.data_bytes": 0,
    "size.days_left": 7.0,
    "size.disk_warn_bytes": 1 << 30,
    "size.disk_refuse_bytes": 256 << 20,
    "size.reserve_bytes": 64 << 20,
    "logging.level": "info",
    "logging.format": "auto",
}
OTHERS = {
    "server.listen": "[::1]:9",
    "server.socket": "/other.sock",
    "log.synchronous": "EXTRA",
    "views.synchronous": "FULL",
    "logging.level": "debug",
    "logging.format": "json",
    "server.read_timeout_seconds": 2.5,
    "server.request_timeout_seconds": 2.5,
    "backup.url": "file:///elsewhere",
    "backup.segment_seconds": 2.5,
    "backup.snapshot": "hourly",
    "backup.keep": "3 daily",
    "backup.prove": False,
    "backup.timeout_seconds": 2.5,
    "backup.stop_seconds": 2.5,
    "backup.snapshot_on_stop": False,
    "backup.forget_after_days": 0.5,
    "backup.credentials": "/key.json",
    "retention.archive": "file:///archive",
    "retention.files_root": "/results",
    "workflows.path": "/workflows",
    "workflows.refresh_seconds": 2.5,
    "workflows.overdue": "off",
    "workflows.overdue_for": {"load": "1h"},
    "workflows.child_seconds": 2.5,
    "retention.preset": "amr",
    "retention.policies": [{"category": "job", "age": "ended", "purge_after": "9d"}],
    "retention.tombstones": "forever",
    "retention.apply": False,
    "retention.batch": 7,
    **{f"maintenance.{name}": "hourly" for name in SCHEDULES},
    "maintenance.jitter_seconds": 2.5,
    "size.days_left": 2.5,
    "size.disk_warn_bytes": 2 << 30,
    "size.reserve_bytes": 16 << 20,
}
"""A usable value that is not the default, for each key that does not take any number."""


def test_every_setting_has_its_documented_default() -> None:
    """Without file, environment and options each key has the default, and says so."""
    settings = load(data="/data", environment={}).settings()
    assert {s.key: s.value for s in settings if s.key != "data"} == DEFAULTS
    assert {s.origin for s in settings if s.key != "data"} == {"default"}
    assert all(setting.description for setting in settings)


@pytest.mark.parametrize("key", DEFAULTS)
def test_every_setting_can_be_set_in_the_environment(key: str) -> None:
    """CHRONICLED_SECTION__KEY sets a key, and the origin names the variable."""
    value = OTHERS.get(key, 4_001 if "threads" not in key else 7)
    said = json.dumps(value) if isinstance(value, dict | list) else str(value)
    variable = "CHRONICLED_" + key.replace(".", "__").upper()
    settings = {s.key: s for s in load(data="/d", environment={variable: said}).settings()}
    assert settings[key].value == value
    assert settings[key].origin == f"environment {variable}"
    assert settings[key].environment == variable


@pytest.mark.parametrize("key", DEFAULTS)
def test_every_setting_can_be_set_in_the_file(key: str, tmp_path: Path) -> None:
    """The TOML file sets a key, and the origin names the file."""
    value = OTHERS.get(key, 4_001 if "threads" not in key else 7)
    section, _, name = key.partition(".")
    file = tmp_path / "c.toml"
    file.write_text(f"[{section}]\n{name} = {json.dumps(value).replace(': ', ' = ')}\n")
    config = load(data="/d", file=file, environment={})
    assert config.origin[key] == f"file {file}"
    assert {s.key: s.value for s in config.settings()}[key] == value


def test_each_source_overrides_the_one_before(tmp_path: Path) -> None:
    """File, then credential, then environment, then command line."""
    (tmp_path / "chronicled.toml").write_text(
        '[server]\nlisten="127.0.0.1:1"\nread_threads=1\nbatch_events=1\n[log]\ngroup_events=1\n'
    )
    (tmp_path / "chronicled.secrets.toml").write_text(
        '[server]\nlisten="127.0.0.1:2"\nread_threads=2\nbatch_events=2\n'
    )
    environment = {
        "CONFIGURATION_DIRECTORY": str(tmp_path),
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "CHRONICLED_SERVER__LISTEN": "127.0.0.1:3",
        "CHRONICLED_SERVER__READ_THREADS": "3",
    }
    config = load(listen="127.0.0.1:4", environment=environment)
    origin = config.origin
    assert (config.log.group_events, origin["log.group_events"]) == (
        1,
        f"file {tmp_path}/chronicled.toml",
    )
    assert (config.server.batch_events, origin["server.batch_events"]) == (
        2,
        "credential chronicled.secrets.toml",
    )
    assert (config.server.read_threads, origin["server.read_threads"]) == (
        3,
        "environment CHRONICLED_SERVER__READ_THREADS",
    )
    assert (config.address, origin["server.listen"]) == (Address("127.0.0.1", 4), "command line")
    shown = {setting.key: setting.value for setting in config.settings()}
    assert shown["server.batch_events"] == "(not shown)"


def test_the_service_manager_gives_the_directories() -> None:
    """Data, socket and configuration follow the directories that systemd names."""
    config = load(
        environment={
            "STATE_DIRECTORY": "/var/lib/chronicled:/var/lib/other",
            "RUNTIME_DIRECTORY": "/run/chronicled",
            "CONFIGURATION_DIRECTORY": "/nowhere",
        }
    )
    assert config.data == Path("/var/lib/chronicled")
    assert config.origin["data"] == "$STATE_DIRECTORY"
    assert config.server.socket == Path("/run/chronicled/chronicled.sock")
    assert config.origin["server.socket"] == "$RUNTIME_DIRECTORY"


def test_without_a_service_manager_all_is_in_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default data directory is ./data, and the socket is in it."""
    monkeypatch.chdir(tmp_path)
    config = load(environment={})
    assert config.data == tmp_path / "data"
    assert config.server.socket == tmp_path / "data" / "chronicled.sock"


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    """A misspelt key, section or variable is refused with the known name, all at once."""
    file = tmp_path / "c.toml"
    file.write_text('[server]\nlistn = "x"\n[logs]\nlevel = 1\n')
    environment = {"CHRONICLED_SERVER__SOKET": "x", "CHRONICLED_LOG_SYNCHRONOUS": "FULL"}
    with pytest.raises(ConfigurationError) as caught:
        load(file=file, environment=environment)
    message = str(caught.value)
    assert "unknown key server.listn; did you mean 'server.listen'?" in message
    assert "unknown section [logs]; did you mean 'log'?" in message
    assert "did you mean CHRONICLED_SERVER__SOCKET?" in message
    assert "did you mean CHRONICLED_LOG__SYNCHRONOUS?" in message
    assert len(caught.value.errors) == 4
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "variable",
    ["CHRONICLED_REQUIRE", "CHRONICLED_REAL_DATA", "CHRONICLED_TEST_X__Y", "OTHER_LOG__X"],
)
def test_other_variables_are_no_settings(variable: str) -> None:
    """Variables that are not of the form of a setting are left alone."""
    load(environment={variable: "1"})


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("CHRONICLED_SERVER__READ_THREADS", "many", "valid integer"),
        ("CHRONICLED_SERVER__READ_THREADS", "0", "greater than or equal to 1"),
        ("CHRONICLED_SERVER__LISTEN", "8321", "HOST:PORT"),
        ("CHRONICLED_SERVER__LISTEN", "localhost:65536", "HOST:PORT"),
        ("CHRONICLED_BACKUP__SNAPSHOT", "nightly", "none of off, hourly, daily, weekly"),
        ("CHRONICLED_BACKUP__KEEP", "7 yearly", "'yearly' is none of hourly, daily"),
        ("CHRONICLED_LOG__SYNCHRONOUS", "OFF", "'NORMAL', 'FULL' or 'EXTRA'"),
    ],
)
def test_a_value_that_is_not_usable_names_its_origin(variable: str, value: str, said: str) -> None:
    """The error says which source gave the value, which key it is for, and what is allowed."""
    with pytest.raises(ConfigurationError) as caught:
        load(environment={variable: value})
    assert f"environment {variable}: " in str(caught.value)
    assert said in str(caught.value)


def test_a_default_that_no_longer_fits_is_named() -> None:
    """A line that is set below the default of the other one: the error names the other one."""
    said = "default: size.disk_refuse_bytes: must be less than disk_warn_bytes, which is 100"
    with pytest.raises(ConfigurationError, match=said):
        load(environment={"CHRONICLED_SIZE__DISK_WARN_BYTES": "100"})


@pytest.mark.parametrize(
    "text", ["[server\n", "server = 1\n", "[server]\nlisten=\xff".encode("l1")]
)
def test_a_file_that_is_no_configuration_is_refused(text: str | bytes, tmp_path: Path) -> None:
    """Broken TOML, a value in place of a table, and bytes that are no UTF-8."""
    file = tmp_path / "c.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigurationError, match=r"c\.toml"):
        load(file=file, environment={})


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    """A file named on the command line that is not there is an error; the default one is not."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(file=tmp_path / "none.toml", environment={})
    load(environment={"CONFIGURATION_DIRECTORY": str(tmp_path)})


def test_limits_and_bounds_carry_the_settings() -> None:
    """What the intake and the writer are given is what was configured."""
    environment = {
        "CHRONICLED_SERVER__BATCH_EVENTS": "12",
        "CHRONICLED_LOG__QUEUE_EVENTS": "34",
    }
    config = load(environment=environment)
    assert config.limits.batch_events == 12
    assert config.bounds.queue_events == 34


def test_every_section_says_what_it_is_for() -> None:
    """The sections' own documentation is there for `config show`."""
    assert all(model.__doc__ for model in SECTIONS.values())


def test_the_key_of_the_backup_is_a_credential_of_the_service_manager(tmp_path: Path) -> None:
    """A service account's key that systemd hands over is found; a setting goes before it."""
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load(environment=environment).backup.credentials == ""
    key = tmp_path / "chronicled.gcs.json"
    key.write_text("{}")
    config = load(environment=environment)
    assert config.backup.credentials == str(key)
    assert config.origin["backup.credentials"] == "$CREDENTIALS_DIRECTORY"
    environment["CHRONICLED_BACKUP__CREDENTIALS"] = "/other.json"
    assert load(environment=environment).backup.credentials == "/other.json"


ENTRIES = """
[[sources]]
name = "tasks"
kind = "file"
path = "/topics/done"

[[sources]]
name = "objects"
kind = "folder"
path = "/drop"

[[webhooks]]
name = "pager"
url = "https://pager.example/events"
secret = "hush"
"""


def test_arrays_of_tables_are_read_in_their_order(tmp_path: Path) -> None:
    """Each entry is one; what is secret of it is not shown."""
    file = tmp_path / "chronicled.toml"
    file.write_text(ENTRIES)
    config = load(data="/data", file=file, environment={})
    assert [entry.name for entry in config.sources] == ["tasks", "objects"]
    shown = {s.key: (s.value, s.origin) for s in config.settings()}
    assert shown["sources.1.path"] == ("/drop", f"file {file}")
    assert shown["webhooks.0.secret"] == ("(not shown)", f"file {file}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[sources]\nname = "a"', "sources is an array of tables: [[sources]]"),
        ('[[sources]]\nname = "a"', "[[sources]] 1: kind: Field required"),
        ('[[webhooks]]\nname = "a"\nuri = "x"', "unknown key uri; did you mean 'url'?"),
        (ENTRIES.replace("objects", "tasks"), "[[sources]] 2: there are two of the name 'tasks'"),
        ('[[webhoks]]\nname = "a"', "unknown section [webhoks]; did you mean 'webhooks'?"),
    ],
)
def test_faults_of_arrays_of_tables(tmp_path: Path, text: str, said: str) -> None:
    """Each fault says in which entry it is."""
    file = tmp_path / "chronicled.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(data="/data", file=file, environment={})
    assert said in caught.value.detail


@pytest.mark.parametrize(
    ("archive", "backup", "reason"),
    [
        ("file:///kept/archive", "file:///kept", "in the other"),
        ("file:///kept", "file:///kept/backup", "in the other"),
        ("file:///kept", "file:///kept", "in the other"),
        ("gs://bucket-1/a", "gs://bucket-1/a/b", "in the other"),
        ("gs://bucket-1", "gs://bucket-1/b", "in the other"),
        ("file:///data/archive", "", "in the data directory"),
        ("archive", "", "neither file:// nor gs://"),
    ],
)
def test_an_archive_has_a_place_of_its_own(archive: str, backup: str, reason: str) -> None:
    """A place in that of the backup, around it, or in the data directory is refused."""
    environment = {
        "CHRONICLED_RETENTION__ARCHIVE": archive,
        "CHRONICLED_BACKUP__URL": backup,
    }
    with pytest.raises(ConfigurationError, match=r"retention\.archive: ") as caught:
        load(data="/data", environment=environment)
    assert reason in caught.value.detail


@pytest.mark.parametrize(
    ("archive", "backup"),
    [
        ("file:///kept/archive", "file:///kept/backup"),
        ("file:///kept/a", "file:///kept/ab"),
        ("gs://bucket-1/a", "gs://bucket-1/ab"),
        ("gs://bucket-1/a", "gs://bucket-2/a"),
        ("file:///a", "gs://bucket-1/a"),
    ],
)
def test_places_that_are_apart(archive: str, backup: str) -> None:
    """Places beside each other are taken."""
    environment = {
        "CHRONICLED_RETENTION__ARCHIVE": archive,
        "CHRONICLED_BACKUP__URL": backup,
    }
    assert load(data="/data", environment=environment).retention.archive == archive


def test_the_root_of_the_files_is_a_whole_path() -> None:
    """A relative root would depend on where the daemon is started."""
    environment = {"CHRONICLED_RETENTION__FILES_ROOT": "results"}
    with pytest.raises(ConfigurationError, match="an absolute path"):
        load(data="/data", environment=environment)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_that_is_none_is_refused(name: str) -> None:
    """A typo names the setting and what may stand there; it never means another time."""
    environment = {f"CHRONICLED_MAINTENANCE__{name.upper()}": "houly"}
    with pytest.raises(ConfigurationError, match=f"maintenance.{name}: 'houly' is none of off"):
        load(data="/data", environment=environment)
