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
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from daemon.eventlog.requests import WriterBounds
from daemon.replay.limits import Bounds, MomentBounds
from daemon.settings import (
    SECTIONS,
    SOCKET_FILE,
    Address,
    BackupSettings,
    LoggingSettings,
    LogSettings,
    MaintenanceSettings,
    ReplaySettings,
    RetentionSettings,
    Section,
    ServerSettings,
    SizeSettings,
    ViewsSettings,
    WorkflowsSettings,
)
from daemon.sources.settings import SourceSettings
from daemon.webhooks.settings import WebhookSettings
from domain.errors import ConfigurationError, Fault
from domain.limits import Limits
from domain.suggest import did_you_mean, nearest

CONFIG_FILE: Final = "chronicled.toml"
"""The file looked for in ``$CONFIGURATION_DIRECTORY``."""
CREDENTIAL: Final = "chronicled.secrets.toml"
"""The file looked for in ``$CREDENTIALS_DIRECTORY``: settings as in the configuration file."""
STORE_CREDENTIAL: Final = "chronicled.gcs.json"
"""Likewise: the key of the service account that the backup uses."""

_PREFIX: Final = "CHRONICLED_"


TABLES: Final[Mapping[str, type[Section]]] = {
    "sources": SourceSettings,
    "webhooks": WebhookSettings,
}
"""The arrays of tables of the configuration file: each there as often as it is wanted."""


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
    backup: BackupSettings
    workflows: WorkflowsSettings
    retention: RetentionSettings
    maintenance: MaintenanceSettings
    size: SizeSettings
    logging: LoggingSettings
    sources: tuple[SourceSettings, ...]
    webhooks: tuple[WebhookSettings, ...]
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
        for table in TABLES:
            for number, entry in enumerate(getattr(self, table)):
                rows += self._entry(f"{table}.{number}", entry)
        return rows

    def _entry(self, key: str, entry: Section) -> list[Setting]:
        """Return the settings of one table of an array."""
        origin = self.origin[key]
        secret = origin.startswith("credential")
        return [
            Setting(
                f"{key}.{name}",
                "(not shown)" if secret or (name == "secret" and value) else value,
                origin,
                "",
                type(entry).model_fields[name].description or "",
            )
            for name, value in entry.model_dump(mode="json").items()
        ]


class _Given(NamedTuple):
    value: Any
    origin: str


def load(
    *,
    data: Path | str | None = None,
    file: Path | str | None = None,
    listen: str | None = None,
    socket: Path | str | None = None,
    place: str | None = None,
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
    credentials = _directory(environment, "CREDENTIALS_DIRECTORY")
    if credentials is not None and (credentials / STORE_CREDENTIAL).exists():
        key = str(credentials / STORE_CREDENTIAL)
        given["backup.credentials"] = _Given(key, "$CREDENTIALS_DIRECTORY")
    entries: list[tuple[str, _Given]] = []
    given |= _from_files(file, environment, faults, entries)
    given |= _from_environment(environment, faults)
    told = {"server.listen": listen, "server.socket": socket, "backup.url": place}
    for key, value in told.items():
        if value is not None:
            given[key] = _Given(value, "command line")
    sections = {name: _section(name, given, faults) for name in SECTIONS}
    tables: Any = {name: _table(name, entries, faults) for name in TABLES}
    _check_places(sections["backup"], sections["retention"], Path(directory.value), given, faults)
    if faults:
        raise ConfigurationError("; ".join(fault.detail for fault in faults), errors=faults)
    origin = dict.fromkeys(_keys(), "default") | {k: v.origin for k, v in given.items()}
    origin["data"] = directory.origin
    for table in TABLES:
        found = [entry.origin for name, entry in entries if name == table]
        origin |= {f"{table}.{number}": said for number, said in enumerate(found)}
    return Config(data=directory.value, origin=origin, **sections, **tables)


def _check_places(
    backup: BackupSettings | None,
    retention: RetentionSettings | None,
    data: Path,
    given: Mapping[str, _Given],
    faults: list[Fault],
) -> None:
    """Find fault with urls that name no place, one in the data directory, or one in the other."""
    if backup is None or retention is None or not (backup.url or retention.archive):
        return
    # Imported where it is used: most configurations of a test or a command name no place.
    from daemon.backup.places import check_apart, check_url

    urls = {"backup.url": backup.url, "retention.archive": retention.archive}
    checks = [(key, partial(check_url, url, data)) for key, url in urls.items() if url]
    if all(urls.values()):
        checks.append(
            ("retention.archive", partial(check_apart, backup.url, retention.archive, data))
        )
    for key, check in checks:
        try:
            check()
        except ConfigurationError as error:
            why = error.detail.removeprefix("[backup] url: ")
            faults.append(Fault(f"{given[key].origin}: {key}: {why}", _pointer(key)))
            return


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
    file: Path | str | None,
    environment: Mapping[str, str],
    faults: list[Fault],
    entries: list[tuple[str, _Given]],
) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    if file is not None:
        given |= _from_toml(Path(file), f"file {file}", faults, entries)
    else:
        directory = _directory(environment, "CONFIGURATION_DIRECTORY")
        if directory is not None and (directory / CONFIG_FILE).exists():
            path = directory / CONFIG_FILE
            given |= _from_toml(path, f"file {path}", faults, entries)
    credentials = _directory(environment, "CREDENTIALS_DIRECTORY")
    if credentials is not None and (credentials / CREDENTIAL).exists():
        given |= _from_toml(credentials / CREDENTIAL, f"credential {CREDENTIAL}", faults, entries)
    return given


def _from_toml(
    path: Path, origin: str, faults: list[Fault], entries: list[tuple[str, _Given]]
) -> dict[str, _Given]:
    """Return the settings of a file; what stands in arrays of tables is added to ``entries``."""
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        faults.append(Fault(f"{origin} cannot be read: {error}"))
        return {}
    given: dict[str, _Given] = {}
    for section, table in tables.items():
        if section in TABLES:
            if isinstance(table, list):
                entries += [(section, _Given(entry, origin)) for entry in table]
            else:
                detail = f"{origin}: {section} is an array of tables: [[{section}]]"
                faults.append(Fault(detail, f"/{section}"))
        elif section not in SECTIONS:
            hint = did_you_mean(section, [*SECTIONS, *TABLES])
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


def _table(name: str, entries: list[tuple[str, _Given]], faults: list[Fault]) -> tuple[Any, ...]:
    """Return the entries of an array of tables; their names have to differ."""
    found: list[Any] = []
    for number, given in enumerate(entry for table, entry in entries if table == name):
        where, pointer = f"{given.origin}: [[{name}]] {number + 1}", f"/{name}/{number}"
        try:
            entry: Any = TABLES[name].model_validate(given.value)
        except ValidationError as error:
            faults += [_entry_fault(name, where, pointer, fault) for fault in error.errors()]
            continue
        if any(entry.name == other.name for other in found):
            faults.append(Fault(f"{where}: there are two of the name {entry.name!r}", pointer))
        same = next((other for other in found if _reads(entry) == _reads(other) != ()), None)
        if same is not None:
            faults.append(Fault(f"{where}: {same.name!r} reads the same", pointer))
        found.append(entry)
    return tuple(found)


def _reads(entry: object) -> tuple[str, ...]:
    """Return what a source reads, nothing for other tables."""
    return entry.reads if isinstance(entry, SourceSettings) else ()


def _entry_fault(name: str, where: str, pointer: str, fault: Any) -> Fault:
    key = str(fault["loc"][0]) if fault["loc"] else ""
    if fault["type"] == "extra_forbidden":
        hint = did_you_mean(key, TABLES[name].model_fields)
        return Fault(f"{where}: unknown key {key}; {hint}", f"{pointer}/{key}")
    said = fault["msg"].removeprefix("Value error, ")
    return Fault(f"{where}: {key + ': ' if key else ''}{said}", f"{pointer}/{key}".rstrip("/"))


def _section(name: str, given: Mapping[str, _Given], faults: list[Fault]) -> Any:
    prefix = f"{name}."
    values = {k.removeprefix(prefix): v.value for k, v in given.items() if k.startswith(prefix)}
    try:
        return SECTIONS[name].model_validate(values)
    except ValidationError as error:
        for fault in error.errors():
            key = prefix + str(fault["loc"][0])
            # What is given may leave no room for the default of another setting.
            origin = given[key].origin if key in given else "default"
            detail = f"{origin}: {key}: {fault['msg'].removeprefix('Value error, ')}"
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
