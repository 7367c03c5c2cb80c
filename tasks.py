"""What ``invoke`` offers in this checkout: the tasks of ``modelport``, in the order of the walk."""

import sys

# invoke switches bytecode off, and every run would compile the command line anew.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)

from invoke.main import program  # noqa: E402 (after the switch above)

from pipeline.cli.namespace import build_namespace  # noqa: E402 (after the switch above)
from pipeline.cli.program import furnish, mask_debug_log  # noqa: E402 (after the switch above)

ns = build_namespace()
furnish(program)
# invoke --debug logs what it parses, and has begun to before it reads this file.
mask_debug_log()
