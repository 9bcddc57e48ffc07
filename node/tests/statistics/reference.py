"""Writes random fleets with the values that numpy and scipy compute for them, as JSON.

Usage: reference.py SEED FLEETS
"""

import json
import sys

import numpy
from scipy import stats


def fleet(random):
    """Returns random readings: a single node, ties, outliers, nearly equal or very different numbers."""
    count = int(random.choice([1, 2, 3, 4, 5, 10, 17]))
    values = random.normal(random.uniform(-50, 50), random.uniform(0.01, 20), count)
    kind = random.integers(5)
    if kind == 1:
        values = numpy.round(values / 10)
    elif kind == 2:
        values[0] += random.choice([-1, 1]) * random.uniform(50, 500)
    elif kind == 3:
        values = values * 10.0 ** random.integers(-9, 9)
    elif kind == 4:
        values = numpy.full(count, values[0])
        values[-1] = 85
    return values


def with_wrong_ones(random, values):
    """Returns the data of the znodes as text, with NaN and infinities among the readings."""
    wrong = random.choice(["nan", "inf", "-inf", "NaN"], int(random.integers(3)))
    texts = [repr(float(value)) for value in values] + [str(text) for text in wrong]
    return [texts[index] for index in random.permutation(len(texts))]


def outliers(values):
    """Counts the outliers of Iglewicz and Hoaglin, with SPSS's replacement for a deviation of zero."""
    if len(values) < 3:
        return 0
    scale = stats.median_abs_deviation(values) / 0.6745
    if scale == 0:
        scale = numpy.mean(numpy.abs(values - numpy.median(values))) * 1.253314
    return 0 if scale == 0 else int(numpy.sum(numpy.abs(values - numpy.median(values)) / scale > 3.5))


def row(random):
    texts = with_wrong_ones(random, fleet(random))
    values = numpy.array([float(text) for text in texts])
    values = values[numpy.isfinite(values)]
    quantiles = {f"q{p}": float(numpy.quantile(values, p)) for p in [0.1, 0.25, 0.9, 0.99]}
    trimmed = {f"trim{share}": float(stats.trim_mean(values, share)) for share in [0.1, 0.25]}
    return {
        "data": texts,
        "count": len(values),
        "mean": float(numpy.mean(values)),
        "std": float(numpy.std(values)),
        "min": float(numpy.min(values)),
        "max": float(numpy.max(values)),
        "median": float(numpy.median(values)),
        **quantiles,
        **trimmed,
        "outliers": outliers(values),
    }


def main():
    random = numpy.random.default_rng(int(sys.argv[1]))
    rows = [json.dumps(row(random)) for _ in range(int(sys.argv[2]))]
    print("[" + ",\n".join(rows) + "]")


main()
