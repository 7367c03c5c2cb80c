"""The steps of a publish, each returning what the next one takes.

::

    probe      ObjectStore              -> Capabilities   does it honour create-only writes?
    lease      release, inputs          -> Lease          who is publishing just now, with which inputs
    cut        folder, inputs           -> CutPlan        where every file is cut, which bases serve
    index      CutPlan                  -> Indexed        one read: chunks, parts, manifest
    upload     CutPlan                  -> Uploaded       the same, with every part in the store
    prove      Uploaded                 -> Proved         every referenced part stands at the origin
    commit     Proved                   -> Committed      signed, announced

``survey`` reads what the store already has: bases, the release itself, its identity.
``readback`` reads parts again and compares: poisoned objects and ``verify``.
"""
