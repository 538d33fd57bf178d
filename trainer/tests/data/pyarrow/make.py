"""Writes the Parquet files of this folder: what tests read as other programs write it.

python3 make.py  (pyarrow 26.0.1, numpy 2.4.6; other versions write other bytes with the same meaning)
"""

import json
import pathlib

import numpy
import pyarrow
import pyarrow.parquet

FOLDER = pathlib.Path(__file__).parent


def write(name, columns, names=None, **options):
    table = pyarrow.table(columns)
    if names:
        pairs = {key: json.dumps(value) for key, value in names.items()}
        table = table.replace_schema_metadata(pairs)
    pyarrow.parquet.write_table(table, FOLDER / name, **options)


def fixed(rows, kind=pyarrow.float32()):
    rows = [[None if value is None else float(value) for value in row] for row in rows]
    return pyarrow.array(rows, pyarrow.list_(kind, len(rows[0])))


def samples():
    """Posterior samples: a shift of one standard deviation in `a`, columns in another order, other types."""
    random = numpy.random.default_rng(1)
    shifted = random.normal([3.0, -1.0], [2.0, 0.5], (400, 2))
    reference = random.normal([1.0, -1.0], [2.0, 0.5], (500, 2))
    single = pyarrow.float32()
    write(
        "samples.parquet",
        {"b": pyarrow.array(shifted[:, 1], single), "a": pyarrow.array(shifted[:, 0], single)},
    )
    write("reference.parquet", {"a": reference[:, 0], "b": reference[:, 1]}, row_group_size=100)
    write("reference-theta.parquet", {"theta": fixed(reference)}, {"theta_names": ["a", "b"]})


def windows():
    """Windows of the twenty counts of `tiny.toml`, one value missing in each of the two ways."""
    counts = [[round(6 * 1.25**day) for day in range(20)], [round(6 * 1.4**day) for day in range(20)]]
    counts[1][0] = None
    write("windows.parquet", {"x": fixed(counts, pyarrow.float64())})
    names = [f"day_{day}" for day in range(20, 0, -1)]
    backward = [list(reversed(row)) for row in counts]
    backward[1][19] = float("nan")
    write("windows-backward.parquet", {"x": fixed(backward)}, {"x_names": names})
    write("windows-plain.parquet", {"x": pyarrow.array([row[1:] for row in counts])})


samples()
windows()
