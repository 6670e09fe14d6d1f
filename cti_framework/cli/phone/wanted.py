"""What the phone was asked for on the command line."""

from __future__ import annotations

from pathlib import Path

import attrs
import click

__all__ = ["Wanted"]


@attrs.frozen(kw_only=True)
class Wanted:
    """What the phone was asked for.

    Attributes:
        answers: Whether it answers the next call by itself.
        number: Whom it calls by itself.
        play: The file that it says.
        save: The file that it saves to.
        force: Whether files are replaced.
        source: What speaks, as typed.
        sink: What listens, as typed.
        seconds: How long it talks by itself.
        within: How long it waits by itself.
    """

    answers: bool = False
    number: str | None = None
    play: Path | None = None
    save: Path | None = None
    force: bool = False
    source: str | None = None
    sink: str | None = None
    seconds: float | None = None
    within: float | None = None

    @property
    def is_robot(self) -> bool:
        """Whether nobody is there to press keys."""
        return self.answers or self.number is not None

    @property
    def names_sound(self) -> bool:
        """Whether it was said what speaks, what listens, or where to save."""
        return any(given is not None for given in (self.play, self.save, self.source, self.sink))

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            click.UsageError: Something does not.
        """
        for is_wrong, words in (
            (self.answers and self.number is not None, "--answer and --call: only one of them."),
            (self.play is not None and self.source is not None, "--play and --source: only one of them."),
            (
                not self.is_robot and (self.seconds is not None or self.within is not None),
                "--seconds and --within go with --answer or --call.",
            ),
        ):
            if is_wrong:
                raise click.UsageError(words)
