"""One signature at a time, for those who read or write signed documents themselves: the installer, an inventory.

Takes a key as TUF metadata spells it, gives yes or no; or a key's URI, gives a signature.

next: ``state``
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import Key, Signature

from pipeline.trust.keys import KeySecrets, load_signer


def is_signature(key: Mapping[str, Any], signature: bytes, message: bytes) -> bool:
    """Tell whether ``signature`` is one of ``key`` over ``message``, by the key's own type and scheme."""
    keyid = "0" * 64
    try:
        found = Key.from_dict(keyid, dict(key))
        found.verify_signature(Signature(keyid, signature.hex()), message)
    except (KeyError, TypeError, ValueError, UnverifiedSignatureError, VerificationError):
        # A key that cannot be read has signed nothing, as with a signature that does not fit.
        return False
    return True


def sign_bytes(uri: str, message: bytes, secrets: KeySecrets | None = None) -> tuple[str, str]:
    """Sign a document that is not TUF metadata: (key id, signature in hex).

    Raises:
        KeyUnusable: as ``load_signer``.
    """
    signer = load_signer(uri, secrets)
    made = signer.sign(message)
    return made.keyid, made.signature
