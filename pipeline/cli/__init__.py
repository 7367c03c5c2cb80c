"""The command line: the only place that knows invoke, rich, the terminal and exit codes.

* ``commands``: what every task shares. A task is a few lines: take ``run``, call a walk, return an ``Answer``.
* ``report``: how events, answers and failures are shown: rich, plain lines, or JSON Lines.
* ``typable``: what to type next, with the flags that were given.
* ``streams``: writing to readers who may go away.
* ``masking``: the one place that takes secrets out of everything that is shown.
* ``release_tasks``, ``fetch_tasks``, ``source_tasks``, ``trust_tasks``, ``dev_tasks``: the tasks, one module a group. They import walks inside
  their bodies, because ``invoke --list`` imports all of them and must stay as quick as ``invoke --version``.
* ``namespace``: all tasks, in the order of the walk.
* ``program``: the installed script ``modelport``: the same namespace without a checkout.

next: ``commands``
"""
