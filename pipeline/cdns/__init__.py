"""CDNs: adapters of the port ``Cdn``, one module a vendor, and what they share.

``calling`` sends, ``verdicts`` judges, ``configured`` puts the settings' limits over an adapter's own. What is true of a vendor
before anybody calls it stands in ``pipeline.providers``. To add one: a row there, a module here with ``open_cdn``, its
control plane in tests/servers/control_planes/, and both introduced to each other in tests/our_cdns.py.

next: ``cdns.calling``
"""
