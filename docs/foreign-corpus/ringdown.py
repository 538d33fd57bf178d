#!/usr/bin/env python3
"""A simulator that knows nothing of simground: a struck beam rings down, and an accelerometer listens.

Writes a corpus for `simground train --corpus` and one measured window for `simground predict`. Needs numpy and pyarrow.

    python ringdown.py --rows 20000 --out corpus
"""

import argparse
import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

STEPS = 64  # samples of a window
RATE_HZ = 400.0
PRIOR = {  # uniform
    "frequency_hz": (8.0, 60.0),
    "damping": (0.005, 0.15),
    "amplitude_g": (0.2, 2.0),
}
NOISE_G = 0.05


def simulate(theta, rng):
    """Acceleration in g, `[rows, STEPS]`, of parameters `[rows, 3]`."""
    frequency, damping, amplitude = (column[:, None] for column in theta.T)
    time = np.arange(STEPS) / RATE_HZ
    omega = 2 * np.pi * frequency
    phase = rng.uniform(0, 2 * np.pi, (len(theta), 1))  # nobody knows when the hammer hits
    ringing = np.sin(omega * np.sqrt(1 - damping**2) * time + phase)
    x = amplitude * np.exp(-damping * omega * time) * ringing
    return x + rng.normal(0, NOISE_G, x.shape)


def prior(rows, rng):
    """Parameters `[rows, 3]`."""
    low, high = np.array(list(PRIOR.values())).T
    return rng.uniform(low, high, (rows, len(PRIOR)))


def table(x, theta):
    """The columns of a corpus: `x` and `theta`, lists of a fixed size, and the names of theta."""

    def lists(values):
        flat = pa.array(values.astype(np.float32).ravel())
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])

    names = {"theta_names": json.dumps(list(PRIOR))}
    return pa.table({"x": lists(x), "theta": lists(theta)}).replace_schema_metadata(names)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rows", type=int, default=20_000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--out", type=pathlib.Path, default=pathlib.Path("corpus"))
    arguments = arguments.parse_args()
    rng = np.random.default_rng(arguments.seed)
    theta = prior(arguments.rows, rng)
    arguments.out.mkdir(exist_ok=True)
    # Two files, as two machines would write them; any number will do.
    half = arguments.rows // 2
    for name, rows in [("a", slice(None, half)), ("b", slice(half, None))]:
        part = table(simulate(theta[rows], rng), theta[rows])
        pq.write_table(part, arguments.out / f"{name}.parquet")
    # One beam whose parameters we know, as if measured.
    truth = np.array([[23.0, 0.03, 0.9]])
    window = simulate(truth, np.random.default_rng(2))[0]
    header = ",".join(f"x_{step}" for step in range(STEPS))
    values = ",".join(f"{value:.4f}" for value in window)
    pathlib.Path("measured.csv").write_text(f"{header}\n{values}\n")


if __name__ == "__main__":
    main()
