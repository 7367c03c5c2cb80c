"""Releases packed for media, carried, and installed where there is no network (docs/format.md §10).

A guided tour of the building side, in the order of imports:

* ``ustar`` → ``index`` → ``carving``: the bytes of a volume, what it says of itself, what goes into which. No I/O.
* ``selecting``: what a bundle must hold, out of a verified tree.
* ``medium`` → ``volumes``: a folder on a medium; its volumes, read by key without unpacking: a bundle is a source.
* ``hashing`` → ``filling``: proving members of a volume; writing one, and reading it back past the cache.
* ``parity``, ``side_files``: PAR2 beside a volume; what stands beside volumes for the person at the site.
* ``planning``, ``building``, ``verifying``, ``repairing``: the walks.

``installer/`` is a program of its own that needs Python's standard library alone; ``zipped`` makes one file of it,
``installing`` runs it here with faster tools, ``site_inventory`` says what a site has.
"""
