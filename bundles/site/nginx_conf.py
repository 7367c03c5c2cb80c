"""A configuration of nginx that serves a site by the view of it. Pure.

Takes a ``Server`` (where it listens, who may ask, what stands behind), gives text for nginx's ``http`` block. Every lookup is
one step: a location's ``root`` is a link of the view, and the name of what that leads to says the rest
(nginx.org/en/docs/http/ngx_http_core_module.html#var_realpath_root). What a release holds stands nowhere in here, so that
nothing has to be reloaded when a site changes (docs/adr/0180).

next: ``nginx_site``
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from bundles.site.answers import EXPOSED
from bundles.site.nginx_routes import Server, describe_routes, nginx_types
from bundles.site.ranges import MOST_RANGES
from pipeline.layout import BYTES, PRIVATE, REVALIDATE, known_types

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def describe_server(server: Server) -> str:
    """The text of the configuration."""
    return "\n".join([_HEAD, _maps(server), _upstream(server), _server(server), ""])


_HEAD = """# Written by site.nginx: serves a site of modelport by nginx alone. Include it in nginx's http block.
# It names no release: site.use, site.remove and bundle.install need no reload. After an installation by install.pyz alone run
# site.nginx once more; until then the releases that were there before are served, and nothing half."""


def token_lines(tokens: Sequence[str]) -> str:
    """The file that the map of who may ask includes: a token as Bearer, or as the password of Basic for any user."""
    patterns = [pattern for token in tokens for pattern in (_bearer(token), *_basic(token))]
    # Within quotes nginx reads a backslash before a backslash or a quote as its own.
    spelled = [pattern.replace("\\", "\\\\").replace('"', '\\"') for pattern in patterns]
    return "".join(f'"~{pattern}" 1;\n' for pattern in spelled)


def _bearer(token: str) -> str:
    return f"^(?i:bearer) +{re.escape(token)} *$"


def _basic(token: str) -> list[str]:
    """Patterns of ``base64("<any user>:<token>")``: one for each place where the token can begin within three bytes."""
    found = []
    for before in range(3):
        secret = f":{token}".encode()
        whole = base64.b64encode(b"\0" * before + secret).decode()
        # The first digit after the user's own holds some bits of the user's last byte: any digit that ends in our bits.
        own = 8 * before % 6
        digits = whole[8 * before // 6 :]
        if own:
            low = 6 - own
            ours = _BASE64.index(digits[0].encode()) & ((1 << low) - 1)
            fits = "".join(chr(_BASE64[high << low | ours]) for high in range(1 << own))
            digits = f"[{fits}]{re.escape(digits[1:])}"
        else:
            digits = re.escape(digits)
        free = 8 * before // 6
        found.append(f"^(?i:basic) +(?:[A-Za-z0-9+/]{{4}})*[A-Za-z0-9+/]{{{free}}}{digits} *$")
    return found


def _maps(server: Server) -> str:
    origins = "".join(f'    "{origin}" {origin};\n' for origin in server.origins if origin != "*")
    everybody = "*" if "*" in server.origins else '""'
    guarded = f"    default 0;\n    include {server.tokens_file};" if server.tokens_file else "    default 1;"
    return f"""
map $http_authorization $mp_admitted {{
{guarded}
}}
map $uri $mp_anybody {{ default 0; /healthz 1; }}
map $request_method $mp_allow {{ GET ""; HEAD ""; default "GET, HEAD"; }}
map $http_origin $mp_origin {{
    default {everybody};
{origins}}}
map $mp_origin $mp_expose {{ "" ""; default "{EXPOSED}"; }}
# Conditions: nginx knows no ETag of ours when it looks at them.
map "$mp_etag $http_if_none_match" $mp_fresh {{
    default 0;
    "~^ " 0;
    '~^("[0-9a-f]+") .*\\1' 1;
    '~^"[0-9a-f]+" +\\*$' 1;
}}
map "$mp_etag $http_if_match" $mp_match {{
    default other;
    "~ $" "";
    "~^ " "";
    '~^"[0-9a-f]+" +\\*$' "";
    '~^("[0-9a-f]+") (?:.*,)? *\\1' same;
}}
map $status $mp_caching {{ "~^(?:200|206|304|412|416)$" $mp_cache; "~^5" "{PRIVATE}"; default "{REVALIDATE}"; }}
map $status $mp_asks {{ 401 'Basic realm="site", charset="UTF-8"'; default ""; }}
map $status$mp_docker $mp_error {{ 404 $mp_code; default ""; }}
map $mp_error $mp_message {{
    default "";
    RepoNotFound "no installed model has this name or alias";
    RevisionNotFound "no installed release of it is this channel, version or digest";
    EntryNotFound "the release has no such file or folder";
}}
# PEP 691: JSON for who prefers it, a page for everybody else.
map $http_accept $mp_form {{
    default html;
    "~*^(?!.*text/html)(?!.*simple\\.v1\\+html).*application/vnd\\.pypi\\.simple\\.v1\\+json(?! *; *q=0(?:\\.0*)? *(?:,|$))" simplejson;
    "~*application/vnd\\.pypi\\.simple\\.v1\\+json *(?:,(?:(?!text/html *(?:,|$)|simple\\.v1\\+html *(?:,|$)).)*)?$" simplejson;
    "~*^(?!.*text/html *(?:,|$)).*application/vnd\\.pypi\\.simple\\.v1\\+html" simplehtml;
}}"""


def _upstream(server: Server) -> str:
    if not server.upstream:
        return ""
    parts = urlsplit(server.upstream)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"""
# What this cannot promise: nginx does not verify what comes from the upstream. modelport does, whatever stands between;
# other clients would take altered bytes. site.serve --upstream verifies before it serves.
upstream mp_upstream {{ server {host}:{port}; keepalive 32; }}
proxy_cache_path {server.cache} levels=1:2 keys_zone=mp_cache:32m max_size={server.cache_limit} inactive=365d use_temp_path=off;"""


def _server(server: Server) -> str:
    shown = f"[{server.host}]" if ":" in server.host else server.host
    tls = bool(server.tls_cert)
    certificate = f"""
    ssl_certificate {server.tls_cert};
    ssl_certificate_key {server.tls_key};
    ssl_protocols TLSv1.2 TLSv1.3;""" if tls else ""  # fmt: skip
    return f"""
server {{
    listen {shown}:{server.port}{" ssl" if tls else ""};
    server_name _;{certificate}
    server_tokens off; absolute_redirect off; merge_slashes off; autoindex off; gzip off;
    # Paths of releases have at most 1,024 bytes, each of which may be three in a URL.
    large_client_header_buffers 4 16k; client_max_body_size 64k;
    client_header_timeout 30s; client_body_timeout 30s; keepalive_timeout 30s; send_timeout 600s; reset_timedout_connection on;
    sendfile on; sendfile_max_chunk 2m; tcp_nopush on;
    etag off; if_modified_since off; max_ranges {MOST_RANGES};
    default_type {BYTES};
{nginx_types(known_types())}
{_SETS}
    add_header ETag $mp_etag;
    add_header Last-Modified "";
    add_header Cache-Control $mp_caching always;
{_HEADERS}
    error_page 403 404 = @mp_none;
    error_page 418 = @mp_unmatched;

    if ($request_uri ~* "^[^?]*(?:/|%2f)(?:/|%2f)") {{ return 404; }}
    if ($request_uri ~* "^[^?]*(?:/|%2f)(?:\\.|%2e)(?:\\.|%2e)?(?:/|%2f|\\?|$)") {{ return 404; }}
    if ($request_uri ~* "^[^?]*(?:%5c|\\\\|%7f|%[01][0-9a-f])") {{ return 404; }}
    if ($request_uri ~ "^([^?]*)") {{ set $mp_bare $1; }}
{_PREFLIGHT if server.origins else ""}    if ($mp_allow) {{ return 405; }}
    set $mp_key $mp_admitted$mp_anybody;
    if ($mp_key = 00) {{ return 401; }}
{describe_routes(server)}
}}"""


_SETS = "\n".join(
    f'    set $mp_{name} "";'
    for name in (
        *("etag", "cache", "code", "commit", "size", "linked", "sandbox", "sniff", "policy", "vary", "docker", "digest"),
        *("then", "rev", "release", "folder", "want", "path", "held", "bare", "key"),
    )
)
_HEADERS = """    add_header Allow $mp_allow always;
    add_header X-Repo-Commit $mp_commit always;
    add_header X-Linked-Etag $mp_linked;
    add_header X-Linked-Size $mp_size;
    add_header X-Error-Code $mp_error always;
    add_header X-Error-Message $mp_message always;
    add_header Content-Security-Policy $mp_sandbox$mp_policy;
    add_header X-Content-Type-Options $mp_sniff;
    add_header Vary $mp_vary;
    add_header Docker-Distribution-Api-Version $mp_docker always;
    add_header Docker-Content-Digest $mp_digest;
    add_header Access-Control-Allow-Origin $mp_origin always;
    add_header Access-Control-Expose-Headers $mp_expose always;
    add_header WWW-Authenticate $mp_asks always;"""
_PREFLIGHT = "    if ($request_method = OPTIONS) { return 204; }\n"
