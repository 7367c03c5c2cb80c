"""The installer: verifies a bundle and lays it out at a site, with Python alone and without a network.

It runs in two ways: as ``install.pyz`` on any CPython from 3.9 on, where nothing else is installed; and inside
modelport as ``bundle.install``, which gives it faster tools. Only the standard library is imported, and of that
nothing that can open a connection. To read it whole (docs/guides/installer.md says what to look for where):

* ``faults``, ``strictjson``, ``canonical``, ``ed25519``: errors, documents, what is signed, and by whom.
* ``names``, ``manifest``, ``ranges``: what may be written at all.
* ``volumes``: what a medium holds; nothing in it is believed.
* ``tufrules``, ``sitestate``, ``judging``: what is signed by those whom this site trusts.
* ``frames``, ``wheel_pins``, ``zstds``, ``tools``: from stored to plain bytes.
* ``folders``, ``landing``, ``wanted``, ``placing``, ``copying``, ``progress``: from plain bytes to files that are safe on the disk.
* ``layout``, ``generations``, ``views``, ``tree``, ``receipts``, ``verifying``: how a site is laid out, switched and accounted for.
* ``preflight``, ``walk``, ``program``: the steps in their order, and the command line.
"""
