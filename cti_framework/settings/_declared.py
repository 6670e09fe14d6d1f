"""What one setting is, where it is declared."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import unquote

import attrs

from cti_framework.redaction import SecretRedactor

__all__ = ["METADATA", "SettingMetadata", "repr_of", "secret_values", "secrets_in", "setting"]

METADATA: Final = "cti_framework.setting"
"""Under which key an attribute carries its ``SettingMetadata``."""

_BY_NAME: Final = SecretRedactor()
# An address whose scheme was forgotten.
_URL_PASSWORD: Final = re.compile(
    # Not host and port. It ends at the last @ of the authority; one with a slash in it, at the last of all.
    r"[a-z][a-z0-9+.\-]*://[^/?#@:\[]*:(?!\d{1,5}(?:[/?#]|$))(?:([^/?#]*)|(.*))@",
    re.IGNORECASE | re.DOTALL,
)
_USER_AND_PASSWORD: Final = re.compile(r"(?!sips?:)[^\s@:/]+:[^\s@]+@", re.IGNORECASE)


@attrs.frozen
class SettingMetadata:
    codes: tuple[str, ...]
    help: str
    secret: bool
    system_only: bool


def repr_of(value: Any) -> str:
    """Show a value; of an address only where it leads."""
    if isinstance(value, str) and ("://" in value or _USER_AND_PASSWORD.match(value)):
        from cti_framework.transport import safe_url

        value = safe_url(value)
    shown: str = _BY_NAME.redact(repr(value)) if isinstance(value, str) else repr(value)
    return shown


def setting(
    *,
    default: Any = attrs.NOTHING,
    code: str | None = None,
    codes: Iterable[str] = (),
    help: str = "",
    secret: bool = False,
    system_only: bool = False,
    validator: Any = None,
) -> Any:
    """Declare one setting in an attrs class; it stands where ``attrs.field`` would.

    The key is the class's prefix and the attribute's name. The type says what a value is converted to: ``str``, ``int``,
    ``float``, ``bool``, an ``Enum`` (by name or value), ``Path``, ``tuple[str, ...]`` (from a list or comma-separated text),
    ``Secret[str]`` of typed-settings, and each of them ``| None`` (empty text is ``None``).

    Args:
        default: What holds where no source says anything. Without one the setting has to be given.
        code: The product's own key for it, for example ``"webitelConnectionString"``. A code is looked up in every source
            and without a prefix, so it has to be a name that nobody else uses.
        codes: Further such keys.
        help: What it is for, in one sentence, for documentation and settings pages.
        secret: Whether it is never shown. ``Secret`` types are secret without it.
        system_only: Whether a user's own parameters may not set it. A users directory may: an administrator writes that.
        validator: One attrs validator or a list; their bounds are told to whoever breaks them. They are given no instance:
            what compares attributes belongs into ``__attrs_post_init__``, and raises ``ValueError``.

    Returns:
        What ``attrs.field`` returns.
    """
    metadata = SettingMetadata(codes=((code,) if code else ()) + tuple(codes), help=help, secret=secret, system_only=system_only)
    return attrs.field(default=default, validator=validator, repr=False if secret else repr_of, metadata={METADATA: metadata})


def secret_values(settings: Any) -> tuple[str, ...]:
    """Collect the secrets that a settings object holds, for whoever has to take them out of something.

    Args:
        settings: An instance of a settings class; of anything else it is nothing.

    Returns:
        Each secret that is set, and the password of each URL.
    """
    if not attrs.has(type(settings)):
        return ()
    values: list[str] = []
    for field in attrs.fields(type(settings)):
        value: Any = getattr(settings, field.name, None)
        metadata: SettingMetadata | None = field.metadata.get(METADATA)
        values += secrets_in(value, is_secret=metadata is not None and metadata.secret)
    return tuple(values)


def secrets_in(value: Any, *, is_secret: bool) -> list[str]:
    """Collect what is secret in the value of one setting.

    Args:
        value: It, also one that keeps a secret.
        is_secret: Whether the setting is declared as one.

    Returns:
        The value itself if it is secret, and what a URL in it has for a password: as it is written, and as it is meant.
    """
    if hasattr(value, "get_secret_value"):
        value, is_secret = value.get_secret_value(), True
    found = [str(value)] if is_secret and value is not None and value != "" else []
    for text in value if isinstance(value, list | tuple) else (value,):
        url = _URL_PASSWORD.search(text) if isinstance(text, str) else None
        if url is not None:
            password = url[1] or url[2] or ""
            found += (spelling for spelling in dict.fromkeys((password, unquote(password))) if spelling)
    return found
