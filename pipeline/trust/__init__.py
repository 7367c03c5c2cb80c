"""Trust: keys, signed metadata, what this place has seen, and the commit. TUF, and the protocol around it.

The tour, in the order of import. To read a tree::

    state = TrustState(folder)                          # trust.state: pins, root chain, versions seen
    state.pin(fingerprint)                              # explicit, once
    view = read_view(source, state, now=utc_now)        # trust.reading; source needs only get() and url
    view.models(); view.releases(model); view.release(release); view.channel(model, channel)
    view.manifest_bytes(release); view.pins(model)      # trust.view: nothing unverified comes out

To publish::

    publisher = Publisher(store, state, keys, …hooks)   # trust.publisher
    keys = Keyring({"release": ("file2:/k.pem",)}, KeySecrets(environ, passphrase))   # trust.keys
    publisher, _ = init_on_first_use(publisher, home)   # trust.setup: own directory store, keys made
    init_trust(publisher)                               # trust.setup: keys named in the settings
    found = survey_store(publisher)                     # trust.survey: the truth, announced or not
    first = delegation_for(publisher, found.view, model)   # before reading the model; None or Delegate
    done = commit_changes(publisher, [first, AddRelease(…), MoveChannel(…)])   # trust.commit

To change keys: ``rotate_key``, ``rotate_model_key``, ``change_root`` (trust.rotate), ``renew_trust``
(trust.renewal), and ``stage_changes`` → ``sign_staged`` → ``apply_staged`` (trust.ceremony) where the
keys lie on several machines.

``keys`` ``keyfolder`` → ``facts`` (what metadata says) → ``sealed`` (exact bytes, verified) → ``roles``
(pure decisions) → ``state`` → ``chain`` (roots) → ``judge`` (time) → ``view`` → ``reading`` (a client) →
``publisher`` → ``survey`` → ``draft`` → ``changes`` → ``announce`` (the timestamp) → ``signing`` →
``commit`` → ``setup`` → ``rotate`` → ``renewal`` → ``ceremony``.
"""
