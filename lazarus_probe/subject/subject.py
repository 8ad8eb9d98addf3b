"""A model under study."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from lazarus_probe.anatomy.anatomy import Anatomy, UnsupportedArchitecture, anatomy_of, architecture
from lazarus_probe.anatomy.random_state import random_state
from lazarus_probe.backend import fit_threads
from lazarus_probe.files.paths import user_path
from lazarus_probe.spelling import one_of
from lazarus_probe.subject.encoding import (
    AddedTokens,
    PromptWarning,
    added_tokens,
    checked,
    encoded,
    offsets,
    pieces,
)
from lazarus_probe.subject.identity import Identity
from lazarus_probe.subject.one_run import KINDS, MODES, Mode, Parallel, data_group, joined, several_processes
from lazarus_probe.warn import warn

CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


@dataclass(frozen=True, eq=False)
class Subject:
    """A language model with its tokenizer, its anatomy and its identity.

    Attributes:
        name: what reports call it.
        model: an mlx-lm model.
        tokenizer: mlx-lm's `TokenizerWrapper`, or None for a model that only ever sees token ids.
        config: the model's configuration, as it was built.
        anatomy: where its parts are.
        path: the folder it was loaded from, if it was.
        whole: of a model that is split over processes, makes the whole of it again, its weights unread.
        group: the processes that batches are dealt to, each of which has the whole model; None to run all here.

    Example:
        >>> from lazarus_probe import Subject
        >>> subject = Subject.load("organism")
        >>> subject.num_layers, subject.dtype
        (8, 'float32')
        >>> subject.decode(subject.encode("7*8="))
        '<|begin|>7*8='
    """

    name: str
    model: nn.Module = field(repr=False)  # a traceback shows the subject in each of its frames
    tokenizer: Any = field(repr=False)
    config: dict[str, Any] = field(repr=False)
    anatomy: Anatomy = field(repr=False)
    path: Path | None = None
    whole: Callable[[], nn.Module] | None = field(default=None, repr=False)
    group: Any = field(default=None, repr=False)

    @classmethod
    def from_model(
        cls,
        model: nn.Module,
        tokenizer: Any = None,
        name: str = "model",
        config: dict[str, Any] | None = None,
        path: Path | None = None,
    ) -> Subject:
        """A subject around a model that exists; `config` defaults to the model's own arguments.

        Raises:
            UnsupportedArchitecture: the parts of the model were not found.
        """
        anatomy = anatomy_of(model)
        fit_threads(anatomy.hidden_size)
        if config is None:
            config = dataclasses.asdict(arguments(model))
        return cls(name, model, tokenizer, dict(config), anatomy, path, group=data_group())

    @classmethod
    def load(
        cls,
        name: str | Path,
        adapter: str | Path | None = None,
        parallel: Mode | None = None,
    ) -> Subject:
        """Load a bundled model by name, a local folder or GGUF file, `smollm2`, or a Hugging Face Hub id.

        Ollama's models are loaded by their names, as `llama3.2:1b`. `<bundled>-untrained` and
        `<bundled>-untrained-<seed>` are the same architecture newly initialised. On the CPU, 16-bit weights are cast to
        float32, since 16-bit products are very slow there, and so are quantised weights, if as float32 they fit into
        half of the machine's memory.

        Args:
            name: what to load.
            adapter: a folder with adapter_config.json and adapters.safetensors, as mlx-lm writes them, or
                adapter_model.safetensors, as peft does, or with config.json and lora_weights.npz.
            parallel: "tensor" splits every block over the processes that `mlx.launch` started, "pipeline" gives each
                some of the blocks, "data" gives each the whole model and a share of the batches. Each has to run the
                same program. Values at sites are those of the whole model.

        Raises:
            LoadError: the name is unknown, what it names is not a usable checkpoint, or the adapter is none, is damaged
                or is one of another model.
            UnsupportedArchitecture: the parts of the model were not found, or it cannot be split over the processes.
            ValueError: there is one process, or an adapter for a model that is split.
        """
        from lazarus_probe.adapters.adapter_files import check_adapter, label
        from lazarus_probe.anatomy.finite_weights import OTHER_WEIGHTS, bad_weight_unseen
        from lazarus_probe.checkpoints.checkpoint import read_weights
        from lazarus_probe.checkpoints.errors import LoadError
        from lazarus_probe.checkpoints.load import load_parts
        from lazarus_probe.checkpoints.names import untrained_name
        from lazarus_probe.checkpoints.tokenizer_check import check_ids

        if parallel is None and (run := joined()):
            parallel = run.parallel
        if parallel not in (None, *MODES):
            raise ValueError(f"parallel {parallel!r} is unknown; {one_of(str(parallel), MODES)}")
        split = next((kind for kind in KINDS if kind == parallel), None)
        if split and adapter is not None:
            raise ValueError(
                f"{name} takes no adapter where it is split over processes; merge it into the weights"
            )
        if twin := untrained_name(str(name)):
            if adapter is not None:
                raise LoadError(
                    f"{name} takes no adapter: it was trained on other weights; drop one of the two"
                )
            return cls.load(twin[0], parallel=parallel).untrained(twin[1])
        if adapter is not None:
            check_adapter(adapter)  # before the time that loading takes
        parts = load_parts(name, lazy=split is not None)
        subject = cls.from_model(parts.model, parts.tokenizer, parts.name, parts.config, parts.path)
        if parallel == "data":
            subject = dataclasses.replace(subject, group=several_processes(parallel))
        if split:
            subject = subject.split(lambda: load_parts(name, lazy=True).model, split)
            read_weights(parts.path, subject.model)
        if parts.tokenizer is not None:
            check_ids(parts.path, parts.tokenizer, subject.anatomy.vocab_size)
        if weight := bad_weight_unseen(subject.anatomy, parts.path):
            raise LoadError(f"{parts.path} cannot be used: {weight}; {OTHER_WEIGHTS}")
        if adapter is None:
            return subject
        from lazarus_probe.adapters.adapter import load_adapter

        load_adapter(subject, user_path(adapter))
        return dataclasses.replace(subject, name=label(subject.name, adapter))

    def split(self, whole: Callable[[], nn.Module], parallel: Parallel = "tensor") -> Subject:
        """The subject with its model, which was whole, split over all processes, in place.

        Every process has to ask for it.

        Args:
            whole: makes the whole model again.
            parallel: as in `load`.

        Raises:
            UnsupportedArchitecture: the model cannot be split over so many processes.
            ValueError: there is one process.
        """
        if parallel == "pipeline":
            from lazarus_probe.anatomy.pipeline_parallel import pipelined

            return dataclasses.replace(self, anatomy=pipelined(self.anatomy), whole=whole, group=None)
        from lazarus_probe.anatomy.sharding import sharded

        anatomy = sharded(self.anatomy, lambda: type(self.model)(arguments(self.model)))
        return dataclasses.replace(self, anatomy=anatomy, whole=whole, group=None)

    @property
    def num_layers(self) -> int:
        """How many blocks the model has."""
        return self.anatomy.num_layers

    @property
    def dtype(self) -> str:
        """The type of its floating-point weights, as in `float32`."""
        return str(_float_type(self.model)).removeprefix("mlx.core.")

    @property
    def fingerprint(self) -> str:
        """SHA-256 over weights, configuration and tokenizer: equal exactly when the subject is the same.

        Computed once, and again when a weight was replaced, as training and adapters do. A weight changed in
        place, such as `weight[0] = 1`, is not seen.
        """
        return self._identity.fingerprint()

    @cached_property
    def _identity(self) -> Identity:
        return Identity(self.model, self.config, self.tokenizer, self.whole)

    @cached_property
    def eos_token_ids(self) -> frozenset[int]:
        """The tokens that end a text."""
        if self.tokenizer is not None:
            return frozenset(self.tokenizer.eos_token_ids)
        ids = self.config.get("eos_token_id")
        return frozenset([ids] if isinstance(ids, int) else ids or [])

    @cached_property
    def context_length(self) -> int | None:
        """How many tokens the model was made for, where its configuration says."""
        for settings in (self.config, self.config.get("text_config") or {}):
            for key in CONTEXT_KEYS:
                if settings.get(key):
                    return int(settings[key])
        return None

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, with the special tokens that the tokenizer adds; the text is never stripped.

        What a chat template wrote (`in_chat`) has its special tokens, and its ids are those of
        `apply_chat_template(tokenize=True)`. A plain text that begins with the tokens that the tokenizer would put
        there, as the beginning-of-sequence token, gets no second ones.

        Warns (`PromptWarning`) once of a tokenizer that ends every prompt with a token of its own.

        Raises:
            ValueError: the text is empty, longer than what the model was made for, or no Unicode, or there is no
                tokenizer.
            TypeError: it is no text.
        """
        if checked(text) == "":
            raise ValueError("the prompt is empty; give at least one character")
        ids = encoded(self._require_tokenizer(), text, self._added_tokens)
        if (top := max(ids, default=0)) >= self.anatomy.vocab_size:
            raise ValueError(
                f"the prompt {text[:20]!r} has the token {top}, and {self.name} embeds {self.anatomy.vocab_size}: its "
                "tokenizer is of another model"
            )
        if self.context_length is not None and len(ids) > self.context_length:
            raise ValueError(
                f"the prompt {text[:20]!r}... has {len(ids)} tokens; {self.name} was made for {self.context_length}: "
                "shorten it"
            )
        return ids

    def offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids as `encode` gives them, and the characters (start, end) of the text that each token covers.

        Raises:
            ValueError: as `encode`; or the tokenizer changes the text and does not say what its tokens cover.
        """
        ids = self.encode(text)
        again, covered = offsets(self._require_tokenizer(), text, self._added_tokens)
        if again != ids:
            raise ValueError(f"the tokenizer of {self.name} gives {text[:40]!r} other tokens each time")
        return ids, covered

    def pieces(self, text: str) -> list[int]:
        """Token ids of a text alone, as of an answer, without any special token around it; of none for an empty one.

        Raises:
            ValueError: the text is no Unicode, or there is no tokenizer.
            TypeError: it is no text.
        """
        return pieces(self._require_tokenizer(), text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        return str(self._require_tokenizer().decode([int(token) for token in ids]))

    def single_token(self, word: str) -> int:
        """The id of a word that is exactly one token.

        Raises:
            ValueError: it is none or several; the message gives its pieces, and a form of it that is one
                token if there is one.
        """
        ids = self.pieces(word)
        if self._spells(ids, word):
            return ids[0]
        pieces = ", ".join(repr(self.decode([token])) for token in ids) or "no tokens"
        forms = [form for form in _forms(word) if self._spells(self.pieces(form), form)]
        advice = f"{forms[0]!r} is one token" if forms else "choose another word"
        raise ValueError(f"{word!r} is not one token but {len(ids)} ({pieces}); {advice}")

    def untrained(self, seed: int = 0) -> Subject:
        """An untrained model of the same architecture and data type, initialised by mlx from `seed`.

        The global random state is left as it was found. Adapters and quantisation are not carried over. Weights are
        computed where they are first used: a reader of the first layers pays for those alone.
        """
        suffix = f"-{seed}" if seed else ""
        name = f"{self.name}-untrained{suffix}"
        twin = Subject.from_model(self.fresh_model(seed), self.tokenizer, name, self.config)
        return (
            twin.split(lambda: self.fresh_model(seed), ranks.parallel)
            if (ranks := self.anatomy.ranks)
            else dataclasses.replace(twin, group=self.group)
        )

    def fresh_model(self, seed: int) -> nn.Module:
        """A whole model of the same architecture and data type, newly initialised; see `untrained`."""
        with random_state(seed):
            model = type(self.model)(arguments(self.model))
            # Gemma 3 learns that its embeddings are tied when it reads a checkpoint that has no unembedding.
            if getattr(model, "tie_word_embeddings", True) is False and "lm_head" not in self.model:
                model.tie_word_embeddings = True
                model.pop("lm_head", None)
        model.set_dtype(_float_type(self.model))
        model.eval()
        return model

    @cached_property
    def _added_tokens(self) -> AddedTokens:
        tokenizer = self._require_tokenizer()
        added = added_tokens(tokenizer)
        if added.after:
            warn(
                f"the tokenizer of {self.name} ends every prompt with {self.decode(added.after)!r}, so the last token "
                "is that one, and what the model generates follows it; if that is not meant, change its "
                "post-processor in tokenizer.json (or add_eos_token in tokenizer_config.json)",
                PromptWarning,
            )
        return added

    def _spells(self, ids: list[int], word: str) -> bool:
        # Tokenizers drop, or replace by one unknown token, what they cannot spell; some drop a leading space.
        return len(ids) == 1 and self.decode(ids).strip() == word.strip()

    def _require_tokenizer(self) -> Any:
        if self.tokenizer is None:
            raise ValueError(
                f"{self.name} has no tokenizer; give token ids, or build the Subject with a tokenizer"
            )
        return self.tokenizer


def arguments(model: nn.Module) -> Any:
    """The arguments a model was built from; mlx-lm keeps them as `args` or `config`."""
    for name in ("args", "config"):
        value = getattr(model, name, None)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return value
    raise UnsupportedArchitecture(f"{architecture(model)} keeps no arguments that it was built from")


def _forms(word: str) -> Iterator[str]:
    for form in (word, word.capitalize(), word.lower(), word.upper()):
        for text in (form, f" {form}", form.lstrip()):
            if text.strip() and text != word:
                yield text


def _float_type(model: nn.Module) -> mx.Dtype:
    # Heads are projected layer by layer: a list of all parameters each time was a sixth of what that took.
    return next(weight.dtype for weight in _arrays(model) if mx.issubdtype(weight.dtype, mx.floating))


def _arrays(tree: Any) -> Iterator[mx.array]:
    """The arrays in a tree of modules, lists and dictionaries, in the order of `model.parameters()`."""
    if isinstance(tree, mx.array):
        yield tree
    elif isinstance(tree, dict):  # as modules are
        for name, value in tree.items():
            if not name.startswith("_"):
                yield from _arrays(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _arrays(value)
