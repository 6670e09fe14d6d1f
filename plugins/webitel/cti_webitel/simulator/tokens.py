"""The engine's tokens (facts: webitel-protocol 1.1, 3)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import attrs
import orjson

from cti_framework.switchboard import Switchboard
from cti_webitel.simulator.frames import microseconds

__all__ = ["Token", "Tokens"]

_ACL = {"cdr": ["ro"], "cdr/files": ["ro"]}


@attrs.frozen(kw_only=True)
class Token:
    """A key and its token.

    Attributes:
        key: Names it.
        token: A JWT.
        presence: Whose.
        expires_ms: When, in milliseconds since 1970.
    """

    key: str = attrs.field(repr=False)
    token: str = attrs.field(repr=False)
    presence: str
    expires_ms: int


class Tokens:
    """The tokens given out, by key.

    Args:
        switchboard: Tells the time and makes identifiers.

    Attributes:
        life_seconds: How long a new one is good.
    """

    def __init__(self, switchboard: Switchboard) -> None:
        self.life_seconds = 0.0
        self._switchboard = switchboard
        self._tokens: dict[str, Token] = {}
        self._secret = switchboard.new_id().encode()

    def give(self, presence: str) -> Token:
        """Give an account a token: the one it has, if that is good for a day.

        Args:
            presence: To whom.

        Returns:
            It.
        """
        for token in self._tokens.values():
            if token.presence == presence and token.expires_ms - self._now_ms() > 86_400_000:
                return token
        expires_ms = self._now_ms() + int(self.life_seconds * 1000)
        head = _encoded(orjson.dumps({"typ": "JWT", "alg": "HS256"}))
        body = _encoded(orjson.dumps({"exp": expires_ms, "acl": _ACL}))
        signature = _encoded(hmac.new(self._secret, f"{head}.{body}".encode(), hashlib.sha256).digest())
        token = Token(
            key=self._switchboard.new_id(), token=f"{head}.{body}.{signature}", presence=presence, expires_ms=expires_ms
        )
        self._tokens[token.key] = token
        return token

    def forget(self, presence: str) -> None:
        """Take an account's tokens back.

        Args:
            presence: Whose.
        """
        self._tokens = {key: token for key, token in self._tokens.items() if token.presence != presence}

    def owner(self, key: Any, token: Any) -> tuple[str | None, str]:
        """Look who may log in with a key and a token.

        Args:
            key: As it came in.
            token: As it came in.

        Returns:
            The account, and nothing; or nobody, and what is wrong.
        """
        known = self._tokens.get(key) if isinstance(key, str) else None
        if known is None or known.token != token:
            return None, "Invalid Token or Key"
        if known.expires_ms <= self._now_ms():
            return None, "Token Expired"
        return known.presence, ""

    def _now_ms(self) -> int:
        return int(microseconds(self._switchboard.now)) // 1000


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
