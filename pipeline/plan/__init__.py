"""Pure decisions: values in, values out; whatever is decided here can be printed before anything is done.

* ``inputs``: what decides a manifest besides the folder.
* ``cut``: tensors and gaps of a file → the spans that become chunks.
* ``pack``: sizes → slots in parts; the part size; which base parts are worth keeping.
* ``reuse``: manifests of bases → chunks to refer to, parts to fall into again.
* ``assemble``: chunks in numbered parts → files and parts of a manifest.
* ``cost``: what a publish will take, as a plan that can be kept; ``follow``: whether what happens agrees with it.

next: ``inputs``
"""
