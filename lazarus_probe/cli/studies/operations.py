"""Arithmetic operations as they are given on a command line."""

from __future__ import annotations

_OTHERS = {"mult": "multiply", "mul": "multiply", "sub": "subtract", "div": "divide"}


def parse_operations(text: str, option: str) -> list[str]:
    """The operations of `all`, or of `*,+,-,/` or their names, each once and in the order given.

    Raises:
        ValueError: one of them is not an operation, or there is none.
    """
    from lazarus_probe.tasks.arithmetic import OPERATIONS

    names = (
        {operation.symbol: name for name, operation in OPERATIONS.items()}
        | {name: name for name in OPERATIONS}
        | _OTHERS
    )
    if text.strip() == "all":
        return list(OPERATIONS)
    chosen = []
    for part in text.split(","):
        name = names.get(part.strip().lower())
        if name is None:
            raise ValueError(
                f"{option} {text}: {part.strip()!r} is not an operation; give all, or some of *, +, -, /, "
                f"{', '.join(OPERATIONS)}, separated by commas"
            )
        chosen.append(name)
    return list(dict.fromkeys(chosen))
