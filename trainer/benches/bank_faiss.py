"""FAISS beside the bank: `simground reproduce bank-compression` starts it and speaks with it in lines, one request, one reply in JSON.

Usage: bank_faiss.py FOLDER, with the files that the experiment writes; needs `pip install faiss-cpu numpy`.

At a budget of bytes, FAISS keeps a random part of the corpus as product-quantized codes (Jegou, Douze and Schmid 2011), each with its mechanism,
its index and its parameters in a byte each, as the bank's prototypes have them; codebooks count as FAISS has them, in float32. The embedding's
width, the split into codes and the kernel's two bandwidths are those of the best agreement with the exact posteriors on validation
simulations, as for the bank.
"""

import json
import pathlib
import sys
import time

import numpy as np

try:
    import faiss
except ImportError:
    sys.exit("no faiss")

folder = pathlib.Path(sys.argv[1])
settings = json.loads((folder / "settings.json").read_text())
faiss.omp_set_num_threads(1)


def read(name, dtype, width):
    return np.fromfile(folder / name, dtype).reshape(-1, width)


embedding = {
    part: read(f"{part}_embedding.i2", "<i2", settings["d"]).astype("f4") for part in ("corpus", "validation", "held_out", "test")
}
mechanism = read("corpus_mechanism.u2", "<u2", 1)[:, 0]
theta = read("corpus_theta.f4", "<f4", settings["d_theta"])
exact = read("validation_exact.f4", "<f4", settings["mechanisms"] + 3 * settings["d_theta"])
order = np.random.default_rng(settings["seed"]).permutation(len(mechanism))
kept = {}


def squared_distances(queries, vectors):
    """Equal to FAISS's own from its distance tables: a code's distance is that of what it decodes to."""
    squares = (queries**2).sum(1)[:, None] + (vectors**2).sum(1) - 2 * queries @ vectors.T
    return np.maximum(squares, 0)


def kernel(distances, half_life):
    weights = distances.min(1, keepdims=True) - distances
    weights *= np.float32(1 / half_life)
    return np.exp2(weights, out=weights)


def posteriors(distances, rows, half_lives):
    """Mechanism posterior by the first half-life, then presence, mean and standard deviation of each parameter by the second."""
    known = ~np.isnan(theta[rows])
    values = np.where(known, np.round(theta[rows] * 254) / 254, 0)
    one_hot = np.eye(settings["mechanisms"], dtype="f4")[mechanism[rows]]
    # Products of matrices in float32: most of the time goes here.
    mechanisms = kernel(distances, half_lives[0]) @ one_hot
    mechanisms /= mechanisms.sum(1, keepdims=True)
    weights = kernel(distances, half_lives[1])
    sums = weights @ np.concatenate([known, values, values**2], 1).astype("f4")
    present, mean, square = np.split(sums / weights.sum(1, keepdims=True), 3, 1)
    mean, square = (moment / np.maximum(present, 1e-30) for moment in (mean, square))
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    return np.concatenate([mechanisms, np.stack([present, mean, spread], 2).reshape(len(weights), -1)], 1)


def disagreement(found):
    """Total variation of the mechanisms, and the distance of the parameters' moments where present."""
    k = settings["mechanisms"]
    variation = np.abs(found[:, :k] - exact[:, :k]).sum(1).mean() / 2
    ours, theirs = (rows[:, k:].reshape(len(rows), -1, 3) for rows in (found, exact))
    apart = np.hypot(ours[:, :, 1] - theirs[:, :, 1], ours[:, :, 2] - theirs[:, :, 2])
    apart = np.where(ours[:, :, 0] > 0, apart, 1)
    there = theirs[:, :, 0] >= 0.05
    return variation, ((apart * there).sum(1) / there.sum(1)).mean()


def candidates(budget):
    """Every index that the budget holds."""
    for d in (width for width in (4, 8, 12, 16) if width <= settings["d"]):
        layer = (4 * (-(-settings["d_hidden"] // 4) * 4) + 32) * (d // 4)
        novelty = 4 * settings["novelty_entries"][str(budget)]
        for codes in (2, 4, 8, 16):
            for bits in (4, 6, 8):
                if d % codes:
                    continue
                codebook = 4 * d * 2**bits
                each = -(-codes * bits // 8) + 1 + settings["index_bytes"] + settings["d_theta"]
                count = min((budget - layer - novelty - codebook) // each, len(order))
                if count >= max(settings["mechanisms"], 2):
                    yield d, codes, bits, count, layer + novelty + codebook + count * each


def build(budget):
    started, best = time.time(), None
    for d, codes, bits, count, size in candidates(budget):
        index = faiss.IndexPQ(d, codes, bits)
        vectors = np.ascontiguousarray(embedding["corpus"][:, :d])
        index.train(vectors[order[:65536]])
        rows = order[:count]
        index.add(vectors[rows])
        decoded = index.reconstruct_n(0, count)
        distances = squared_distances(embedding["validation"][:, :d], decoded)
        steps = [[half_life * 2 ** (step / 2) for half_life in settings["half_lives"]] for step in range(-2, 21)]
        found = [disagreement(posteriors(distances, rows, half_lives)) for half_lives in steps]
        # Neither half-life has a part in what the other is judged by.
        chosen = [min(range(len(steps)), key=lambda step: found[step][of]) for of in (0, 1)]
        half_lives = [steps[step][of] for of, step in enumerate(chosen)]
        score = sum(found[step][of] for of, step in enumerate(chosen))
        if best is None or score < best[0]:
            best = (score, index, d, decoded, rows, half_lives, size)
    if best is None:
        return None
    _, index, d, decoded, rows, half_lives, size = best
    seconds = time.time() - started
    kept[budget] = index
    distances = squared_distances(embedding["test"][:, :d], decoded)
    held_out = squared_distances(embedding["held_out"][:, :d], decoded)
    outputs = {
        "test": posteriors(distances, rows, half_lives),
        "test_least": distances.min(1),
        "held_out_least": held_out.min(1),
        "vectors": decoded,
    }
    for name, values in outputs.items():
        np.ascontiguousarray(values, "<f4").tofile(folder / f"{budget}_{name}.f4")
    entries = settings["novelty_entries"][str(budget)]
    return {"bytes": size, "count": len(rows), "d": d, "seconds": seconds, "novelty_entries": entries}


def timed(budget):
    index = kept[budget]
    queries = np.ascontiguousarray(embedding["test"][:, : index.d])
    started = time.perf_counter()
    index.search(queries, min(5, index.ntotal))
    return {"microseconds": (time.perf_counter() - started) * 1e6 / len(queries)}


print(json.dumps({"version": faiss.__version__}), flush=True)
for line in sys.stdin:
    request, budget = line.split()
    answer = build(int(budget)) if request == "build" else timed(int(budget))
    print(json.dumps(answer), flush=True)
