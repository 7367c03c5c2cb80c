"""Pure decisions: values in, values out; whatever is decided here can be printed before anything is done.

* ``inputs``: what decides a manifest besides the folder.
* ``cut``: tensors and gaps of a file → the spans that become chunks.
* ``pack``: sizes → slots in parts; the part size; which base parts are worth keeping.
* ``reuse``: manifests of bases → chunks to refer to, parts to fall into again.
* ``assemble``: chunks in numbered parts → files and parts of a manifest.
* ``cost``: what a publish will take, as a plan that can be kept; ``follow``: whether what happens agrees with it.
* ``calls``: which URLs one call to a CDN holds; ``records`` → ``ledger``: what is written down of them, and what follows from it.
* ``garbage``, ``rollback``: when an object may go; where a channel goes back to.
* ``wants``, ``fetching``, ``lanes``: what a person asks for, which bytes must come, over how many connections.
* ``partlists``, ``ocilayout``: a release in the words of other programs; ``tuning``: what a kernel's settings cost.

next: ``inputs``
"""
