"""modelport's pipeline: how a model folder becomes a signed release, and how it is read back.

A guided tour, in the order in which modules may import each other; each one only what stands
before it (``lint-imports`` holds that):

* ``errors``, ``events``, ``meant``, ``spelling``, ``store_kinds``, ``clocks``: what can go wrong, what is worth telling, what was probably
  meant, how numbers and stores are spelled, what time it is.
* ``digest`` → ``release`` → ``manifest``: the nouns. Names and digests are text that was checked.
* ``layout``, ``wire``, ``yamlfile``: where an object lies in the tree; how a noun becomes bytes; what people write.
* ``bodies``: the bytes of an object on their way into a store and out of it.
* ``ports``: the doors to everything outside.
* ``plan/``: pure decisions: where to cut, how to pack, what to reuse, what it will cost, what must be fetched.
* ``past_cache``, ``dated``, ``workers``, ``retry``: large bytes to and from a disk; files that replace others; bounded threads;
  full-jitter repetition of what is retryable.
* ``arrays``, ``planes``, ``formats/``, ``encoding``: numpy without threads; where tensors lie in a file; how a chunk becomes small.
* ``sources/``: model folders; web servers, mirrors and caches that serve a tree.
* ``trust/``: keys, signed metadata, the commit.
* ``steps/``: the verbs of a walk, each returning what the next one takes.
* ``order``, ``place``: what a person asks for, and where: a store, what is trusted there, whose keys sign, which CDNs deliver.
* ``outcome``, ``webview``: what the edges showed, and what is left for another run; web releases as browsers ask for them.
* ``sample``, ``planning``, ``publish``, ``verify``, ``show``, ``promote``, ``withdraw``, ``keeping``, ``collect``, ``custody``: the walks, as prose.
* ``supply`` → ``resolve`` → ``fetch``, ``verify_folder``: where releases come from, what goes with them, and how they arrive.
* ``mirroring``, ``export``, ``ociexport``, ``doctor``, ``bench``, ``loopback``: walks around sources: copy, hand out, examine, measure.
* ``spreading``: one tree in several stores.
* ``cdn_work``, ``cdn_status``: what is done at CDNs on its own, and what stands in the ledger.
* ``overview``: all there is to know of one release, for a page or a program.
* ``stores/``, ``cdns/``, ``providers`` → ``setting_schemas``, ``setting_checks``, ``setting_keys``, ``store_lists`` → ``settings`` → ``state_folders`` → ``outward``, ``connect_cdns``, ``connect`` → ``api``, ``cli/``: the world, and who picks from it.

To follow one chunk to a user's folder, read ``steps.known_tree``, ``plan.fetching``, ``sources.mirrors``, ``steps.receive``,
``steps.landing``, in that order. To follow one part from folder to store, read ``sources.folder``, ``formats``, ``plan.cut``,
``encoding``, ``plan.pack``, ``steps.upload``, ``steps.prove``, ``steps.placed``, ``steps.serve``, ``steps.commit``, in that order.
"""
