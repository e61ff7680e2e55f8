"""Secrets: what is masked, what is not, and that they enter neither events nor dead letters."""

from __future__ import annotations

import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from intake_lines import DONE, TO_DO, decode, keys, lines, payload, task

from daemon.intake.secrets import MASK, mask_bytes, mask_path, mask_text, mask_value

# Put together here, so that no scanner takes this file for a leak.
AWS = "AKIA" + "ABCDEFGHIJKLMNOP"
GITHUB = "ghp_" + "a1" * 18
JWT = "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiJ4In0." + "c2lnbmF0dXJl"
BEGIN = "-----BEGIN RSA " + "PRIVATE KEY-----"
KEY = f"{BEGIN}\nMIIEow\n-----END RSA PRIVATE KEY-----"

HIDDEN = [
    ("postgres://etl:hunter2@db:5432/x", "hunter2"),
    ("https://u:p@ss@host/x", "p@ss"),
    ("dsn=https%3A%2F%2Fetl%3Ahunter2%40db%2Fx", "hunter2"),
    ("Authorization: Bearer abcdef123456", "abcdef123456"),
    ("authorization: Basic ZXRsOmh1bnRlcjI=", "ZXRsOmh1bnRlcjI"),
    ("curl: bearer%20abcdef123456 refused", "abcdef123456"),
    ('{"password": "hun\\"ter2", "a": 1}', "ter2"),
    ('{"db_password":"hunter2"}', "hunter2"),
    ('{"x":"{\\"api_key\\": \\"hunter2\\"}"}', "hunter2"),
    ('{"token": 12345678}', "12345678"),
    ("login failed, password: hunter2", "hunter2"),
    ("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI"),
    ("https://s/x?a=1&X-Amz-Signature=deadbeef&X-Amz-Date=1", "deadbeef"),
    ("https://s/x?X-Amz-Credential=hunter2%2F20260204&b=2", "hunter2"),
    ("https://storage/x?X-Goog-Signature=deadbeef", "deadbeef"),
    ("https://blob/x?sv=1&sig=deadbeef%3D", "deadbeef"),
    ("u=https%3A%2F%2Fh%3Ftoken%3Ddeadbeef%26a%3D1", "deadbeef"),
    (f"key {AWS} is inactive", AWS),
    (f"clone with {GITHUB}", GITHUB),
    ("GOOG1E" + "A" * 40, "A" * 40),
    ("AIza" + "b" * 35, "b" * 35),
    (f"cookie {JWT};", JWT),
    (f"see {KEY} end", "MIIEow"),
    (f"{BEGIN}\\nMIIEow and then cut", "MIIEow"),
    ("https://hooks.slack.com/services/T0/B0/abc", "abc"),
]
HARMLESS = [
    "gs://raw/2026/02/04/06/in.csv?output=gs://json/out.json.gz",
    "?table=ev&day=2026-02-04&tokens=5&keys=a,b&passed=3",
    "invalid token: unexpected ']' at 12",
    "dial tcp 127.0.0.1:4150: connect: connection refused",
    "secretary@example.org wrote 5 records",
    "primary key violated: design=flat assigned=3 pass: 10",
    "3f0c6a52-8d5e-4d6e-9c55-0f2a3a1f7b10",
    '{"md5Hash":"XUFAKrxLKna5cZ2REBfFkg==","etag":"CN+sqP/DoPQCEAE="}',
]


@pytest.mark.parametrize(("text", "secret"), HIDDEN)
def test_known_secrets_are_masked(text: str, secret: str) -> None:
    """The secret is gone, a mask stands there, and masking again changes nothing."""
    masked = mask_text(text)
    assert secret not in masked
    assert MASK in masked
    assert mask_text(masked) == masked


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_text_is_left_alone(text: str) -> None:
    """What only looks a little like a secret stays as it is."""
    assert mask_text(text) == text


@pytest.mark.parametrize("name", ["password", "DB_PASSWORD", "api-key", "accessToken", "x.secret"])
def test_a_value_is_secret_by_its_name(name: str) -> None:
    """A field whose name says so is masked as a whole, whatever it holds."""
    assert mask_value(name, "correct horse") == MASK
    assert mask_value(name, "") == ""
    assert mask_value("tokens", "5") == "5"


def test_what_surrounds_a_secret_stays() -> None:
    """Only the secret itself is replaced."""
    assert mask_text("https://etl:hunter2@db/x?a=1") == "https://etl:***@db/x?a=1"
    assert mask_text("a=1&token=abc&b=2") == "a=1&token=***&b=2"
    assert mask_bytes(b'{"secret":"abc","b":2}') == b'{"secret":"***","b":2}'


@given(st.binary(max_size=200), st.sampled_from([text.encode() for text, _ in HIDDEN]))
def test_any_bytes_can_be_masked(noise: bytes, text: bytes) -> None:
    """Masking takes any bytes, also torn ones, and settles at once."""
    for raw in (noise, noise + text, text[: len(text) // 2] + noise):
        masked = mask_bytes(raw)
        assert mask_bytes(masked) == masked


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(HIDDEN))
def test_masked_text_is_text(noise: str, hidden: tuple[str, str]) -> None:
    """However a secret is surrounded, what is left is text."""
    assert isinstance(mask_text(noise + hidden[0] + noise), str)


def test_no_secret_of_a_task_enters_its_events() -> None:
    """Every text of a task is masked before ids and payloads are made of it."""
    secret = "hunter2"
    fields = {
        "info": f"postgres://etl:{secret}@db/x?sslmode=on",
        "msg": f"401 for https://s/x?X-Goog-Signature={secret}",
        "meta": f"workflow=w.toml&api_key={secret}&retry=failed&dsn=a%3A%2F%2Fb%3A{secret}%40c",
        "result": "error",
        "env": {"list": [f"DB_PASSWORD={secret}"], "token": [secret], "n": {"secret": 12345}},
    }
    events = task(**DONE | fields)
    assert secret not in repr(events)
    extra = payload(events[2])["extra"]
    assert extra["meta"]["api_key"] == MASK
    assert extra["meta"]["dsn"] == "a://b:***@c"
    assert "retry=failed" in extra["meta_raw"]
    assert extra["fields"]["env"]["n"] == {"secret": MASK}
    other = {name: re.sub(secret, "swordfish", str(value)) for name, value in fields.items()}
    assert keys(task(**DONE | other)) == keys(events)


def test_meta_is_kept_as_it_came_where_nothing_is_masked() -> None:
    """A hint of a secret that is none does not rewrite the text."""
    meta = "keys=a%2Cb&workflow=w.toml"
    assert payload(task(**TO_DO | {"meta": meta})[0])["extra"]["meta_raw"] == meta


def test_no_secret_of_a_file_message_enters_its_event() -> None:
    """Address and unknown keys of a file message are masked, in the subject too."""
    (event,) = decode("flowlord-file", path="https://s/x?X-Amz-Signature=abc", headers={"token": 5})
    assert event.subject == "https://s/x?X-Amz-Signature=***"
    assert payload(event)["extra"]["fields"] == {"headers": {"token": MASK}}


def test_a_dead_letter_keeps_no_secret() -> None:
    """The bytes to keep and the detail are masked; the raw bytes still tell repeats apart."""
    raw = b'{"type":7,"password":"hunter2"'
    letter = lines("flowlord-task", raw)[0].dead_letter
    assert letter.raw == raw
    assert letter.kept == b'{"type":7,"password":"***"'
    event = {"specversion": "1.0", "type": "job.token=hunter2"}
    letter = lines("cloudevents", orjson.dumps(event))[0].dead_letter
    assert "hunter2" not in letter.detail + repr(letter.kept)


def test_a_dead_letter_without_secrets_keeps_its_bytes() -> None:
    """Nothing is kept beside the raw bytes when there is nothing to mask."""
    assert lines("flowlord-task", b"{")[0].dead_letter.kept is None


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/api/intake/q7Zt3LmXw9Rb2KfVs8Hc4NdYp6Gj1TaE", "/api/intake/***"),
        ("/q7Zt3LmXw9Rb2KfVs8Hc4NdYp6Gj1TaEx/b", "/***/b"),
        ("/api/jobs/0123456789abcdef0123456789abcdef", None),
        ("/api/jobs/5f0c7a52-9d1e-4c3b-8a60-2b7f4f1c9e01", None),
        ("/x/0123456789abcdef0123456789abcdefZ", "/x/***"),
    ],
)
def test_a_path_is_shown_without_what_may_be_a_secret(path: str, shown: str | None) -> None:
    """Runs of 32 letters and digits are cut out; ids and digests in hexadecimal stay."""
    assert mask_path(path) == (shown or path)
