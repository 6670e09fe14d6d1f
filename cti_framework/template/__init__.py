"""A provider's package, made from a template, and brought up to a newer template later. Extra ``template``.

Theory of operation: the template is data for copier, in ``versions/N``; the highest N is the present one, the others are kept as
they were, because whoever has a package of version M is brought from M to N: both are rendered with the answers that were
recorded, and git merges what differs between the two into what the author made of it. Nothing here needs a network, nor
that git knows who is there.
"""

from cti_framework.template.answers import Answers
from cti_framework.template.rendering import Templates, new_provider
from cti_framework.template.updating import Update, update_provider

__all__ = ["Answers", "Templates", "Update", "new_provider", "update_provider"]
