"""Draws docs/pictures/report.png: the report of three claims on the bundled model, as a browser shows it.

python tests/docs/report_picture.py     # wants chromium, and Pillow
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.reports.test_browser import BROWSER, chromium

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "pictures" / "report.png"
FILES = ("hypotheses/classifiers/test_embeddings.py", "hypotheses/arithmetic/test_lens_answers.py")
TESTS = "test_answer_absent or (test_task_type and not after) or (test_announces and spaced)"
SIZE = (1100, 860)


def main() -> None:
    """Run the claims, and write the picture."""
    if BROWSER is None:
        sys.exit("no Chromium here: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", *FILES, "-k", TESTS, "--model", "organism"]
        options = ["--probe-baseline", "none", "--probe-report", folder, "-q", "--tb=no"]
        subprocess.run([*command, *options], cwd=ROOT, check=False)
        (page,) = Path(folder).glob("*/index.html")
        chromium(f"--screenshot={PICTURE}", "--window-size={},{}".format(*SIZE), address=page.as_uri())
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
