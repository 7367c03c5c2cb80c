"""The command line: the only place that knows invoke, rich, the terminal and exit codes.

* ``answer`` → ``report`` → ``commands``: what a task found out; how it is shown; what every task shares. A task is a few lines:
  take ``run``, call a walk, return an ``Answer``.
* ``report``: how events, answers and failures are shown: rich, plain lines, or JSON Lines.
* ``typable``: what to type next, with the flags that were given.
* ``streams``: writing to readers who may go away.
* ``masking``: the one place that takes secrets out of everything that is shown.
* ``…_tasks``: the tasks, one module a group; ``…_orders`` read their flags, ``…_summaries`` tell people. They import walks inside
  their bodies, because ``invoke --list`` imports all of them and must stay as quick as ``invoke --version``.
* ``namespace``: all tasks, in the order of the walk.
* ``program``: the installed script ``modelport``: the same namespace without a checkout.

next: ``answer``
"""
