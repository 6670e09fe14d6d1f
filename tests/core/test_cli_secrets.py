"""What the command takes out of its log and its errors, and settings that show and give what they may."""

from __future__ import annotations

import attrs
import pytest
from typed_settings.types import Secret

from cti_framework.cli.secrets import CommandSecrets
from cti_framework.redaction import MASK
from cti_framework.settings import SystemSettings, secret_values, setting


def test_known_secrets_are_taken_out_and_short_ones_only_by_their_names() -> None:
    secrets = CommandSecrets(lambda: ("hunter2", "100"))
    assert secrets.redact("100 could not log in with hunter2") == f"100 could not log in with {MASK}"
    assert secrets.redact({"password": "100", "remedy": ["hunter2"]}) == {"password": MASK, "remedy": [MASK]}
    assert secrets(None, "info", {"event": "x hunter2", "number": "100"}) == {"event": f"x {MASK}", "number": "100"}
    assert "hunter2" not in repr(secrets)


def test_they_are_looked_for_once_and_only_if_something_is_written() -> None:
    looked: list[None] = []

    def find() -> tuple[str, ...]:
        looked.append(None)
        # Whoever looks may log what he finds on his way.
        assert secrets.redact("on the way") == "on the way"
        return ("hunter2",)

    secrets = CommandSecrets(find)
    assert not looked
    assert [secrets.redact("hunter2") for _ in range(3)] == [MASK] * 3
    assert len(looked) == 1


@attrs.frozen(kw_only=True)
class Settings:
    address: str = setting()
    login: str | None = setting(default=None)
    lines: int = setting(default=1)
    key: str | None = setting(default=None, secret=True)
    password: Secret[str] | None = setting(default=None)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("ws://user:hunter2@pbx.example:871/engine?token=hunter2#hunter2", "ws://pbx.example:871/engine"),
        ("user:hunter2@pbx.example:871/engine?token=hunter2", "pbx.example:871/engine"),
        ("wss://pbx.example:871", "wss://pbx.example:871"),
        ("pbx.example", "pbx.example"),
        ("sip:100@pbx.example", "sip:100@pbx.example"),
        ("100@pbx.example", "100@pbx.example"),
        ("host=pbx password=hunter2", f"host=pbx password={MASK}"),
    ],
)
def test_settings_show_of_an_address_only_where_it_leads(address: str, shown: str) -> None:
    settings = Settings(address=address, login="100@demo.local", password=Secret("hunter2"), key="hunter2")
    assert settings.address == address
    assert repr(settings).startswith(f"Settings(address={shown!r}, login='100@demo.local', lines=1")
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("address", "passwords"),
    [
        ("ws://bob:hunter2@pbx.example:871/x?y=a@b", ("hunter2",)),
        ("ws://bob:it's@pbx.example", ("it's",)),
        ("ws://bob:a@b@pbx.example/c@d", ("a@b",)),
        ("ws://bob:a/b@pbx.example", ("a/b",)),
        ("ws://bob:p%40q@pbx.example", ("p%40q", "p@q")),
        ("ws://:hunter2@pbx.example", ("hunter2",)),
        ("ws://pbx.example:871/x@y", ()),
        ("ws://[::1]:871/x@y", ()),
        ("ws://bob@pbx.example", ()),
        ("100:hunter2", ()),
    ],
)
def test_the_password_of_an_address_is_a_secret(address: str, passwords: tuple[str, ...]) -> None:
    assert secret_values(Settings(address=address, key="k")) == (*passwords, "k")
    assert SystemSettings.load({"acme.address": address}, environ={}).secrets("acme", Settings) == passwords
    assert secret_values(Settings(address="", password=Secret(address))) == (address, *passwords)


def test_secrets_can_be_had_where_other_settings_cannot_be_used() -> None:
    values = {"acme.lines": "many", "acme.key": "env:KEY", "acme.password": "hunter2"}
    assert SystemSettings.load(values, environ={"KEY": "k"}).secrets("acme", Settings) == ("k", "hunter2")
    assert SystemSettings.load(values, environ={}).secrets("acme", Settings) == ("hunter2",)
    assert SystemSettings.load({}, environ={}).secrets("acme", Settings) == ()
