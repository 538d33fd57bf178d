"""The vectorized NumPy rival of `simulation.rs`: outbreak.toml, simulations a second on one thread.

Usage: simulation_numpy.py [count] [batch]

Same priors, same days, same observation model, binomial flows; a batch is one mechanism, as vectorization asks for.
"""

import sys
import time

import numpy as np

POPULATION, STEPS, FORECAST, MAX_DELAY = 200_000, 64, 14, 14
DAYS = STEPS + FORECAST


def latent(rng, mechanism, n):
    """New infections [n, DAYS] of one mechanism."""
    beta = rng.uniform(0.15, 0.5 if mechanism == 2 else 0.45, n)
    gamma = rng.uniform(0.07, 0.25, n)
    sigma = rng.uniform(0.15, 0.5, n)
    silent = rng.uniform(0.2, 0.6, n)
    initial = rng.integers(5, 50, n)
    s = POPULATION - initial
    e, a, i = (np.zeros(n, dtype=np.int64) for _ in range(3))
    if mechanism == 0:
        i = initial.copy()
    else:
        e = initial.copy()
    incidence = np.empty((n, DAYS))
    for day in range(DAYS):
        infected = rng.binomial(s, beta * (a + i) / POPULATION)
        recovered = rng.binomial(i, gamma)
        if mechanism == 0:
            i = i + infected - recovered
        else:
            infectious = rng.binomial(e, sigma)
            e = e + infected - infectious
            if mechanism == 2:
                asymptomatic = rng.binomial(infectious, silent)
                a = a + asymptomatic - rng.binomial(a, gamma)
                infectious = infectious - asymptomatic
            i = i + infectious - recovered
        s = s - infected
        incidence[:, day] = infected
    return incidence


def observe(rng, incidence):
    """Reported counts: fraction, delay, negative binomial."""
    n = len(incidence)
    fraction = rng.uniform(0.5, 0.8, n)
    mean = rng.uniform(1.5, 5.0, n)
    dispersion = rng.uniform(0.01, 0.05, n)[:, None]
    kernel = np.ones((n, MAX_DELAY + 1))
    for day in range(1, MAX_DELAY + 1):
        kernel[:, day] = kernel[:, day - 1] * mean / day
    kernel *= (fraction / kernel.sum(axis=1))[:, None]
    expected = np.zeros_like(incidence)
    for lag in range(MAX_DELAY + 1):
        expected[:, lag:] += kernel[:, lag : lag + 1] * incidence[:, : DAYS - lag]
    return rng.poisson(expected * rng.gamma(1.0 / dispersion, dispersion, expected.shape))


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 24_000
    batch = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000
    rng = np.random.default_rng(1)
    observe(rng, latent(rng, 2, 10))
    done, start = 0, time.perf_counter()
    error = []
    while done < count:
        observed = observe(rng, latent(rng, done // batch % 3, batch))
        error.append(np.abs(observed[:, STEPS:] - observed[:, STEPS - 1 : STEPS]).mean())
        done += batch
    seconds = time.perf_counter() - start
    print(f"{done / seconds:.0f} simulations a second (last value repeated: MAE {np.mean(error):.1f})")


main()
