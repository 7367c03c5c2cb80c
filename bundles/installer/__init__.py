"""The installer: verifies a bundle and lays it out at a site, with Python alone and without a network.

It runs in two ways: as ``install.pyz`` on any CPython from 3.9 on, where nothing else is installed; and inside
modelport as ``bundle.install``, which gives it faster tools. Only the standard library is imported, and of that
nothing that can open a connection. To read it whole, in this order, in which each imports only what was read
before it (docs/guides/installer.md says what to look for where):

* ``faults``, ``strictjson``, ``canonical``, ``ed25519``: errors, documents, what is signed, and by whom.
* ``names``, ``ranges``, ``manifest``: what may be written at all.
* ``layout``, ``folders``: where things lie at a site, reached without following a link.
* ``tufrules``, ``sitestate``, ``judging``: what is signed by those whom this site trusts.
* ``index``, ``volumes``: what a medium holds; nothing in it is believed.
* ``frames``, ``wheel_pins``, ``zstds``, ``tools``: from stored to plain bytes.
* ``landing``, ``wanted``, ``placing``, ``copying``, ``progress``: from plain bytes to files that are safe on the disk.
* ``receipts``, ``tree``, ``generations``, ``views``, ``verifying``: how a site is accounted for, kept, switched and proven.
* ``preflight``, ``outcome``, ``walk``, ``program``: the steps in their order, and the command line.
"""
