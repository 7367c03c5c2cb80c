"""Where bytes come from: model folders as sources of a release, and trees as sources of a fetch.

Folders:

* ``model_yaml``: what the folder says of itself.
* ``folder``: which files belong, and what is refused by name.
* ``reading``: one file, read once, through one descriptor, seen to stay the same.
* ``stat_cache``: digests of files that did not change since they were last read.

What this machine has already: ``cachefolder``, ``installed``.

Trees, from the pure decisions to the wire:

* ``answers`` → ``ranges``: what a status, a length and a Content-Range mean together.
* ``redirects``, ``auth``, ``proxies``: where a request may go, and what goes along.
* ``pace`` → ``certificates`` → ``dialing``: time limits; a connected, verified socket.
* ``http_wire`` → ``http_pool`` → ``http``: a line, lines kept alive, a reader of a tree behind a web server.
* ``hits`` → ``edge``: a CDN's edge as users see it, and whether it had what it gave.
* ``objects``: readers of folders and object stores.
* ``standing`` → ``mirrors``: several readers used as one.

next: ``pipeline.trust``
"""
