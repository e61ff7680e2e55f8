"""Every setting, its default, and where its present value came from.

A value comes from the last of these that gives one: default, the TOML file, a TOML credential of
the service manager (for what must not be readable by everyone), the environment
(``CHRONICLED_SECTION__KEY``), the command line.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from daemon.eventlog.requests import WriterBounds
from daemon.replay.limits import Bounds, MomentBounds
from domain.errors import ConfigurationError, Fault
from domain.limits import Limits
from domain.suggest import did_you_mean, nearest

CONFIG_FILE: Final = "chronicled.toml"
"""The file looked for in ``$CONFIGURATION_DIRECTORY``."""
CREDENTIAL: Final = "chronicled.secrets.toml"
"""The file looked for in ``$CREDENTIALS_DIRECTORY``: settings as in the configuration file."""
SOCKET_FILE: Final = "chronicled.sock"
"""The Unix socket's name in ``$RUNTIME_DIRECTORY``, else in the data directory."""

_PREFIX: Final = "CHRONICLED_"
_LIMITS: Final = Limits()
_BOUNDS: Final = WriterBounds()
_CHECKPOINTS: Final = Bounds()
_MOMENTS: Final = MomentBounds()


class Address(NamedTuple):
    """A host and a port to listen on; port 0 lets the system choose a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``HOST:PORT`` or ``[HOST]:PORT``.

        Raises:
            ValueError: the text is not of that form.

        """
        host, colon, port = text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        if not (colon and bare and port.isdecimal() and int(port) < 65536):
            raise ValueError("must be HOST:PORT, such as 127.0.0.1:8321 or [::1]:8321")
        return cls(bare, int(port))


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(_Section):
    """The HTTP listeners and what a request may be."""

    listen: str = Field("127.0.0.1:8321", description="TCP address, as HOST:PORT.")
    socket: Path = Field(
        Path(SOCKET_FILE),
        description="Unix socket. Without a value: chronicled.sock in $RUNTIME_DIRECTORY, else "
        "in the data directory.",
    )
    subject_bytes: int = Field(
        _LIMITS.subject_bytes, ge=1, le=65_536, description="Longest subject of an event (bytes)."
    )
    event_bytes: int = Field(
        _LIMITS.event_bytes, ge=1_024, le=64 << 20, description="Largest event (bytes)."
    )
    batch_events: int = Field(
        _LIMITS.batch_events, ge=1, le=1_000_000, description="Most events in one request."
    )
    batch_bytes: int = Field(
        _LIMITS.batch_bytes, ge=1_024, le=1 << 30, description="Largest request body (bytes)."
    )
    read_threads: int = Field(4, ge=1, le=64, description="Threads that answer queries.")
    read_timeout_seconds: float = Field(
        10.0, gt=0, le=600, description="Longest run of one query (seconds); past it, 503."
    )

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, text: str) -> str:
        Address.parse(text)
        return text


class LogSettings(_Section):
    """The event log and its writer."""

    synchronous: Literal["NORMAL", "FULL", "EXTRA"] = Field(
        "FULL",
        description="SQLite's `synchronous` for log.db. With NORMAL a power cut may lose events "
        "that were acknowledged.",
    )
    group_events: int = Field(
        _BOUNDS.group_events, ge=1, le=1_000_000, description="Most events in one commit."
    )
    group_bytes: int = Field(
        _BOUNDS.group_bytes, ge=1_024, le=1 << 30, description="Most payload in one commit (bytes)."
    )
    queue_events: int = Field(
        _BOUNDS.queue_events,
        ge=1,
        le=10_000_000,
        description="Most events that wait for the writer; past it, 503.",
    )
    queue_bytes: int = Field(
        _BOUNDS.queue_bytes,
        ge=1_024,
        le=4 << 30,
        description="Most payload that waits for the writer (bytes); past it, 503.",
    )


class ViewsSettings(_Section):
    """The projections' file."""

    batch_events: int = Field(
        10_000, ge=1, le=100_000, description="Most events in one transaction of the projections."
    )
    synchronous: Literal["NORMAL", "FULL"] = Field(
        "NORMAL", description="SQLite's `synchronous` for views.db, which can be built again."
    )


class ReplaySettings(_Section):
    """Answers as of the past: checkpoints to start from, and moments that are kept a while."""

    checkpoints: int = Field(
        _CHECKPOINTS.count, ge=0, le=10_000, description="Most checkpoints kept; 0 makes none."
    )
    checkpoint_bytes: int = Field(
        _CHECKPOINTS.bytes,
        ge=1,
        le=1 << 40,
        description="Most room that the checkpoints take together (bytes).",
    )
    checkpoint_events: int = Field(
        _CHECKPOINTS.spacing,
        ge=1_000,
        le=10_000_000,
        description="How many events at least lie between two checkpoints.",
    )
    moments: int = Field(
        _MOMENTS.count, ge=1, le=10_000, description="Most moments of the past kept to be asked."
    )
    moment_bytes: int = Field(
        _MOMENTS.bytes,
        ge=1,
        le=1 << 40,
        description="Most room that those moments take together (bytes).",
    )


class LoggingSettings(_Section):
    """The daemon's own log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is written; debug has a line for each request."
    )
    format: Literal["auto", "json", "plain"] = Field(
        "auto",
        description="auto = plain with priorities under journald, plain on a terminal, JSON "
        "elsewhere.",
    )


SECTIONS: Final[Mapping[str, type[_Section]]] = {
    "server": ServerSettings,
    "log": LogSettings,
    "views": ViewsSettings,
    "replay": ReplaySettings,
    "logging": LoggingSettings,
}
"""The sections of the configuration file."""


class Setting(NamedTuple):
    """One setting as ``chronicled config show`` prints it; ``key`` is ``section.name``."""

    key: str
    value: str | int | float
    origin: str
    environment: str
    description: str


@dataclass(frozen=True, slots=True)
class Config:
    """All settings; made by `load`."""

    data: Path
    server: ServerSettings
    log: LogSettings
    views: ViewsSettings
    replay: ReplaySettings
    logging: LoggingSettings
    origin: Mapping[str, str]
    """Where each value came from, by key."""

    @property
    def address(self) -> Address:
        """The TCP address to listen on."""
        return Address.parse(self.server.listen)

    @property
    def limits(self) -> Limits:
        """What a request may hold."""
        server = self.server
        return Limits(
            subject_bytes=server.subject_bytes,
            event_bytes=server.event_bytes,
            batch_events=server.batch_events,
            batch_bytes=server.batch_bytes,
        )

    @property
    def bounds(self) -> WriterBounds:
        """What waits for the writer, and what one commit holds."""
        return WriterBounds(**self.log.model_dump(exclude={"synchronous"}))

    @property
    def checkpoints(self) -> Bounds:
        """How many checkpoints are kept, and how far apart."""
        replay = self.replay
        return Bounds(replay.checkpoints, replay.checkpoint_bytes, replay.checkpoint_events)

    @property
    def moments(self) -> MomentBounds:
        """How many moments of the past are kept."""
        return MomentBounds(self.replay.moments, self.replay.moment_bytes)

    def settings(self) -> list[Setting]:
        """Return every setting with its origin; values out of a credential are not shown."""
        rows = [Setting("data", str(self.data), self.origin["data"], "", "The data directory.")]
        for section, model in SECTIONS.items():
            values = getattr(self, section).model_dump(mode="json")
            for name, field in model.model_fields.items():
                key = f"{section}.{name}"
                secret = self.origin[key].startswith("credential")
                value = "(not shown)" if secret else values[name]
                text = field.description or ""
                rows.append(Setting(key, value, self.origin[key], _variable(key), text))
        return rows


class _Given(NamedTuple):
    value: Any
    origin: str


def load(
    *,
    data: Path | str | None = None,
    file: Path | str | None = None,
    listen: str | None = None,
    socket: Path | str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Read the configuration; the arguments are those of the command line.

    Raises:
        ConfigurationError: a key is unknown or a value is not usable; every fault is named.

    """
    environment = os.environ if environment is None else environment
    faults: list[Fault] = []
    directory = _data_directory(data, environment)
    runtime = _directory(environment, "RUNTIME_DIRECTORY")
    default_socket = (runtime or Path(directory.value)) / SOCKET_FILE
    given = {
        "server.socket": _Given(default_socket, "$RUNTIME_DIRECTORY" if runtime else "default")
    }
    given |= _from_files(file, environment, faults)
    given |= _from_environment(environment, faults)
    for key, value in (("server.listen", listen), ("server.socket", socket)):
        if value is not None:
            given[key] = _Given(value, "command line")
    sections = {name: _section(name, given, faults) for name in SECTIONS}
    if faults:
        raise ConfigurationError("; ".join(fault.detail for fault in faults), errors=faults)
    origin = dict.fromkeys(_keys(), "default") | {k: v.origin for k, v in given.items()}
    origin["data"] = directory.origin
    return Config(data=directory.value, origin=origin, **sections)


def _data_directory(data: Path | str | None, environment: Mapping[str, str]) -> _Given:
    if data is not None:
        return _Given(Path(data).absolute(), "command line")
    state = _directory(environment, "STATE_DIRECTORY")
    if state is not None:
        return _Given(state, "$STATE_DIRECTORY")
    return _Given(Path("data").absolute(), "default")


def _directory(environment: Mapping[str, str], variable: str) -> Path | None:
    """Return the first directory that the service manager names in a variable."""
    first = environment.get(variable, "").partition(":")[0]
    return Path(first) if first else None


def _from_files(
    file: Path | str | None, environment: Mapping[str, str], faults: list[Fault]
) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    if file is not None:
        given |= _from_toml(Path(file), f"file {file}", faults)
    else:
        directory = _directory(environment, "CONFIGURATION_DIRECTORY")
        if directory is not None and (directory / CONFIG_FILE).exists():
            given |= _from_toml(directory / CONFIG_FILE, f"file {directory / CONFIG_FILE}", faults)
    credentials = _directory(environment, "CREDENTIALS_DIRECTORY")
    if credentials is not None and (credentials / CREDENTIAL).exists():
        given |= _from_toml(credentials / CREDENTIAL, f"credential {CREDENTIAL}", faults)
    return given


def _from_toml(path: Path, origin: str, faults: list[Fault]) -> dict[str, _Given]:
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        faults.append(Fault(f"{origin} cannot be read: {error}"))
        return {}
    given: dict[str, _Given] = {}
    for section, table in tables.items():
        if section not in SECTIONS:
            hint = did_you_mean(section, SECTIONS)
            faults.append(Fault(f"{origin}: unknown section [{section}]; {hint}", f"/{section}"))
        elif not isinstance(table, dict):
            faults.append(Fault(f"{origin}: {section} must be a table", f"/{section}"))
        else:
            given |= {f"{section}.{name}": _Given(value, origin) for name, value in table.items()}
    return _known(given, faults)


def _from_environment(environment: Mapping[str, str], faults: list[Fault]) -> dict[str, _Given]:
    """Return the settings in the environment.

    A variable is taken for a setting, and refused when there is no such setting, if its name has
    the double underscore or starts with a section's name.
    """
    given: dict[str, _Given] = {}
    sections = tuple(f"{_PREFIX}{section.upper()}_" for section in SECTIONS)
    variables = {_variable(key): key for key in _keys()}
    for variable, value in environment.items():
        origin = f"environment {variable}"
        if variable in variables:
            given[variables[variable]] = _Given(value, origin)
        elif variable.startswith(sections) or (
            variable.startswith(_PREFIX) and "__" in variable and "_TEST_" not in variable
        ):
            key = nearest(variable.removeprefix(_PREFIX).replace("__", "."), variables.values())
            hint = f"; did you mean {_variable(key)}?" if key else ""
            faults.append(Fault(f"environment: unknown variable {variable}{hint}"))
    return given


def _known(given: dict[str, _Given], faults: list[Fault]) -> dict[str, _Given]:
    """Return what is known of ``given``, with a fault for each other key."""
    keys = _keys()
    for key, (_, origin) in given.items():
        if key not in keys:
            detail = f"{origin}: unknown key {key}; {did_you_mean(key, keys)}"
            faults.append(Fault(detail, _pointer(key)))
    return {key: value for key, value in given.items() if key in keys}


def _section(name: str, given: Mapping[str, _Given], faults: list[Fault]) -> Any:
    prefix = f"{name}."
    values = {k.removeprefix(prefix): v.value for k, v in given.items() if k.startswith(prefix)}
    try:
        return SECTIONS[name].model_validate(values)
    except ValidationError as error:
        for fault in error.errors():
            key = prefix + str(fault["loc"][0])
            detail = f"{given[key].origin}: {key}: {fault['msg']}"
            faults.append(Fault(detail, _pointer(key)))
        return None


def _keys() -> list[str]:
    return [
        f"{section}.{name}" for section, model in SECTIONS.items() for name in model.model_fields
    ]


def _pointer(key: str) -> str:
    return "/" + key.replace(".", "/")


def _variable(key: str) -> str:
    return _PREFIX + key.replace(".", "__").upper()
