"""Releases packed for media, carried, and installed where there is no network (docs/format.md §10).

A guided tour of the building side, in the order of imports:

* ``ustar`` → ``index`` → ``carving``: the bytes of a volume, what it says of itself, what goes into which. No I/O.
* ``inventory`` → ``selecting``: what a site has; what a bundle must hold, out of a verified tree.
* ``medium`` → ``reader``: volumes in folders, each known by its index; a bundle as a source, without unpacking.
* ``mapping``, ``hashing``, ``runs``, ``tape`` → ``pouring``, ``filling``, ``readback``: members held against their digests; a volume cut into
  blocks, written from its sources, and read back past the cache.
* ``side_files``, ``parity``, ``beside``: README.txt and SHA256SUMS; PAR2 by a program; all of it written beside the volumes.
* ``recipes`` → ``planning``: how the same bytes are made again after the tree moved on; what would be written.
* ``wheels``, ``keeping`` → ``building``: what travels for the site's Python; pins; the walk that makes a bundle.
* ``companions``, ``verifying``, ``salvage`` → ``repairing``: the walks that prove media and make damaged ones whole.

``installer/`` is a program of its own that needs Python's standard library alone; ``zipped`` makes one file of it,
``installing`` runs it here with faster tools, ``site_folders`` and ``site_inventory`` say what a site has, and
``translation`` tells its errors as ours. ``site/`` serves what was installed.
"""
