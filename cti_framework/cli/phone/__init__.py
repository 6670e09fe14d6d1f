"""``cti phone``: a softphone in the terminal, and for scripts one that needs nobody.

What a key means (``keys``), what is remembered (``state``) and how the screen looks (``drawing``) know neither a terminal nor a
session. ``softphone`` does what was pressed; ``screen``, ``lines`` and ``robot`` are three ways to use it; ``using`` takes one.
"""

from __future__ import annotations

from cti_framework.cli.phone.command import phone

__all__ = ["phone"]
