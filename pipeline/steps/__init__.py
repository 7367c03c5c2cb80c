"""The steps of a publish, each returning what the next one takes.

::

    ready      store, keys, model       -> Ready          may this place sign for the model?
    probe      store                    -> Capabilities   does it honour create-only writes?
    lease      release, inputs          -> Lease          who is publishing just now, with which inputs
    bases      view of the tree         -> Base, …        which earlier releases serve
    choose     own inputs, leases       -> Inputs         an unfinished run's inputs, or one's own
    cut        folder, inputs           -> CutPlan        where every file is cut
    upload     CutPlan                  -> Uploaded       every part in the store, and the manifest of it
    prove      Uploaded                 -> Proved         every referenced part stands at the origin
    placed     Proved                   -> Placed         the manifest stands there too, and nothing names it yet
    serve      Placed                   -> Warmed         every CDN fetched what it lacked, or the ledger has the rest
    serve      Warmed                   -> Served         every edge serves every object as it should
    commit     Served                   -> Committed      signed, announced

``upload`` stands on ``index``, which reads once with ``pieces`` (bytes and file digests) and ``shipping``
(the part being filled). ``identify`` asks whether a folder is the release that exists. ``readback`` and
``inspect`` hold stored objects against the manifest; ``sampling`` says which of them are read where not all are. ``serve`` stands on ``edge_proof`` and ``prefetch``, which drives
CDNs with ``driving`` and ``reading_warm`` by the ``ledger``; ``show_edge`` proves metadata before and after it is announced.

next: ``ready``
"""
