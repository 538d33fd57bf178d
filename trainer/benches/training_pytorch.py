"""The PyTorch rival of `training.rs`: the same networks, batches and optimizer, in turns, each on one thread.

Usage: training_pytorch.py [rounds]

Needs PyTorch (`pip install torch`) and a built bench (`cargo bench -p simground-trainer --bench training --no-run`). Both sides start
each turn from new weights (He's, biases zero) and a random batch and report the least CPU time of a step over the blocks of the turn,
so neither what else the machine does nor a rare interruption counts. Prints the median over the rounds with [least, most].
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import statistics
import subprocess
import sys
import time

import torch

# Widths and batch as in `training.rs`; blocks a turn and steps a block.
CASES = [
    ([32, 64, 64, 16, 4], 256, 300, 3),
    ([32, 64, 64, 16, 4], 4096, 100, 1),
    ([64, 256, 256, 64, 16], 256, 200, 1),
    ([64, 256, 256, 64, 16], 4096, 40, 1),
]


def pytorch(widths, batch, blocks, steps):
    """Least CPU microseconds of a step: fused Adam, mean squared error."""
    layers = []
    for d_input, d_output in zip(widths, widths[1:]):
        layers += [torch.nn.Linear(d_input, d_output), torch.nn.ReLU()]
        torch.nn.init.kaiming_uniform_(layers[-2].weight, nonlinearity="relu")
        torch.nn.init.zeros_(layers[-2].bias)
    network = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    mean_squared_error = torch.nn.MSELoss()
    x, y = torch.randn(batch, widths[0]), torch.randn(batch, widths[-1])
    least = float("inf")
    for _ in range(blocks):
        before = time.thread_time()
        for _ in range(steps):
            optimizer.zero_grad()
            mean_squared_error(network(x), y).backward()
            optimizer.step()
        least = min(least, time.thread_time() - before)
    return least * 1e6 / steps


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    torch.set_num_threads(1)
    torch.manual_seed(1)
    command = ["cargo", "bench", "-q", "-p", "simground-trainer", "--bench", "training", "--", "--paired"]
    ours = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def simground(case, blocks, steps):
        ours.stdin.write(f"{case} {blocks} {steps}\n")
        return float(ours.stdout.readline())

    print(f"PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {rounds} rounds; CPU microseconds a step")
    for case, (widths, batch, blocks, steps) in enumerate(CASES):
        pairs = [(simground(case, blocks, steps), pytorch(widths, batch, blocks, steps)) for _ in range(rounds)]
        columns = [[a for a, _ in pairs], [b for _, b in pairs], [b / a for a, b in pairs]]
        own, rival, ratio = ((statistics.median(c), min(c), max(c)) for c in columns)
        name = "-".join(map(str, widths))
        spread = "{:.0f} [{:.0f}, {:.0f}]".format
        print(f"{name}, batch {batch}: simground {spread(*own)}, PyTorch {spread(*rival)}, ratio {ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}]")
    ours.stdin.close()
    ours.wait()


main()
