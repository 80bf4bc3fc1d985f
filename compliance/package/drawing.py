"""Draws samples by a seed, so that anybody can draw them again.

The numbers HMAC-SHA256(key = the seed in UTF-8, message = root ‖ counter), the counter being 8 bytes, big-endian, from
0, read as a big-endian integer, modulo the number of rows; a row that was drawn before is passed over. The root is that
of the population, and of the signed tree for the leaves of the window.
"""

import hmac
from hashlib import sha256


def draw(seed: str, root: bytes, rows: int, count: int) -> list[int]:
    """Return the places, from 0, of `count` different rows, in the order in which they are drawn; all if so few.

    Args:
        seed: the auditor's text.
        root: what was committed to before the seed was known.
        rows: how many there are.
        count: how many to draw.
    """
    if rows <= count:
        return list(range(rows))
    drawn: dict[int, None] = {}
    counter = 0
    while len(drawn) < count:
        digest = hmac.digest(seed.encode(), root + counter.to_bytes(8, "big"), sha256)
        drawn.setdefault(int.from_bytes(digest, "big") % rows)
        counter += 1
    return list(drawn)
