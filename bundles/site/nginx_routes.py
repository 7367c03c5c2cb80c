"""The locations of a site's configuration for nginx: which URL is looked up where. Pure.

Takes a ``Server``, gives the inside of nginx's ``server`` block. Variables are named ``mp_…``; what a location found is left
in them for the next one, and the headers are made of them at the end. Names that begin with ``/.`` are steps that nobody
can ask for (nginx.org/en/docs/http/ngx_http_core_module.html#internal).

next: ``nginx_conf``
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from bundles.site.nginx_view import BODY_TYPES, HERE, ITSELF, NOBODY, VIEW
from bundles.site.terms import CACHE_BYTES
from pipeline.layout import FOREVER, PRIVATE, REVALIDATE, TIMESTAMP
from pipeline.release import RESERVED_NAMES

SLICE = "4m"
# Headers by which an upstream would order nginx about: the first one to send any file that an internal location finds.
_ORDERS = "X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate X-Accel-Buffering X-Accel-Charset"
# A repository is one name or two; of what both could be, the shorter one counts, as in the embedded server.
_REPO = "(?<mp_repo>[^/]+(?:/[^/]+)??)"


@dataclass(frozen=True)
class Server:
    """What the configuration is made of. ``site`` is an absolute path without links; ``cache`` is where slices are kept."""

    site: str
    host: str = "127.0.0.1"
    port: int = 8080
    tokens_file: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    origins: tuple[str, ...] = ()
    upstream: str = ""
    cache: str = ""
    cache_limit: int = CACHE_BYTES


# How every answer ends: what the client has already is not sent again.
_CONDITIONS = """        if ($mp_fresh) { return 304; }
        if ($mp_match = other) { return 412; }
        if ($mp_match = same) { return 418; }"""


def nginx_types(types: dict[str, str]) -> str:
    """A ``types`` block: content type by ending."""
    lines = "".join(f'        "{kind}" {ending};\n' for ending, kind in sorted(types.items()))
    return f"    types {{\n{lines}    }}"


def describe_routes(server: Server) -> str:
    """Every location, those for who asks first."""
    site, view, own = server.site, f"{server.site}/{VIEW}", f"disable_symlinks on from={server.site};"
    forever = FOREVER.replace("public", "private") if server.tokens_file else FOREVER
    reserved = "|".join(sorted(RESERVED_NAMES))
    listen = f"[{server.host}]" if ":" in server.host else server.host
    myself = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(listen, listen)  # noqa: S104 (compared, not bound)
    tree = f"if (!-f {site}/{TIMESTAMP}) {{ return 404; }}"
    return f"""
    location = /healthz {{ default_type "text/plain; charset=utf-8"; types {{ }} set $mp_cache "{PRIVATE}"; return 200 "ok\\n"; }}
    location = / {{ set $mp_policy "default-src 'none'; style-src 'unsafe-inline'"; rewrite ^ /.made/pages/index last; }}

    # Hugging Face clients.
    location ~ "^/(?!(?:{reserved})/)(?!api/[^/]+/(?:resolve|raw)/){_REPO}/(?:resolve|raw)/(?<mp_rev_>[^/]+)/(?<mp_path_>.+)$" {{
        set $mp_rev $mp_rev_; set $mp_path $mp_path_; set $mp_then resolve; set $mp_code RepoNotFound;
        rewrite ^ /.revision last;
    }}
    location ~ "^/api/models/{_REPO}/revision/(?<mp_rev_>[^/]+)$" {{
        set $mp_rev $mp_rev_; set $mp_then info; set $mp_code RepoNotFound; rewrite ^ /.revision last;
    }}
    location ~ "^/api/models/{_REPO}/tree/(?<mp_rev_>[^/]+)(?:/(?<mp_path_>.+))?$" {{
        set $mp_rev $mp_rev_; set $mp_path $mp_path_; set $mp_then flat; set $mp_code RepoNotFound;
        if ($arg_recursive ~* "^(?:true|1)$") {{ set $mp_then all; }}
        if ($mp_path) {{ set $mp_path $mp_path/; }}
        rewrite ^ /.revision last;
    }}
    location ~ "^/api/models/{_REPO}/refs$" {{
        set $mp_rev main; set $mp_then refs; set $mp_code RepoNotFound; rewrite ^ /.revision last;
    }}
    location ~ "^/api/models/{_REPO}$" {{
        set $mp_rev main; set $mp_then info; set $mp_code RepoNotFound; rewrite ^ /.revision last;
    }}

    # Files of releases, live or not.
    location ~ "^/(?<mp_want_>models|wheels)/(?<mp_release_>[^/]+)$" {{
        if (!-d {view}/r/$mp_release_) {{ return 404; }}
        return 308 $mp_bare/;
    }}
    location ~ "^/(?<mp_want_>models|wheels)/(?<mp_release_>[^/]+)/(?<mp_path_>.*)$" {{
        set $mp_want $mp_want_; set $mp_release $mp_release_; set $mp_path $mp_path_; set $mp_then files;
        if ($mp_path = "") {{ set $mp_then page; set $mp_policy "default-src 'none'; style-src 'unsafe-inline'"; }}
        rewrite ^ /.held last;
    }}

    # The live release of a web application.
    location ~ "^/web/(?<mp_model_>[^/]+)$" {{
        if (!-d {view}/m/$mp_model_) {{ return 404; }}
        set $mp_repo $mp_model_; set $mp_rev main; set $mp_path .; set $mp_then web; rewrite ^ /.model last;
    }}
    location ~ "^/web/(?<mp_model_>[^/]+)/(?<mp_path_>.*)$" {{
        if (!-d {view}/m/$mp_model_) {{ return 404; }}
        set $mp_repo $mp_model_; set $mp_rev main; set $mp_path $mp_path_; set $mp_then web;
        if ($mp_path ~ "(?:^|/)$") {{ set $mp_path "${{mp_path}}index.html"; }}
        rewrite ^ /.model last;
    }}

    # Live wheelhouses, for pip.
    location ~ "^/simple(?:/(?<mp_project>[^/]+))?$" {{ set $mp_vary Accept; return 308 $mp_bare/; }}
    location = /simple/ {{ set $mp_vary Accept; rewrite ^ /.made/simple/$mp_form/{HERE} last; }}
    location ~ "^/simple/(?<mp_project>[^/]+)/$" {{ set $mp_vary Accept; rewrite ^ /.made/simple/$mp_form/$mp_project last; }}

    # The pull half of a registry.
    location ~ "^/v2/?$" {{ set $mp_docker registry/2.0; types {{ }} default_type application/json; return 200 "{{}}"; }}
    location = /v2/_catalog {{ set $mp_docker registry/2.0; rewrite ^ /.made/pages/catalog last; }}
    location ~ "^/v2/{_REPO}/manifests/sha256:(?<mp_hex>[0-9a-f]{{64}})$" {{
        set $mp_docker registry/2.0; set $mp_digest "sha256:$mp_hex"; set $mp_cache "{forever}"; set $mp_code MANIFEST_UNKNOWN;
        if (!-d {view}/repos/$mp_repo/{ITSELF}) {{ set $mp_code NAME_UNKNOWN; }}
        rewrite ^ /.made/repos/$mp_repo/{ITSELF}/blobs/$mp_hex last;
    }}
    location ~ "^/v2/{_REPO}/manifests/(?<mp_rev_>[^/]+)$" {{
        set $mp_docker registry/2.0; set $mp_rev $mp_rev_; set $mp_then oci; set $mp_code MANIFEST_UNKNOWN;
        if (!-d {view}/repos/$mp_repo/{ITSELF}) {{ set $mp_code NAME_UNKNOWN; }}
        if ($mp_rev = latest) {{ set $mp_rev main; }}
        rewrite ^ /.revision last;
    }}
    location ~ "^/v2/{_REPO}/tags/list$" {{
        set $mp_docker registry/2.0; set $mp_code NAME_UNKNOWN;
        rewrite ^ /.made/repos/$mp_repo/{ITSELF}/tags/$mp_repo/{ITSELF} last;
    }}
    location ~ "^/v2/{_REPO}/blobs/sha256:(?<mp_hex>[0-9a-f]{{64}})$" {{
        root {view}/repos/$mp_repo/{ITSELF}/blobs/$mp_hex;
        set $mp_docker registry/2.0; set $mp_digest "sha256:$mp_hex"; set $mp_sniff nosniff;
        set $mp_cache "{forever}"; set $mp_etag '"$mp_hex"'; set $mp_code BLOB_UNKNOWN;
        if (!-d {view}/repos/$mp_repo/{ITSELF}) {{ set $mp_code NAME_UNKNOWN; }}
        if (!-f $document_root) {{ return 404; }}
        if ($realpath_root ~ "^{re.escape(site)}(/(?:models|wheels)/.+)$") {{ set $mp_key $1; rewrite ^ /.blob$mp_key last; }}
        rewrite ^ /.made/repos/$mp_repo/{ITSELF}/blobs/$mp_hex last;
    }}
    location ~ "^/v2/.*/blobs/[^/]+$" {{ set $mp_docker registry/2.0; set $mp_code DIGEST_INVALID; return 404; }}
    location ~ "^/v2/" {{ set $mp_docker registry/2.0; set $mp_code NAME_INVALID; return 404; }}

    # The tree, where it was kept.
    location ~ "^/parts/([0-9a-f]{{2}})/(?<mp_name>\\1[0-9a-f]{{62}})$" {{
        root {site}; {own} types {{ }} {tree}
        set $mp_cache "{forever}"; set $mp_etag '"$mp_name"';
{_CONDITIONS}
    }}
    location ~ "^/targets/[a-z0-9._-]+/(?:[a-z0-9.-]+/(?<mp_name>[0-9a-f]{{64}})\\.manifest|channels/(?<mp_other>[0-9a-f]{{64}})\\.[a-z0-9-]+)\\.json$" {{
        root {site}; {own} {tree}
        set $mp_cache "{forever}"; set $mp_etag '"$mp_name$mp_other"';
{_CONDITIONS}
    }}
    location ~ "^/metadata/(?:(?<mp_name>[1-9][0-9]{{0,15}})\\.[a-z0-9._-]+|timestamp)\\.json$" {{
        # Small, and not named by a digest: nginx's own ETag, of time and size.
        root {site}; {own} {tree} etag on;
        set $mp_cache "{REVALIDATE}";
        if ($mp_name) {{ set $mp_cache "{forever}"; }}
        add_header Last-Modified "";
        add_header Cache-Control $mp_caching always;
        add_header Access-Control-Allow-Origin $mp_origin always;
        add_header Access-Control-Expose-Headers $mp_expose always;
    }}

    location / {{ return 404; }}

    # From here on nobody asks directly. A revision of a repository, or a live release, becomes a release …
    location = /.revision {{
        internal;
        root {view}/repos/$mp_repo/{ITSELF}/rev/$mp_rev;
        if (!-d {view}/repos/$mp_repo/{ITSELF}) {{ return 404; }}
        set $mp_key repos/$mp_repo/{ITSELF};
        if ($mp_code = RepoNotFound) {{ set $mp_code RevisionNotFound; }}
        set $mp_cache "{REVALIDATE}";
        if (-d {view}/repos/$mp_repo/{ITSELF}/fixed/$mp_rev) {{ set $mp_cache "{forever}"; }}
        if (!-d $document_root) {{ rewrite ^ /.nobody last; }}
        if ($realpath_root ~ "/(?:held|models|wheels)/([a-z0-9._-]+)(?:@[^/]*)?$") {{ set $mp_release $1; }}
        if (!-d {view}/r/$mp_release) {{ rewrite ^ /.last last; }}
        rewrite ^ /.held last;
    }}
    location = /.model {{
        internal;
        root {view}/m/$mp_repo/rev/$mp_rev;
        set $mp_key m/$mp_repo;
        if (!-d $document_root) {{ return 404; }}
        if ($realpath_root ~ "/(?:held|models|wheels)/([a-z0-9._-]+)(?:@[^/]*)?$") {{ set $mp_release $1; }}
        if (!-d {view}/r/$mp_release) {{ rewrite ^ /.last last; }}
        rewrite ^ /.held last;
    }}
    # … or what was live when the view was made, where something newer is not in it yet.
    location = /.last {{
        internal;
        root {view}/$mp_key/last;
        if (!-d $document_root) {{ return 404; }}
        if ($realpath_root ~ "/held/([a-z0-9._-]+)@[^/]*$") {{ set $mp_release $1; }}
        rewrite ^ /.held last;
    }}
    location = /.nobody {{
        internal;
        if ($mp_then = refs) {{ rewrite ^ /.made/$mp_key/refs/{NOBODY} last; }}
        return 404;
    }}
    # A release becomes its commit and folder …
    location = /.held {{
        internal;
        root {view}/r/$mp_release;
        if (!-d $document_root) {{ return 404; }}
        if ($realpath_root ~ "/held/[^@/]+@(([0-9a-f]{{40}})[0-9a-f]{{24}})@(models|wheels)$") {{ set $mp_held $2; set $mp_folder $3; }}
        rewrite ^ /.then/$mp_then last;
    }}
    # … and what was asked of it a file or a document.
    location = /.then/resolve {{
        internal;
        root {view}/r/$mp_release/files/$mp_path;
        set $mp_commit $mp_held; set $mp_code EntryNotFound;
        if (!-f $document_root) {{ return 404; }}
        if ($realpath_root ~ "/tags/([0-9a-f]{{64}})\\.([0-9]+)\\.[fr]$") {{ set $mp_etag '"$1"'; set $mp_linked '"$1"'; set $mp_size $2; }}
        set $mp_sandbox sandbox; set $mp_sniff nosniff;
        rewrite ^ /.send/$mp_folder/$mp_release/$mp_path last;
    }}
    location = /.then/files {{
        internal;
        root {view}/r/$mp_release/files/$mp_path;
        if ($mp_folder != $mp_want) {{ return 404; }}
        if (!-f $document_root) {{ return 404; }}
        if ($realpath_root ~ "/tags/([0-9a-f]{{64}})\\.[0-9]+\\.[fr]$") {{ set $mp_etag '"$1"'; }}
        set $mp_sandbox sandbox; set $mp_sniff nosniff; set $mp_cache "{forever}";
        rewrite ^ /.send/$mp_folder/$mp_release/$mp_path last;
    }}
    location = /.then/web {{
        internal;
        root {view}/r/$mp_release/web/$mp_path;
        if (-f $document_root/index.html) {{ return 308 $mp_bare/; }}
        if (!-f $document_root) {{ return 404; }}
        set $mp_cache "{REVALIDATE}";
        if ($realpath_root ~ "/tags/([0-9a-f]{{64}})\\.[0-9]+\\.[fr]$") {{ set $mp_etag '"$1"'; }}
        if ($realpath_root ~ "\\.f$") {{ set $mp_cache "{forever}"; }}
        rewrite ^ /.send/$mp_folder/$mp_release/$mp_path last;
    }}
    location = /.then/page {{
        internal;
        if ($mp_folder != $mp_want) {{ return 404; }}
        rewrite ^ /.made/r/$mp_release/page last;
    }}
    location = /.then/info {{ internal; set $mp_commit $mp_held; set $mp_cache ""; rewrite ^ /.made/r/$mp_release/info/$mp_repo/{ITSELF} last; }}
    location = /.then/flat {{ internal; set $mp_commit $mp_held; set $mp_cache ""; set $mp_code EntryNotFound; rewrite ^ "/.made/r/$mp_release/flat/${{mp_path}}{HERE}" last; }}
    location = /.then/all {{ internal; set $mp_commit $mp_held; set $mp_cache ""; set $mp_code EntryNotFound; rewrite ^ "/.made/r/$mp_release/all/${{mp_path}}{HERE}" last; }}
    location = /.then/refs {{ internal; set $mp_cache ""; rewrite ^ /.made/$mp_key/refs/$mp_release last; }}
    location = /.then/oci {{ internal; set $mp_cache ""; set $mp_digest made; rewrite ^ /.made/r/$mp_release/oci last; }}

    location ~ "^/\\.made/(?<mp_made>.+)$" {{
        internal;
        root {view}/$mp_made;
        if (!-f $document_root) {{ return 404; }}
        if ($mp_cache = "") {{ set $mp_cache "{REVALIDATE}"; }}
        if ($realpath_root ~ "/bodies/(([0-9a-f]{{64}})\\.[a-z]+)$") {{ set $mp_key $1; set $mp_etag '"$2"'; }}
        if ($mp_digest = made) {{ set $mp_digest "sha256:$2"; }}
        rewrite ^ /.body/$mp_key last;
    }}
    location ^~ /.body/ {{
        internal;
        alias {view}/bodies/;
    {nginx_types(BODY_TYPES).strip()}
{_CONDITIONS}
    }}
    location ^~ /.send/ {{
        internal;
        alias {site}/; {own}
{_CONDITIONS}
    }}
    location ^~ /.blob/ {{
        internal;
        alias {site}/; {own} types {{ }}
{_CONDITIONS}
    }}
    # A matching If-Match is asked again without it: nginx would look for an ETag of its own.
    location @mp_unmatched {{
        proxy_pass {"https" if server.tls_cert else "http"}://{myself}:{server.port}$request_uri;
        proxy_set_header If-Match ""; proxy_set_header Host $http_host; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
{_last_words(server)}"""


def _last_words(server: Server) -> str:
    errors = '{"errors":[{"code":"$mp_code","message":"there is no such thing here","detail":{}}]}'
    refusal = """
        default_type "text/plain; charset=utf-8"; types { }
        if ($mp_docker) { rewrite ^ /.registry last; }
        return 404 "there is no such thing here\\n";"""
    registry = f"""
    location = /.registry {{ internal; types {{ }} default_type application/json; return 404 '{errors}'; }}"""
    if not server.upstream:
        return f"    location @mp_none {{{refusal}\n    }}{registry}"
    parts = urlsplit(server.upstream)
    secure = f"""
        proxy_ssl_server_name on; proxy_ssl_name {parts.hostname}; proxy_ssl_verify on; proxy_ssl_verify_depth 4;
        proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;""" if parts.scheme == "https" else ""  # fmt: skip
    there = f"{parts.scheme}://mp_upstream{parts.path.rstrip('/')}$mp_bare"
    shared = f"""
        proxy_cache mp_cache; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host {parts.netloc};
        proxy_set_header Authorization ""; proxy_set_header Accept-Encoding "";{secure}
        # However many wait, one asks.
        proxy_cache_lock on; proxy_cache_lock_age 600s; proxy_cache_lock_timeout 600s;
        proxy_cache_use_stale error timeout http_500 http_502 http_503 http_504; proxy_cache_revalidate on;
        add_header X-Cache $upstream_cache_status always;"""
    return f"""    # What is not here stands behind, if it is of the tree or of a release: in slices, once.
    location @mp_none {{{
        refusal.replace(
            "return 404",
            'if ($request_uri ~ "^/metadata/") { rewrite ^ /.behind last; }'
            + chr(10)
            + '        if ($request_uri ~ "^/(?:targets|parts|models|wheels)/") { rewrite ^ /.sliced last; }'
            + chr(10)
            + "        return 404",
        )
    }
    }}{registry}
    location = /.sliced {{
        internal;
        slice {SLICE}; proxy_set_header Range $slice_range; proxy_cache_key $mp_bare$slice_range;
        proxy_ignore_headers {_ORDERS}; proxy_cache_valid 200 206 365d; proxy_cache_valid 404 10s;{shared}
        proxy_pass {there};
    }}
    # Metadata is asked for each time, and served from here only while the upstream is away.
    location = /.behind {{
        internal;
        proxy_cache_key $mp_bare; proxy_ignore_headers {_ORDERS} Cache-Control Expires; proxy_cache_valid 200 1s;{shared}
        proxy_pass {there};
    }}"""
