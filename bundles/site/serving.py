"""A site is served until somebody stops it.

Takes an order, gives a summary of what was served. The socket is bound first, so that a port in use is one line; stopping
(SIGINT, SIGTERM) lets answers that are nearly done finish.

next: nothing; this is the door of a site.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
import uvicorn

from bundles.installer.folders import allow_open_files
from bundles.site.app import SiteApp, make_app
from bundles.site.guard import read_guard
from bundles.site.holdings import Holdings
from bundles.site.sending import SendingProtocol
from bundles.site.terms import Terms, read_address
from pipeline.errors import ModelportError, NotPinned, ObjectMissing, UnavailableError, UsageError
from pipeline.events import Listener, Serving, StepFinished, StepStarted, Warned, one_at_a_time
from pipeline.ports import TreeReader
from pipeline.spelling import spell_count

if TYPE_CHECKING:
    # Whoever serves what is installed needs neither TUF nor decoders, nor their memory.
    from bundles.site.caching import Mirror

STEP = "serve"
BACKLOG = 1024
# Connections at the same time; beyond them the answer is 503.
CONNECTIONS = 2000
# Each has a socket, the file that it reads and, while the kernel sends it, that file once more.
OPEN_FILES = 3 * CONNECTIONS + 1024
STOP_S = 5
KEEP_ALIVE_S = 30
UNSENT_BYTES = 256 << 10


@dataclass(frozen=True)
class UpstreamOrder:
    """Where a caching mirror takes from, and how much it keeps. ``pin`` is the fingerprint to trust, "" for the one known here.

    ``also_trusts`` are fingerprints that this machine trusts for that address already.
    """

    reader: TreeReader
    limit: int
    pin: str
    also_trusts: tuple[str, ...]
    channel: str
    max_age_s: float
    timeout_s: float


@dataclass(frozen=True)
class ServeOrder:
    """What a person asks for; port 0 is any that is free."""

    terms: Terms
    upstream: UpstreamOrder | None = None


class SiteServed(msgspec.Struct, frozen=True, kw_only=True):
    """What ``site.serve`` did until it was stopped. ``bytes`` are of bodies.

    Of a caching mirror: parts that were transferred from the upstream, and their bytes.
    """

    site: str
    url: str
    generation: int
    releases: list[str]
    requests: int
    bytes: int
    seconds: float
    upstream: str = ""
    transfers: int = 0
    bytes_fetched: int = 0


def serve_site(order: ServeOrder, listen: Listener, *, dry: bool = False) -> SiteServed:
    """Serve until SIGINT or SIGTERM; ``dry`` only tries whether it could, and asks no upstream.

    Raises:
        UsageError: no site, an address that cannot be read, a token file that others may read, a broken certificate.
        UnavailableError: the address is in use, or none of this machine's.
    """
    may_be_new = order.upstream is not None
    with ExitStack() as stack:
        place = order.terms.site
        if dry and may_be_new and not place.exists():
            # A site that is new holds what an empty folder does.
            place = Path(stack.enter_context(TemporaryDirectory(prefix="modelport-")))
        holdings = stack.enter_context(closing(Holdings(place, may_be_new=may_be_new)))
        allow_open_files(OPEN_FILES)
        guard = read_guard(order.terms.token_file)
        context = _tls(order)
        catalogue = holdings.look()
        mirror = None if dry else _mirror(order, listen)
        if mirror is not None:
            stack.callback(mirror.close)
        site = mirror.app(holdings, guard, order.terms.origins) if mirror else SiteApp(holdings, guard, order.terms.origins)
        beside = f" and what {mirror.reader.url} has" if mirror else ""
        with closing(bind(order.terms.listen)) as bound:
            url = _url(bound, tls=context is not None)
            for name, why in sorted(catalogue.unserved.items()):
                listen(Warned("unserved", f"{name} is not served: {why}"))
            address = bound.getsockname()[0]
            if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
                who = "everybody who reaches this address" if guard.is_open else "whoever brings a token and reaches this address"
                listen(Warned("exposed", f"{url} serves {spell_count(len(catalogue.releases), 'release')}{beside} to {who}"))
            listen(StepStarted(STEP, len(catalogue.releases), sum(held.size for held in catalogue.releases.values())))
            began = monotonic()
            ready = partial(
                listen, Serving(url, f"{spell_count(len(catalogue.releases), 'release')} of {order.terms.site}{beside}")
            )
            if not dry:
                _run(site, bound, context, ready)
            seconds = monotonic() - began
        listen(StepFinished(STEP, site.tally.requests, site.tally.bytes, seconds))
        return SiteServed(
            site=str(order.terms.site),
            url=url,
            generation=catalogue.generation,
            releases=sorted(catalogue.releases),
            requests=site.tally.requests,
            bytes=site.tally.bytes,
            seconds=round(seconds, 3),
            upstream=mirror.reader.url if mirror else "",
            transfers=mirror.hauler.tally.transfers if mirror else 0,
            bytes_fetched=mirror.hauler.tally.bytes if mirror else 0,
        )


def _mirror(order: ServeOrder, listen: Listener) -> Mirror | None:
    """The mirror of an order, whose upstream was verified once, or is away.

    Raises:
        NotPinned, BadSignature …: the upstream cannot be trusted.
    """
    wanted = order.upstream
    if wanted is None:
        return None
    from bundles.site.caching import Mirror
    from pipeline.trust.state import TrustState

    state = TrustState(order.terms.site / "state" / "upstream")
    for pin in (wanted.pin,) if wanted.pin else () if state.pins else wanted.also_trusts:
        state.pin(pin)
    mirror = Mirror(
        wanted.reader,
        state,
        order.terms.site / "cache",
        wanted.limit,
        one_at_a_time(listen),
        channel=wanted.channel,
        max_age_s=wanted.max_age_s,
        timeout_s=wanted.timeout_s,
    )
    mirror.upstream.refresh()
    if mirror.upstream.known is None:
        try:
            mirror.upstream.view()
        except UnavailableError as error:
            if not state.pins and next(state.roots(), None) is None:
                mirror.close()
                raise NotPinned(
                    f"{wanted.reader.url} does not answer, and no root of it is trusted here: it could not be believed later either",
                    hint="Name the fingerprint that its publisher tells by another way: --root-fingerprint",
                ) from error
            # It may come later; until then what is asked for is answered with 504.
            return mirror
        except NotPinned as error:
            mirror.close()
            raise NotPinned(
                str(error), hint="Compare this fingerprint with its publisher by another way, then name it: --root-fingerprint"
            ) from None
        except ObjectMissing as error:
            mirror.close()
            raise ObjectMissing(
                str(error), hint="Check the address: --upstream names what holds metadata/, parts/ and targets/."
            ) from None
        except ModelportError:
            mirror.close()
            raise
    return mirror


def bind(where: str) -> socket.socket:
    """A socket that listens at ``host:port``; an IPv6 address stands in brackets.

    Raises:
        UsageError, UnavailableError
    """
    host, port = read_address(where)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f"--listen {where}: {error.strerror or error}", hint="Name an address of this machine.") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What a reader does not take must not fill the kernel's memory for sockets, which all share (tcp(7), tcp_mem).
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise UnavailableError(
            f"cannot listen at {where}: {error.strerror}",
            hint="Choose another port: --listen 127.0.0.1:0 takes any that is free.",
        ) from error
    return bound


class _Server(uvicorn.Server):
    """uvicorn's server; a signal ends it and is not raised again afterwards, for stopping is how a server ends well."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGINT and SIGTERM; at once on the second one."""
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            loop.add_signal_handler(number, self._stop, number)
        # The socket listens already: whoever comes now waits for a moment at most.
        self._ready()
        try:
            yield
        finally:
            for number, action in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, action)

    def _stop(self, number: int) -> None:
        # Downloads that are cut off now are no errors to be logged: somebody wanted the end.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self.handle_exit(number, None)


def _run(site: SiteApp, bound: socket.socket, context: ssl.SSLContext | None, ready: Callable[[], None]) -> None:
    settings: dict[str, Any] = {"ssl_context_factory": lambda *_: context} if context else {}
    config = uvicorn.Config(
        make_app(site),
        http=SendingProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        # A malformed request is the client's affair: a line for each would fill the log of whoever is attacked.
        log_level="error",
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
        **settings,
    )
    asyncio.run(_Server(config, ready).serve(sockets=[bound]))


def _tls(order: ServeOrder) -> ssl.SSLContext | None:
    if order.terms.tls_cert is None or order.terms.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(order.terms.tls_cert, order.terms.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"the certificate {order.terms.tls_cert} with the key {order.terms.tls_key} cannot be used: {error}",
            hint="Both are PEM files.",
        ) from error
    return context


def _url(bound: socket.socket, *, tls: bool) -> str:
    host, port = bound.getsockname()[:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
