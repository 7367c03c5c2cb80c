"""A site, served to everyone there in the protocols that they already speak (docs/guides/site.md).

A guided tour, in the order of imports; what is pure comes first:

* ``targets``: the path of a request as names, or a refusal. ``ranges``: which bytes were asked for.
* ``catalogue``: what a site holds, as a value. ``holdings`` reads it from the disk, whenever it changed.
* ``answers``: what a route found, before anybody asked for a part of it. ``replies``: status, headers and spans of a request.
* ``hub``, ``wheelhouse``, ``registry``, ``pages``: the answers for Hugging Face clients, pip, container tools, and people.
* ``routes``: from names to one of these.
* ``terms``: where and to whom. ``setups``: what clients are told.
* ``nginx_view``, ``nginx_routes``, ``nginx_conf``, ``nginx_site``: the same answers by nginx, from a folder of links.
* ``tending``: what is there, what is live, what is whole, what may go.
* A caching mirror: ``growing`` and ``shelf``, bytes on their way and at rest; ``transfer`` and ``hauling``, parts from the upstream;
  ``decoding`` and ``assembling``, files out of parts; ``manifests``, ``upstream`` and ``mirrored``, what the upstream holds.
* ``guard``: who may ask. ``app``: the application (starlette). ``caching``: the same with an upstream. ``sending``, ``serving``: the server (uvicorn), until it is stopped.
"""
