"""All tasks of the field's benchmark (Lueckmann et al. 2021, https://arxiv.org/abs/2101.04653) on the way of any foreign corpus.

Usage: posteriors_benchmark.py SIMGROUND [--seeds 1,2,3] [--simulations 1000,10000] [--tasks two_moons,slcp] [--observations 5]

Each training: simulations drawn here and written as Parquet (x and theta, nothing else), `simground init`, `train`, `predict` with
10,000 samples for each of the benchmark's own observations, and `evaluate --against` the benchmark's own reference samples. Prints the
classifier two-sample test of each observation, and the log score on 4,000 simulations that nothing else saw. A training whose
calibration gate fails counts all the same and is marked.

Needs numpy, pyarrow, torch, and the benchmark's files: `pip install numpy pyarrow torch && pip install --no-deps sbibm` (1.1.0).
"""

import argparse
import bz2
import json
import math
import pathlib
import statistics
import subprocess
import sys
import sysconfig
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

TASKS = pathlib.Path(sysconfig.get_paths()["purelib"]) / "sbibm" / "tasks"
SAMPLES, FRESH = 10_000, 4_000


def gaussian_linear(rng, n):
    theta = math.sqrt(0.1) * rng.standard_normal((n, 10))
    return theta, theta + math.sqrt(0.1) * rng.standard_normal((n, 10))


def gaussian_linear_uniform(rng, n):
    theta = rng.uniform(-1, 1, (n, 10))
    return theta, theta + math.sqrt(0.1) * rng.standard_normal((n, 10))


def gaussian_mixture(rng, n):
    theta = rng.uniform(-10, 10, (n, 2))
    sd = np.where(rng.random((n, 1)) < 0.5, 1.0, 0.1)
    return theta, theta + sd * rng.standard_normal((n, 2))


def two_moons(rng, n):
    theta = rng.uniform(-1, 1, (n, 2))
    angle, radius = rng.uniform(-math.pi / 2, math.pi / 2, n), 0.1 + 0.01 * rng.standard_normal(n)
    crescent = np.stack([radius * np.cos(angle) + 0.25, radius * np.sin(angle)], 1)
    shift = np.stack([-np.abs(theta[:, 0] + theta[:, 1]), theta[:, 1] - theta[:, 0]], 1) / math.sqrt(2)
    return theta, crescent + shift


def slcp(rng, n):
    theta = rng.uniform(-3, 3, (n, 5))
    first, second, rho = theta[:, [2]] ** 2, theta[:, [3]] ** 2, np.tanh(theta[:, [4]])
    a, b = rng.standard_normal((2, n, 4))
    x = theta[:, [0]] + first * a, theta[:, [1]] + second * (rho * a + np.sqrt(1 - rho**2) * b)
    return theta, np.stack(x, 2).reshape(n, 8)


def bernoulli_glm(rng, n):
    import torch

    files = TASKS / "bernoulli_glm" / "files"
    design = torch.load(files / "design_matrix.pt").numpy().astype(float)
    stimulus = torch.load(files / "stimulus_I.pt").numpy().astype(float).reshape(-1)
    m = 9
    difference = np.eye(m) - np.eye(m, k=-1)
    smooth = difference @ difference + np.diag(np.sqrt(np.arange(m) / m))
    precision = np.zeros((m + 1, m + 1))
    precision[0, 0], precision[1:, 1:] = 0.5, smooth.T @ smooth
    theta = rng.standard_normal((n, m + 1)) @ np.linalg.cholesky(np.linalg.inv(precision)).T
    spikes = (rng.random((n, len(design))) < 1 / (1 + np.exp(-theta @ design.T))).astype(float)
    padded = np.pad(spikes, ((0, 0), (m - 1, m - 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(stimulus), axis=1)
    return theta, np.concatenate([spikes.sum(1, keepdims=True), windows[:, -m:] @ stimulus], 1)


def runge_kutta(derivative, state, steps, dt):
    """States after every step, the first included."""
    states = [state]
    for _ in range(steps):
        k1 = derivative(state)
        k2 = derivative(state + dt / 2 * k1)
        k3 = derivative(state + dt / 2 * k2)
        k4 = derivative(state + dt * k3)
        state = state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        states.append(state)
    return np.stack(states, -1)


def sir(rng, n):
    population = 1e6
    theta = np.exp(np.log([0.4, 0.125]) + [0.5, 0.2] * rng.standard_normal((n, 2)))
    beta, gamma = theta.T

    def derivative(state):
        infections = beta * state[0] * state[1] / population
        return np.stack([-infections, infections - gamma * state[1]])

    start = np.stack([np.full(n, population - 1), np.ones(n)])
    infectious = runge_kutta(derivative, start, 1_600, 0.1)[1][:, ::170][:, :10]
    return theta, rng.binomial(1_000, np.clip(infectious / population, 0, 1))


def lotka_volterra(rng, n):
    theta = np.exp(np.array([-0.125, -3, -0.125, -3]) + 0.5 * rng.standard_normal((n, 4)))
    alpha, beta, gamma, delta = theta.T

    def derivative(state):
        prey, predators = state
        return np.stack([prey * (alpha - beta * predators), predators * (delta * prey - gamma)])

    states = runge_kutta(derivative, np.stack([np.full(n, 30.0), np.ones(n)]), 4_000, 0.005)
    states = np.log(np.clip(states[:, :, ::420], 1e-10, 1e4))
    assert np.isfinite(states).all(), "a step was too long"
    x = np.exp(states + 0.1 * rng.standard_normal(states.shape))
    return theta, np.concatenate(list(x), 1)


SIMULATORS = [gaussian_linear, gaussian_linear_uniform, gaussian_mixture, two_moons, slcp, bernoulli_glm, sir, lotka_volterra]


def lists(values):
    values = np.ascontiguousarray(values, dtype=np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def write_corpus(path, simulator, seed, n):
    theta, x = simulator(np.random.default_rng(seed), n)
    names = json.dumps([f"theta_{at}" for at in range(theta.shape[1])])
    pq.write_table(pa.table({"x": lists(x), "theta": lists(theta)}).replace_schema_metadata({"theta_names": names}), path)


def read(path):
    with (bz2.open if path.suffix == ".bz2" else open)(path, "rt") as file:
        return np.loadtxt(file, delimiter=",", skiprows=1, ndmin=2)


def columns(theta):
    return pa.table({f"theta_{at}": theta[:, at].astype(np.float32) for at in range(theta.shape[1])})


def run(simground, *arguments):
    """Its JSON document, and whether no gate failed."""
    done = subprocess.run([simground, *map(str, arguments), "--json"], capture_output=True, text=True)
    if done.returncode > 1:
        sys.exit(f"simground {' '.join(map(str, arguments))}\n{done.stderr}")
    return json.loads(done.stdout), done.returncode == 0


def train(simground, simulator, seed, n, observations, folder):
    """C2ST of each observation, the log score, whether the gate passed, bytes of flash."""
    of_task = TASKS / simulator.__name__ / "files"
    corpus, fresh, artifact = folder / "corpus.parquet", folder / "fresh.parquet", folder / "model.sgnn"
    # Entropy of its own for each seed and size.
    write_corpus(corpus, simulator, (seed, n), n)
    write_corpus(fresh, simulator, (seed, n, 1), FRESH)
    study = folder / "study.toml"
    study.unlink(missing_ok=True)
    run(simground, "init", "--corpus", corpus, "--out", study)
    _, passed = run(simground, "train", study, "--corpus", corpus, "--out", artifact, "--allow-uncalibrated")
    inspected, _ = run(simground, "inspect", artifact)
    numbers = range(1, observations + 1)
    x = np.concatenate([read(of_task / f"num_observation_{at}" / "observation.csv") for at in numbers])
    observed, drawn, reference = folder / "observed.parquet", folder / "drawn.parquet", folder / "reference.parquet"
    pq.write_table(pa.table({"x": lists(x)}), observed)
    run(simground, "predict", artifact, "--input", observed, "--samples", SAMPLES, "--out", drawn)
    samples, c2st = pq.read_table(drawn), []
    for at in numbers:
        own = samples.filter(pc.equal(samples["row"], at - 1)) if observations > 1 else samples
        pq.write_table(own.select([name for name in own.column_names if name != "row"]), drawn)
        pq.write_table(columns(read(of_task / f"num_observation_{at}" / "reference_posterior_samples.csv.bz2")), reference)
        c2st.append(run(simground, "evaluate", drawn, "--against", reference)[0]["c2st"])
    log_score = run(simground, "evaluate", artifact, "--corpus", fresh)[0]["integer"]["log_score"]["theta"]
    return c2st, log_score, inspected["calibrated"], inspected["flash_bytes"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("simground", type=pathlib.Path)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--simulations", default="1000,10000")
    parser.add_argument("--tasks", default=",".join(simulator.__name__ for simulator in SIMULATORS))
    parser.add_argument("--observations", type=int, default=5)
    arguments = parser.parse_args()
    known = {simulator.__name__: simulator for simulator in SIMULATORS}
    unknown = [name for name in arguments.tasks.split(",") if name not in known]
    if unknown:
        parser.error(f"no task {', '.join(unknown)}; there are {', '.join(known)}")
    tasks = [known[name] for name in arguments.tasks.split(",")]
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    for simulator in tasks:
        for n in map(int, arguments.simulations.split(",")):
            with tempfile.TemporaryDirectory() as folder:
                runs = [train(arguments.simground.resolve(), simulator, seed, n, arguments.observations, pathlib.Path(folder)) for seed in seeds]
            each = [statistics.mean(run[0][at] for run in runs) for at in range(arguments.observations)]
            means = [statistics.mean(run[0]) for run in runs]
            sd = statistics.stdev(means) if len(means) > 1 else 0.0
            print(
                f"{simulator.__name__}, {n} simulations: C2ST {' '.join(f'{value:.3f}' for value in each)}, "
                f"mean {statistics.mean(means):.3f} +- {sd:.3f}; log score {statistics.mean(run[1] for run in runs):.3f}; "
                f"gate passed {sum(run[2] for run in runs)} of {len(runs)}; flash {max(run[3] for run in runs)} bytes",
                flush=True,
            )


if __name__ == "__main__":
    main()
