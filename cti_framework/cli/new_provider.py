"""``cti new-provider``: a provider's package, and later what is new in the template."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from cti_framework.cli.invocation import Invocation, json_option, pass_invocation

__all__ = ["new_provider"]

_EPILOG: Final = """\b
With --json it writes one object with
  folder     the package's
  from       with --update, the number of the template that it was of; else null
  to         the number of the template that it is of now
  changed    with --update, the files that changed
  conflicts  with --update, those of them that hold conflicts

\b
Examples:
  cti new-provider acme
  cti new-provider acme plugins/acme --title "Acme PBX" --author "Anna Author"
  cti new-provider --update plugins/acme
"""


@click.command("new-provider", short_help="Make a package for a provider of your own.", epilog=_EPILOG)
@click.argument("name", required=False)
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--update", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), help="Bring a package up to the template."
)
@click.option("--title", metavar="TEXT", help="The PBX's name, for people; by default made from the name.")
@click.option("--author", metavar="TEXT", help="Who writes it.")
@json_option
@pass_invocation
def new_provider(
    invocation: Invocation, name: str | None, folder: Path | None, update: Path | None, title: str | None, author: str | None
) -> int:
    """Make a complete package for a provider of your own: it installs, and passes the conformance kit at once.

    Its PBX is one in memory; put your own in its place. DIR is cti-NAME where none is said. With --update a package that
    was made so is brought up to the present template: git merges, what you changed is kept, and nothing is committed. The exit
    code is 1 where the merge left conflicts. The extra "template" has to be installed.
    """
    if update is not None:
        if not (name is None and title is None and author is None):
            raise click.UsageError("--update takes a folder, and nothing else: the package knows what it was made with.")
        return _update(invocation, update)
    if name is None:
        raise click.UsageError("Say the provider's NAME, or --update DIR.")
    from cti_framework.template import Answers
    from cti_framework.template import new_provider as make

    answers = Answers(name=name, title=title, author=author)
    folder = folder or Path(answers.distribution)
    version = make(answers, folder)
    if invocation.output.as_json:
        invocation.output.json({"folder": str(folder), "from": None, "to": version, "changed": [], "conflicts": []})
        return 0
    invocation.output.line(f"{folder} is there: a provider '{name}', on a PBX in memory.")
    invocation.output.note(f"See it pass: python -m pytest {folder}")
    return 0


def _update(invocation: Invocation, folder: Path) -> int:
    from cti_framework.template import update_provider

    done = update_provider(folder)
    output = invocation.output
    if output.as_json:
        output.json(
            {
                "folder": str(folder),
                "from": done.from_version,
                "to": done.to_version,
                "changed": list(done.changed),
                "conflicts": list(done.conflicts),
            }
        )
    elif done.from_version == done.to_version:
        output.line(f"{folder} is of the present template, {done.to_version}; nothing is to do.")
    else:
        output.line(f"{folder} is brought from template {done.from_version} to {done.to_version}; nothing is committed yet.")
        for path in done.changed:
            output.line(("conflict", "bold red", 8) if path in done.conflicts else ("changed", "", 8), path)
        if done.conflicts:
            output.note("Settle the conflicts, `git add` the files and commit; `git reset --hard` takes all of it back.")
        else:
            output.note("Look at it with `git diff --cached`, then commit; `git reset --hard` takes it back.")
    return 1 if done.conflicts else 0
