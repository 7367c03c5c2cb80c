"""CDNs: adapters of the port ``Cdn``, one module a vendor. None is built yet: a release is served from its store.

The floors know this package already, so that an adapter finds its place and its import contracts waiting.
"""
