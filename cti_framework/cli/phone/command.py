"""The command and its options. What has to do with sound is imported when it is used: most commands need none of it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from cti_framework.cli.invocation import Invocation, json_option, pass_invocation, user_option
from cti_framework.cli.phone.wanted import Wanted
from cti_framework.provider import CtiUser

__all__ = ["phone"]

_EPILOG: Final = """\b
Keys:
  0-9 * # +   a number, then Enter; in a call: tones
  d           a number or a name, then Enter
  a  h  H  m  answer, hang up, hold and take back, mute
  t  c        transfer to a number, or ask somebody first
  x  s  b  j  complete the transfer, swap, go back, join all three
  up, down    choose another call
  q           hang up and leave

\b
Examples:
  cti --settings pbx.toml phone
  cti --settings pbx.toml phone --answer --play hello.wav --save answer.wav --seconds 30
  cti --settings pbx.toml phone --call 9196 --source tone:440 --save echo.wav --seconds 5
  echo 0501234567 | cti --settings pbx.toml phone
  cti phone --devices
"""


@click.command(short_help="A phone in the terminal, or one for scripts.", epilog=_EPILOG)
@user_option
@click.option("--answer", "answers", is_flag=True, help="For scripts: answer the next call that comes.")
@click.option("--call", "number", metavar="NUMBER", help="For scripts: call somebody.")
@click.option(
    "--play",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Say what is in this file once the call is connected; the same as --source file:FILE.",
)
@click.option(
    "--save",
    metavar="FILE.wav",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Save what is heard, a file a call; those after the first get a number.",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option(
    "--source",
    metavar="WHAT",
    help="What speaks: device, device:NAME, silence, tone:440 or file:PATH.",
)
@click.option("--sink", metavar="WHAT", help="What listens: device, device:NAME, none or FILE.wav.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Hang up so long after the call was connected; else when the file is over, or the other side hangs up.",
)
@click.option(
    "--within",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Give up where no call is connected within so many seconds.",
)
@click.option("--devices", is_flag=True, help="List the sound devices of this computer.")
@json_option
@pass_invocation
def phone(
    invocation: Invocation,
    user: CtiUser,
    answers: bool,
    number: str | None,
    play: Path | None,
    save: Path | None,
    force: bool,
    source: str | None,
    sink: str | None,
    seconds: float | None,
    within: float | None,
    devices: bool,
) -> int:
    """Be a phone: with a screen and keys on a terminal, else by lines; with --answer or --call by itself.

    A provider's web phone is used where it has one; it is switched on unless a setting says otherwise. What speaks and listens
    are the microphone and the speaker of the settings under media., or the computer's own, where no option says otherwise. With
    --answer and --call, where only one of the two is given, the other is silent.

    Without a terminal, or with --json, each line of the standard input is digits, or a key or its word with the number that it
    asks for (`a`, `t 102`, `hold`), and events are printed. When there are no more lines it ends with the last call.

    With --answer or --call the exit code is 0 if a call took place, 1 if not. Ctrl-C hangs up.
    """
    wanted = Wanted(
        answers=answers,
        number=number,
        play=play,
        save=save,
        force=force,
        source=source,
        sink=sink,
        seconds=seconds,
        within=within,
    )
    wanted.check()
    from cti_framework.cli.phone.using import list_devices, use_phone

    return list_devices(invocation.output) if devices else use_phone(invocation, user, wanted)
