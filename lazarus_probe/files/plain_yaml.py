"""Untrusted YAML: plain values only, with limits on their number and depth, aliases expanded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lazarus_probe.files.reading import MIB, read_text

MOST = MIB  # bytes: PyYAML reads 100 kB a second
MOST_DEPTH = 50
MOST_NODES = 50_000  # aliases counted at every use
MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True)
class YamlDocument:
    """A document, and its nodes with their line numbers.

    Attributes:
        value: plain values; None for an empty document.
        node: None for an empty document.
    """

    value: Any
    node: yaml.Node | None


class YamlError(ValueError):
    """A problem of a YAML text; the message does not name the file.

    Attributes:
        line: the line number, from 1; None if there is none.
    """

    def __init__(self, problem: str, line: int | None = None) -> None:
        """Args: the problem, in one line; the line number."""
        super().__init__(problem)
        self.line = line


def read_yaml(path: str | Path) -> YamlDocument:
    """The YAML in a regular file.

    Raises:
        OSError: it cannot be read, is not a regular file or is larger than `MOST` bytes.
        UnicodeDecodeError: it is not UTF-8.
        YamlError: as `parse_yaml`.
    """
    return parse_yaml(read_text(path, MOST))


def parse_yaml(text: str) -> YamlDocument:
    """Parse a YAML text; tags other than YAML's own are refused, so that no code runs.

    Raises:
        YamlError: it is not YAML, nests deeper than `MOST_DEPTH`, has more than `MOST_NODES` values, contains itself,
            has a duplicate key, or a value does not match its tag.
    """
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return YamlDocument(loader.construct_document(node) if node is not None else None, node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise YamlError(problem, mark.line + 1 if mark else None) from None
    finally:
        if loader is not None:
            loader.dispose()


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with limits."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open: list[str | None] = []  # anchors of the nodes being parsed
        self._sizes: dict[int, int] = {}  # of each node, in values, with its aliases expanded

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        alias = isinstance(event, yaml.AliasEvent)
        if alias and event.anchor in self._open:
            self._refuse(f"*{event.anchor} contains itself", event)
        if len(self._open) >= MOST_DEPTH:
            self._refuse(f"nested deeper than {MOST_DEPTH} levels", event)
        self._open.append(None if alias else event.anchor)
        node = super().compose_node(parent, index)
        self._open.pop()
        if not alias:
            self._sizes[id(node)] = 1 + sum(self._sizes.get(id(part), 0) for part in _parts(node))
            self._check_text(node, event)
            self._check_names(node)
        if self._sizes.get(id(node), 0) > MOST_NODES:
            self._refuse(f"more than {MOST_NODES:,} values, aliases written out", event)
        return node

    def _check_text(self, node: Any, event: Any) -> None:
        if isinstance(node, yaml.ScalarNode):
            try:
                node.value.encode()
            except UnicodeEncodeError:
                self._refuse("a lone surrogate, as in \\ud800", event)

    def _check_names(self, node: Any) -> None:
        """Refuse duplicate keys: of two thresholds of a claim the second would silently win."""
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else []:
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                name = (key.tag, key.value)
                if name in lines:
                    self._refuse(f"{key.value[:40]!r} is a duplicate key, first on line {lines[name]}", key)
                lines[name] = key.start_mark.line + 1

    def _refuse(self, problem: str, event: Any) -> None:
        raise yaml.composer.ComposerError(None, None, problem, event.start_mark)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError):
            kind = str(node.tag).rpartition(":")[2]
            value = f"{node.value[:40]!r}" if isinstance(node.value, str) else "the value"
            problem = f"{value} is not a valid {kind}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


def _parts(node: Any) -> list[Any]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    return [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else []
