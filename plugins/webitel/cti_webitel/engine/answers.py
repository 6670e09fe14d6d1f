"""What the engine answers, read: objects that come as JSON texts, its words for a refusal (facts: webitel-protocol 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cti_framework.errors import CommandError, CommandStage
from cti_framework.json_text import read_json
from cti_webitel.engine.protocol import Reply

__all__ = ["read_account_rows", "read_object", "read_refusal", "read_rows", "read_text", "unreadable"]


def read_object(func: str, answer: Any) -> Mapping[str, Any]:
    """Read an object, which may come as a JSON text.

    Args:
        func: The command that it answers.
        answer: It.

    Returns:
        The object.

    Raises:
        CommandError: It is none.
    """
    if isinstance(answer, str):
        try:
            answer = read_json(answer)
        except ValueError:
            raise unreadable(func) from None
    if not isinstance(answer, Mapping):
        raise unreadable(func)
    return answer


def read_rows(func: str, rows: Any) -> Sequence[Mapping[str, Any]]:
    """Read a list of objects; what else is in it is left out.

    Args:
        func: The command that it answers.
        rows: It.

    Returns:
        The objects.

    Raises:
        CommandError: It is no list.
    """
    if not isinstance(rows, list):
        raise unreadable(func)
    return [row for row in rows if isinstance(row, Mapping)]


def read_account_rows(answer: Any) -> Mapping[str, Any]:
    """Read the answer to ``api account list``: an object within an object, as a JSON text.

    Args:
        answer: It.

    Returns:
        One row an account, by its number.

    Raises:
        CommandError: It is none.
    """
    table = read_object("api account list", answer)
    return read_object("api account list", table.get("response", table))


def read_text(answer: Any) -> str:
    """Read a text of the switch, which ends its lines.

    Args:
        answer: It; ``None`` where the engine said nothing.

    Returns:
        The text without what surrounds it.
    """
    return "" if answer is None else str(answer).strip()


def read_refusal(reply: Reply) -> str:
    """Find the engine's words in the forms that a refusal has (facts: webitel-protocol 1.1, 2).

    Args:
        reply: The answer.

    Returns:
        Its words; empty if there are none.
    """
    said: Any = reply.response
    if isinstance(said, Mapping):
        said = said.get("login", said)
    if isinstance(said, Mapping):
        said = said.get("message")
    return said.strip() if isinstance(said, str) and said.strip() else str(reply.error or "").strip()


def unreadable(func: str) -> CommandError:
    """Make the error for an answer that cannot be read. What it holds is not shown: it may be secret.

    Args:
        func: The command that it answers.

    Returns:
        The error.
    """
    return CommandError(
        f"The engine answered {func} with something that cannot be read.", command=func, stage=CommandStage.ACCEPTED
    )
