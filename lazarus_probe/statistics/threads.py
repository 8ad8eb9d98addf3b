"""Many small fits run best on one thread: a second one only waits."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from threadpoolctl import threadpool_limits


def one_thread() -> AbstractContextManager[Any]:
    """Hold every BLAS to one thread within the block, that of SciPy too: only what is loaded by then is held."""
    import scipy.linalg  # noqa: F401

    return threadpool_limits(limits=1, user_api="blas")
