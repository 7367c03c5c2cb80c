"""Ed25519: is this signature by this key over these bytes? Verification only; there is no secret here.

Takes a public key (32 bytes), a signature (64 bytes) and a message; gives yes or no. This is RFC 8032 §5.1.7
with Python's whole numbers: a few milliseconds a signature, which is all an installation needs. Where the RFC
leaves a choice, the stricter answer is taken: S must be below the group order (no second signature can be made
from a first), points must be in their one encoding, and a key of small order, which would accept signatures
that nobody made, is no key. Nothing has to be done in constant time, for nothing is secret.

next: ``names``
"""

from __future__ import annotations

import hashlib

# The field, the curve constant d, a square root of -1, and the order of the base point (RFC 8032 §5.1).
P = 2**255 - 19
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)
ORDER = 2**252 + 27742317777372353535851937790883648493

# A point is (X, Y, Z, T): x = X/Z, y = Y/Z, x*y = T/Z (RFC 8032 §5.1.4).
Point = tuple[int, int, int, int]
NEUTRAL: Point = (0, 1, 1, 0)


def is_signed_by(public: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether ``signature`` is one of ``public`` over ``message``."""
    if len(public) != 32 or len(signature) != 64:
        return False
    key = _decode(public)
    if key is None or _is_neutral(_times_eight(key)):
        return False
    first, scalar = signature[:32], int.from_bytes(signature[32:], "little")
    if scalar >= ORDER:
        return False
    challenge = int.from_bytes(hashlib.sha512(first + public + message).digest(), "little") % ORDER
    # R = S*B - k*A; comparing encodings also refuses an R in any but its one encoding.
    return _encode(_add_multiples(scalar, BASE, challenge, _negative(key))) == first


def _add(one: Point, other: Point) -> Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % P
    b = (one[1] + one[0]) * (other[1] + other[0]) % P
    c = 2 * one[3] * other[3] * D % P
    d = 2 * one[2] * other[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def _double(one: Point) -> Point:
    a, b = one[0] * one[0] % P, one[1] * one[1] % P
    c = 2 * one[2] * one[2] % P
    h = a + b
    e = h - (one[0] + one[1]) * (one[0] + one[1]) % P
    g = a - b
    f = c + g
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def _add_multiples(m: int, one: Point, n: int, other: Point) -> Point:
    """M times ``one`` plus n times ``other``, bit by bit from the top, both at once."""
    both = _add(one, other)
    total = NEUTRAL
    for bit in range(max(m.bit_length(), n.bit_length()) - 1, -1, -1):
        total = _double(total)
        which = (m >> bit & 1) + 2 * (n >> bit & 1)
        if which:
            total = _add(total, (one, other, both)[which - 1])
    return total


def _times_eight(one: Point) -> Point:
    return _double(_double(_double(one)))


def _negative(one: Point) -> Point:
    return (P - one[0], one[1], one[2], P - one[3])


def _is_neutral(one: Point) -> bool:
    return bool(one[0] % P == 0 and (one[1] - one[2]) % P == 0)


def _encode(one: Point) -> bytes:
    inverse = pow(one[2], P - 2, P)
    x, y = one[0] * inverse % P, one[1] * inverse % P
    return int.to_bytes(y | (x & 1) << 255, 32, "little")


def _decode(data: bytes) -> Point | None:
    """The point that 32 bytes spell, or None (RFC 8032 §5.1.3)."""
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if y >= P:
        return None
    x = _x_of(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def _x_of(y: int, sign: int) -> int | None:
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * SQRT_M1 % P
    if (x * x - square) % P:
        return None
    if x == 0 and sign:
        return None
    return P - x if x & 1 != sign else x


_BASE_Y = 4 * pow(5, P - 2, P) % P
_BASE_X = _x_of(_BASE_Y, 0) or 0
BASE: Point = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % P)
