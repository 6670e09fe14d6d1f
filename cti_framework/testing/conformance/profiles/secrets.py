"""Secrets: in no log line, no error, no text of an object, no event."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from cti_framework.agents import AgentFeature
from cti_framework.errors import CtiError
from cti_framework.events import Disconnected
from cti_framework.testing.conformance.given import planted as planted_in
from cti_framework.testing.conformance.given import secrets as secrets_of
from cti_framework.testing.conformance.rules import rule
from cti_framework.testing.conformance.running import NotMeasured
from cti_framework.testing.conformance.stand import Stand
from cti_framework.testing.conformance.suite import Profile

__all__ = ["SecretsProfile"]

_PLANTED: Final = "kit-planted-secret-0815"
_SHORTEST: Final = 6


class SecretsProfile(Profile):
    """What whoever reads a log, an error or a screen must not see."""

    @rule(
        "secrets.session",
        "The user's secrets are in no log line, no report, no event and no text of an object, and are not printed, from log in to"
        " the end.",
        contract="docs/how-to/write-a-provider.md; settings.setting(secret=…)",
        opens=False,
    )
    async def test_a_session_shows_no_secret(self, stand: Stand) -> None:
        secrets = [secret for secret in secrets_of(stand.bench, stand.simulation).values() if len(secret) >= _SHORTEST]
        if not secrets:
            raise NotMeasured("the PBX in a box has no secret that is long enough to be looked for")
        async with stand.session() as model:
            call = await stand.talking()
            await stand.far.do("hang_up", stand.number_of(call))
            await stand.finished(call)
            if stand.offers(AgentFeature.CALL_RECORDS):
                await stand.settle()
                await model.query_recordings(call.id)
            # What a lost connection is explained by is shown, too.
            with suppress(NotMeasured):
                since = stand.mark()
                await stand.far.do("drop_network")
                await stand.until(Disconnected, since=since)
            texts = list(_texts_of(stand))
        texts += _logged(stand)
        _find_none(stand, secrets, texts)

    @rule(
        "secrets.refused",
        "A secret that the PBX refuses is not in the error that says so, nor in what is logged of it.",
        contract="errors; docs/how-to/write-a-provider.md",
        opens=False,
    )
    async def test_a_refusal_shows_no_secret(self, stand: Stand) -> None:
        planted = planted_in(stand.bench, stand.simulation, _PLANTED)
        if not planted:
            raise NotMeasured("the provider is given no secret")
        texts: list[tuple[str, str]] = []
        try:
            async with stand.session(planted):
                texts += _texts_of(stand)
        except CtiError as error:
            texts += _texts_of_error(error)
        texts += _logged(stand)
        _find_none(stand, [_PLANTED], texts)


def _find_none(stand: Stand, secrets: list[str], texts: list[tuple[str, str]]) -> None:
    for what, text in texts:
        for secret in secrets:
            stand.expect(secret not in text, f"{what} shows a secret: {text.replace(secret, '(the secret)')[:300]}")


def _logged(stand: Stand) -> list[tuple[str, str]]:
    seen = stand.seen
    texts = [("The log", repr(entry)) for entry in (*seen.logs.entries, *seen.logs.texts)]
    # What is printed in several pieces is one text.
    texts.append(("What is printed", "".join(seen.logs.printed)))
    return texts + [("The trace", text) for text in seen.traced]


def _texts_of(stand: Stand) -> Iterator[tuple[str, str]]:
    provider = stand.provider
    context = provider.context
    shown: dict[str, Any] = {
        "repr(provider)": provider,
        "str(provider)": str(provider),
        "repr(context)": context,
        "repr(settings)": context.settings,
        "str(settings)": str(context.settings),
        "repr(user_settings)": context.user_settings,
        "str(user_settings)": str(context.user_settings),
        "repr(user)": context.user,
    }
    for what, value in shown.items():
        yield what, repr(value)
    for name, value in vars(provider).items():
        # A secret that is kept as a plain text is shown by whatever prints the provider's attributes.
        if not isinstance(value, str | bytes):
            yield f"repr(provider.{name})", repr(value)
    for told in stand.seen.told:
        yield f"The report {type(told.report).__name__}", repr(told.report)
        yield f"What {type(told.report).__name__} has from the PBX", repr(told.report.raw)
    for event in stand.seen.events:
        yield f"The event {type(event).__name__}", repr(event)


def _texts_of_error(error: BaseException) -> Iterator[tuple[str, str]]:
    for line in traceback.format_exception(error):
        yield "The error", line
    seen: BaseException | None = error
    while seen is not None:
        yield f"The error {type(seen).__name__}", f"{seen!r} {seen}"
        if isinstance(seen, CtiError):
            yield f"{type(seen).__name__}.describe()", repr(seen.describe())
        seen = seen.__cause__ or seen.__context__
