"""What flags mean that several tasks have: said once, so that they mean the same wherever they are typed.

A default stands beside its task where it is not the same everywhere; tests/unit/test_flags.py has the reason of each.

next: ``commands``
"""

from __future__ import annotations

ALLOW_DOWNGRADE = "From media: take a model though newer metadata of it was read here (recorded). Default: refused."
ALLOW_UNSAFE_STORE = "Write to a store without conditional writes: only if nobody else does. Default: refused."
ALLOW_YANKED = "Take a release that was yanked: one that is named exactly, or that a bundle brings (recorded). Default: refused."
CHANGE = "The file of trust.stage, to which those who hold keys add their signatures."
FROM = "Folder that holds volumes; repeat it for several media."
MODEL = "The model, as in bert."
NAME = "A release as in bert-v2.1.0, or a model as in bert."
NO_DEPS = "Leave out the releases that the chosen ones need. Default: they come, too."
OFFLINE = "Make no request at all: all must be on this machine. Default: off."
PROMOTE_COLD = "Move the channel though an edge lacks objects of the release; the history says so. Default: it is not moved."
QUOTA_OK = "End with 0 though work is left at a CDN, for another day or another run. Default: 7."
REASON = "Why, for those who look. Default: none."
RELEASE = "The release, as in bert-v2.1.0: model name, -v, SemVer version."
ROOT_FINGERPRINT = "Fingerprint of the publisher's root, 64 hex digits, told by another way."
SAMPLE = "Percent of the objects to read back and hash, as in 5%. Default 1%, at least one; 0% reads none."
UNDO = "Take it back. Default: off."
WANT = "A release, as in bert-v2.1.0, bert@stable, bert@^2.1, or bert for the source's channel."
