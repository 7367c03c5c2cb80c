"""Whose certificate a server showed that could not be trusted: a person must see that to know what to do.

Takes a way to connect again, gives the issuer's name for a message. Nothing is sent over that connection.

next: ``sources.dialing``
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

from pipeline.errors import ModelportError, SettingsError
from pipeline.sources.answers import plain


def trust(ca_file: str | None) -> ssl.SSLContext:
    """Make what verifies servers: the authorities of ``ca_file``, or the system's.

    Raises:
        SettingsError: the file cannot be read, or holds no certificates.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise SettingsError(
            f"{ca_file or 'the system'}: no certificate authorities can be read there: {error.strerror or error}",
            hint="Name a file of PEM certificates with --ca-bundle or SSL_CERT_FILE.",
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def issuer_of(dial: Callable[[], socket.socket], host: str) -> str:
    """Name the issuer of the certificate that the server shows, "unknown" where it shows none."""
    # Python gives the certificate of a refused handshake to nobody: it is asked for once more, and only looked at.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with dial() as connected, context.wrap_socket(connected, server_hostname=host) as secured:
            shown = secured.getpeercert(binary_form=True)
    except (OSError, ModelportError):
        return "unknown"
    if not shown:
        return "unknown"
    from cryptography import x509

    try:
        return repr(plain(x509.load_der_x509_certificate(shown).issuer.rfc4514_string(), 200))
    except ValueError:
        return "unreadable"
