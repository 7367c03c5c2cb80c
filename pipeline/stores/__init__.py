"""Object stores: the port ``ObjectStore`` towards a directory, memory, S3 and OSS, and around any of them.

In reading order: ``keys`` (what a key may be), ``memory``, ``placing``, ``ahead`` → ``directory``; ``answers`` (what a
refusal means), ``pools`` (how a body travels), ``s3``, ``oss``; then the wrappers, which are stores
themselves: ``retrying``, ``counting``, ``dryrun``, ``faulty``. Nobody but ``connect`` and the tests picks one.
tests/contracts/ holds one suite that every one of them passes.
"""
