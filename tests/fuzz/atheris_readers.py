"""Feeds damaged files to every reader until one of them raises what is no user's error (`make fuzz`).

python tests/fuzz/atheris_readers.py [NAME] -max_total_time=60

NAME is the file of one reader, such as direction.npz; all of them by default. What breaks a reader is left as a file
`crash-...` in the current folder.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import atheris
import readers

with atheris.instrument_imports(include=["lazarus_probe", "zipfile", "json", "yaml", "numpy.lib"]):
    from lazarus_probe.adapters import adapter  # noqa: F401
    from lazarus_probe.circuit import activations, dataset  # noqa: F401
    from lazarus_probe.claims import claim  # noqa: F401
    from lazarus_probe.introspection.directions import direction_file  # noqa: F401
    from lazarus_probe.introspection.lens import tuned_lens  # noqa: F401
    from lazarus_probe.introspection.patching import prompt_pairs  # noqa: F401
    from lazarus_probe.training import settings  # noqa: F401
    from lazarus_probe.training.sft import jsonl  # noqa: F401

FOLDER = Path(tempfile.mkdtemp())


def main() -> None:
    """Fuzz the readers that are named on the command line, or all."""
    names = [word for word in sys.argv[1:] if not word.startswith("-")]
    chosen = [reader for reader in readers.READERS if not names or reader.name in names]
    whole = []
    for number, reader in enumerate(chosen):
        path = FOLDER / str(number) / reader.name
        path.parent.mkdir()
        reader.write(path)
        whole.append((reader, path, path.read_bytes()))

    def one_input(data: bytes) -> None:
        given = atheris.FuzzedDataProvider(data)
        reader, path, content = whole[given.ConsumeIntInRange(0, len(whole) - 1)]
        place = given.ConsumeIntInRange(0, len(content))
        gone = given.ConsumeIntInRange(0, 16)
        new = given.ConsumeBytes(given.remaining_bytes())
        path.write_bytes(content[:place] + new + content[place + gone :])
        assert reader.holds(path)

    warnings.simplefilter("ignore")
    atheris.Setup([sys.argv[0], *(word for word in sys.argv[1:] if word.startswith("-"))], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
