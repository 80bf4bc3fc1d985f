"""Verifies a log: every record and link of its chains, that calls were closed, and the signed tree over all of it.

What the chains prove: the records are those that were written, in that order, none missing in between. What they cannot
prove by themselves: that nothing was cut off the end together with the recorded head, or that a whole chain was not
written anew. The tree's checkpoint, signed and known to others, closes that.
"""

from audit.verification.chains import verify_chain, verify_store
from audit.verification.findings import ChainReport, Explained, Finding
from audit.verification.log import LogReport, TreeReport, verify_log
from audit.verification.progress import ChainState, VerifiedState, load_state, save_state

__all__ = [
    "ChainReport",
    "ChainState",
    "Explained",
    "Finding",
    "LogReport",
    "TreeReport",
    "VerifiedState",
    "load_state",
    "save_state",
    "verify_chain",
    "verify_log",
    "verify_store",
]
