"""Settings: defaults, where each value comes from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.config import SECTIONS, Address, load
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
    variable = "CHRONICLED_" + key.replace(".", "__").upper()
    settings = {s.key: s for s in load(data="/d", environment={variable: str(value)}).settings()}
    assert settings[key].value == value
    assert settings[key].origin == f"environment {variable}"
    assert settings[key].environment == variable


@pytest.mark.parametrize("key", DEFAULTS)
def test_every_setting_can_be_set_in_the_file(key: str, tmp_path: Path) -> None:
    """The TOML file sets a key, and the origin names the file."""
    value = OTHERS.get(key, 4_001 if "threads" not in key else 7)
    section, _, name = key.partition(".")
    file = tmp_path / "c.toml"
    text = f'"{value}"' if isinstance(value, str) else value
    file.write_text(f"[{section}]\n{name} = {text}\n")
    config = load(data="/d", file=file, environment={})
    assert config.origin[key] == f"file {file}"
    assert str(getattr(getattr(config, section), name)) == str(value)


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
        ("CHRONICLED_LOG__SYNCHRONOUS", "OFF", "'NORMAL', 'FULL' or 'EXTRA'"),
    ],
)
def test_a_value_that_is_not_usable_names_its_origin(variable: str, value: str, said: str) -> None:
    """The error says which source gave the value, which key it is for, and what is allowed."""
    with pytest.raises(ConfigurationError) as caught:
        load(environment={variable: value})
    assert f"environment {variable}: " in str(caught.value)
    assert said in str(caught.value)


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


def test_the_documented_defaults_are_the_real_ones(repository: Path) -> None:
    """Each row of docs/configuration.md has the default that the program has."""
    page = (repository / "docs" / "configuration.md").read_text()
    for key, value in DEFAULTS.items():
        name = key.partition(".")[2]
        default = "see above" if name == "socket" else f"`{value}`"
        assert f"| `{name}` | {default} |" in page
