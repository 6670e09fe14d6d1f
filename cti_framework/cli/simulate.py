"""``cti simulate``: a provider's PBX in a box, for other programs."""

from __future__ import annotations

from typing import Final

import anyio
import click

from cti_framework.cli.invocation import Invocation, json_option, pass_invocation
from cti_framework.cli.running import Stopping, run_until_stopped

__all__ = ["simulate"]

_EPILOG: Final = """\b
Examples:
  cti simulate webitel
  cti simulate webitel --port 10022 --control-port 10023
"""

_PORT = click.IntRange(0, 65535)


@click.command(short_help="Run a provider's simulator as a server.", epilog=_EPILOG)
@click.argument("name")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=_PORT, default=0, help="The port for clients; by default a free one.")
@click.option("--control-port", type=_PORT, default=0, help="The port for whoever drives the far side; by default a free one.")
@json_option
@pass_invocation
def simulate(invocation: Invocation, name: str, host: str, port: int, control_port: int) -> int:
    """Run the simulator of provider NAME as a server, until Ctrl-C or SIGTERM.

    The first line tells where it listens and who can log in.
    """
    output = invocation.output
    _, serve_simulator = invocation.tool_of(name, "serve_simulator")

    async def serve(stopping: Stopping) -> None:
        async with serve_simulator(host=host, port=port, control_port=control_port) as told:
            if output.as_json:
                output.json({"simulator": name, "detail": told})
            else:
                output.line(told)
                output.note("Ctrl-C ends it.")
            await anyio.sleep_forever()

    return run_until_stopped(serve)
