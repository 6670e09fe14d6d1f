"""Whether two media descriptions agree on video: that is all that is read of them here."""

from __future__ import annotations

__all__ = ["both_show_video"]


def both_show_video(ours: str, theirs: str) -> bool:
    """Tell whether two media descriptions agree on video.

    Args:
        ours: The one.
        theirs: The other.

    Returns:
        Whether both have a stream of video that is neither refused nor switched off.
    """
    return _shows_video(ours) and _shows_video(theirs)


def _shows_video(sdp: str) -> bool:
    sections = sdp.replace("\r\n", "\n").split("\nm=")[1:]
    for section in sections:
        first, *attributes = section.split("\n")
        words = first.split(" ")
        if words[0] == "video" and len(words) > 1 and words[1] != "0" and "a=inactive" not in attributes:
            return True
    return False
