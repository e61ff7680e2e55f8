"""The settings of a source: ``[[sources]]`` in the configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from daemon.settings import Section

_NEEDED: Final = {
    "file": ("path",),
    "folder": ("path",),
    "nats": ("url", "stream", "subject"),
}
_OWN: Final = {
    "file": {"path"},
    "folder": {"path", "pattern", "after", "moved_to"},
    "nats": {"url", "stream", "subject", "durable", "credentials"},
}
_COMMON: Final = {"name", "kind", "format", "source"}


class SourceSettings(Section):
    """One source of messages that the daemon reads by itself."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="What it is called; where it was read up to is remembered under this name.",
    )
    kind: Literal["file", "folder", "nats"] = Field(
        description="A followed file, a watched folder, or a NATS JetStream subject."
    )
    format: str = Field("cloudevents", description="The producer format of its messages.")
    source: str = Field("", description="Recorded in place of the format's own source.")
    path: str = Field("", description="file, folder: which one.")
    pattern: str = Field(
        "", description="folder: which files, by name (`*.json`); without it, all."
    )
    after: Literal["keep", "delete", "move"] = Field(
        "keep", description="folder: what becomes of a file that was recorded."
    )
    moved_to: str = Field("", description='folder: where to, with `after = "move"`.')
    url: str = Field("", description="nats: the server, such as nats://127.0.0.1:4222.")
    stream: str = Field("", description="nats: the JetStream stream.")
    subject: str = Field("", description="nats: which subjects of it.")
    durable: str = Field("", description="nats: the durable consumer; without it, the name.")
    credentials: str = Field(
        "", description="nats: a file of one line, `USER:PASSWORD` or a token."
    )

    @field_validator("format")
    @classmethod
    def _check_format(cls, text: str) -> str:
        # Imported where a value is given: most commands start faster without it.
        from daemon.intake.formats import find_format
        from domain.errors import NotFound

        try:
            return find_format(text).name
        except NotFound as error:
            raise ValueError(error.detail) from None

    @field_validator("source")
    @classmethod
    def _check_source(cls, text: str) -> str:
        if " " in text or (text and not text.isprintable()):
            raise ValueError("has to be a URI-reference")
        return text

    @field_validator("url")
    @classmethod
    def _check_url(cls, text: str) -> str:
        parts = urlsplit(text)
        if text and (parts.scheme not in ("nats", "tls") or not parts.hostname):
            raise ValueError("must be nats://HOST:PORT or tls://HOST:PORT")
        if parts.username or parts.password:
            raise ValueError("must hold no password; use credentials")
        return text

    @field_validator("durable")
    @classmethod
    def _check_durable(cls, text: str) -> str:
        if any(letter in ".*>/\\ " for letter in text):
            raise ValueError("must hold none of . * > / and no space")
        return text

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        for name in _NEEDED[self.kind]:
            if not getattr(self, name):
                raise ValueError(f"kind {self.kind} needs {name}")
        for name in self.model_fields_set - _COMMON - _OWN[self.kind]:
            raise ValueError(f"kind {self.kind} has no {name}")
        if (self.after == "move") != bool(self.moved_to):
            raise ValueError('after = "move" and moved_to belong together')
        if self.kind != "nats" and not Path(self.path).is_absolute():
            raise ValueError("path must be absolute")
        if self.moved_to and not Path(self.moved_to).is_absolute():
            raise ValueError("moved_to must be absolute")
        if self.moved_to and Path(self.moved_to).resolve() == Path(self.path).resolve():
            # Each move would make a new file there, to be taken and moved again.
            raise ValueError("moved_to must be another folder than path")
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        """What it reads; no two sources may read the same."""
        if self.kind == "nats":
            return (self.url, self.stream, self.consumer)
        return (str(Path(self.path).resolve()), self.pattern)

    @property
    def consumer(self) -> str:
        """The durable consumer's name."""
        return self.durable or self.name.replace(".", "-")
