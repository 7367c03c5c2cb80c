"""Model folders as sources of a release.

* ``model_yaml``: what the folder says of itself.
* ``folder``: which files belong, and what is refused by name.
* ``reading``: one file, read once, through one descriptor, seen to stay the same.
* ``stat_cache``: digests of files that did not change since they were last read.

next: ``pipeline.trust``
"""
