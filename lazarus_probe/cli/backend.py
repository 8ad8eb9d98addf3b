"""`lazarus backend`: what mlx computes on."""

from __future__ import annotations

from lazarus_probe.cli.options import AsJson
from lazarus_probe.cli.output import deliver


def backend(as_json: AsJson = False) -> None:
    """Show what mlx computes on, and how fast it is compared with NumPy."""
    from lazarus_probe.cli.speed import mlx_speed, numpy_speed
    from lazarus_probe.reports.run import blas, device

    library = blas()  # before mlx is imported for the device
    ours, numpys = mlx_speed(), numpy_speed()
    data = {"device": device(), "blas": library, "mlx": ours, "numpy": numpys, "ratio": ours / numpys}
    lines = [
        f"device  {data['device']}",
        f"BLAS    {library}",
        f"mlx     {ours:.1f} GFLOP/s (float32, 1024 cube)",
        f"NumPy   {numpys:.1f} GFLOP/s",
        f"ratio   {ours / numpys:.2f}",
    ]
    deliver(data, "\n".join(lines), as_json=as_json)
