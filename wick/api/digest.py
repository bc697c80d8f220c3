"""Short digests, and comparing secrets, without OpenSSL.

`hashlib` and `hmac` load its library: 3.7 MB of a front's 30. CPython's own BLAKE2 and comparison are what they fall
back to without it.
"""

from _blake2 import blake2b
from _operator import _compare_digest as is_same  # takes as long for what differs early as for what differs late

__all__ = ["digest", "is_same"]


def digest(data: bytes, key: bytes = b"", size: int = 16) -> bytes:
    return blake2b(data, digest_size=size, key=key).digest()
