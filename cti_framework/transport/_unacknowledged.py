"""How much of what was sent the peer's computer has not acknowledged: it tells a peer that is gone from one that stands still."""

from __future__ import annotations

import sys

__all__ = ["unacknowledged_bytes"]


def unacknowledged_bytes(fileno: int) -> int | None:
    """Ask the operating system.

    Args:
        fileno: The TCP socket's.

    Returns:
        Bytes; ``None`` where the system does not tell: it does on Linux, for a socket that is open.
    """
    if sys.platform != "linux" or fileno < 0:
        return None
    import fcntl
    import termios

    try:
        # The number has another name for sockets, SIOCOUTQ, which Python does not know.
        answer = fcntl.ioctl(fileno, termios.TIOCOUTQ, bytes(4))
    except OSError:
        return None
    return int.from_bytes(answer, sys.byteorder)
