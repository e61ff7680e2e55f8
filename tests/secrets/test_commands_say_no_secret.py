"""Secrets that commands are given: by files, by the environment, by options, right and wrong."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from commands import PROGRAM, environment
from marked import Marks

SEED = 18
RIGHT = """
[[webhooks]]
name = "chat"
url = "https://hooks.example/services/{path}?token={query}"
secret = "{key}"
"""
WRONG = (
    '[[webhooks]]\nname = "a"\nurl = "https://user:{mark}@host/x"\n',
    '[[webhooks]]\nname = "a"\nurl = "ftp://host/{mark}"\n',
    '[[webhooks]]\nname = "a"\nurl = "https://host/x#{mark}"\n',
    '[[webhooks]]\nname = "a"\nurl = "https://host/x"\nsecret = ["{mark}"]\n',
    '[[webhooks]]\nname = "a"\nurl = "https://host/x"\nsecrets = "{mark}"\n',
    '[[webhooks]]\nname = "a"\nurl = "https://host/x"\nsecret = "{mark}\n',
    '[[sources]]\nname = "a"\nkind = "nats"\nurl = "nats://u:{mark}@h"\nstream = "s"\n',
    '[[sources]]\nname = "a"\nkind = "file"\npath = "/x"\ncredentials = "{mark}"\n',
    '[backup]\nurl = "https://user:{mark}@host/x"\n',
    '[backup]\nurl = "gs://user:{mark}@bucket/x"\n',
    '[backup]\nurl = "s3://bucket/x?key={mark}"\n',
    '[retention]\narchive = "gs://user:{mark}@bucket"\n',
)


def said_by(*arguments: str | Path, **settings: str) -> str:
    """Return all that a command prints, whatever its exit code."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


def test_the_configuration_is_shown_without_secrets(tmp_path: Path) -> None:
    """Neither the key of a webhook, nor the query or the path of its address, nor a credential."""
    marks = Marks(SEED)
    told = {name: marks.new(name) for name in ("path", "query", "key")}
    file = tmp_path / "chronicled.toml"
    file.write_text(RIGHT.format(**told))
    hidden = RIGHT.format(**{name: marks.new(f"credential's {name}") for name in told})
    (tmp_path / "chronicled.secrets.toml").write_text(hidden.replace("chat", "other"))
    for options in ([], ["--json"]):
        for verb in ("show", "check"):
            asked = ["config", verb, "--config", file, *options]
            said = said_by(*asked, CREDENTIALS_DIRECTORY=str(tmp_path))
            assert said.strip()
            assert marks.found_in(said.encode()) == set()
            assert verb == "check" or "hooks.example" in said


@pytest.mark.parametrize("where", ["file", "credential"])
def test_a_wrong_configuration_is_refused_without_its_secrets(tmp_path: Path, where: str) -> None:
    """What is wrong is named by its place, not by its value."""
    from daemon.config import load
    from domain.errors import ConfigurationError

    for number, text in enumerate(WRONG):
        marks = Marks(number)
        name = "chronicled.toml" if where == "file" else "chronicled.secrets.toml"
        (tmp_path / name).write_text(text.format(mark=marks.new("mark")))
        given = {"CREDENTIALS_DIRECTORY": str(tmp_path)} if where == "credential" else {}
        with pytest.raises(ConfigurationError) as refused:
            load(
                file=tmp_path / name if where == "file" else None,
                data=tmp_path,
                environment=given,
            )
        said = "\n".join([refused.value.detail, *(each.detail for each in refused.value.errors)])
        assert marks.found_in(said.encode()) == set(), text


@pytest.mark.parametrize(
    "settings",
    [
        {"CHRONICLED_BACKUP__URL": "https://user:{mark}@host/x"},
        {"CHRONICLED_RETENTION__POLICIES": '[{{"password": "{mark}"}}]'},
        {"CHRONICLED_RETENTION__ARCHIVE": "gs://user:{mark}@bucket"},
    ],
)
def test_a_wrong_variable_is_refused_without_its_secret(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    """The same of the environment."""
    marks = Marks(SEED)
    mark = marks.new("mark")
    given = {name: value.format(mark=mark) for name, value in settings.items()}
    said = said_by("config", "check", "--data", tmp_path, **given)
    assert "Configuration error" in said
    assert marks.found_in(said.encode()) == set()


def test_a_place_that_cannot_be_reached_is_told_without_its_credentials(tmp_path: Path) -> None:
    """The key of a service account, one that is none, and an address with a password."""
    marks = Marks(SEED)
    key = tmp_path / "key.json"
    key.write_text(
        json.dumps({"type": "service_account", "private_key": marks.new("private key"),
                    "client_email": "a@b", "token_uri": "http://127.0.0.1:1/t"})
    )  # fmt: skip
    broken = tmp_path / "broken.json"
    broken.write_text('{"private_key": "' + marks.new("broken key"))
    for path in (key, broken):
        for place in ("gs://bucket/log", f"gs://user:{marks.new(f'{path} user')}@bucket/log"):
            said = said_by(
                *("backup", "list", "--data", tmp_path, "--from", place),
                STORAGE_EMULATOR_HOST="http://127.0.0.1:1",
                CHRONICLED_BACKUP__CREDENTIALS=str(path),
                CHRONICLED_BACKUP__TIMEOUT_SECONDS="1",
            )
            assert "rror" in said
            assert marks.found_in(said.encode()) == set()


@pytest.mark.parametrize("option", [["jobs", "list"], ["append", "-"], ["events", "list"]])
def test_an_address_with_a_password_is_told_without_it(option: list[str]) -> None:
    """Where no daemon answers at a URL, the URL is named, and not the password in it."""
    marks = Marks(SEED)
    url = f"http://user:{marks.new('password')}@127.0.0.1:1/?token={marks.new('query')}"
    said = said_by(*option, "--url", url)
    assert said.strip()
    assert marks.found_in(said.encode()) == set()
