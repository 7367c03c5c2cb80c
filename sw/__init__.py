"""Web assets become a release that a service worker keeps whole: hashed names, a manifest, the worker itself.

A tour, in the order in which things happen; docs/web-format.md has what they write, docs/guides/web.md how to use it:

* ``scan/``: what a file refers to, by the grammar of its language; ``text`` knows where each character stands.
* ``urls`` → ``links``: where a reference leads.
* ``graph`` → ``naming``: what is named before what, and after which bytes.
* ``manifest``, ``packs``, ``patches``, ``options``, ``models``: what a release says, and what travels less often.
* ``load`` → ``output`` → ``build``: from a folder to a folder, the pointer last.
* ``check``, ``serve``: hold a built folder against its manifest; try it.
* ``assemble``, ``spare``, ``shrink``: the modules of ``worker/`` as two small scripts.

The view of a store is made by ``pipeline.webview``, which knows files and hashed names, and nothing of the web.
"""
