"""What the commands import and count once, and nothing that starts a thread: a process forked from here has none."""

import matplotlib.figure  # noqa: F401
import mlx_lm  # noqa: F401
import pydantic  # noqa: F401
import rich.table  # noqa: F401
import scipy.stats  # noqa: F401
import transformers  # noqa: F401

import lazarus_probe.cli.lazarus
import lazarus_probe.introspection.lens.tuned_lens
import lazarus_probe.organisms.tokenizer
import lazarus_probe.reports.page
import lazarus_probe.training.grpo.run
import lazarus_probe.training.pretraining.pretrain
import lazarus_probe.training.sft.train

lazarus_probe.organisms.tokenizer.corpus_words()
