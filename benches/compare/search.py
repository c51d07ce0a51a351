"""How often default fits of small choice sets end below the best known: search.py [problems of each kind, 60 by default].

The best known of a problem is the highest penalised log-likelihood of three default fits, seeds 0 to 2, and of one of 4096 starts; below it is
more than 1e-5 of its size below. SOFTMIX_LIBRARY names the library, as for the Python client, which this reads through.
"""
import csv
import pathlib
import sys
import time
import warnings

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings/python"))
import softmix  # noqa: E402


def right(g):
    """Counts drawn from a mixture of K classes."""
    p, columns, classes = int(g.integers(20, 200)), int(g.integers(1, 7)), int(g.integers(2, 5))
    x = g.standard_normal((p, columns))
    atoms, weights = g.standard_normal((classes, columns)) * g.choice([0.7, 1, 2]), g.dirichlet(np.full(classes, 3))
    a = np.exp(x @ atoms.T)
    mixed = (a / a.sum(0)) @ weights
    return x, g.multinomial(int(g.choice([2000, 20_000, 1_000_000])), mixed / mixed.sum()), classes, 0


def unrelated(g):
    """Counts that have nothing to do with the features, even or very uneven."""
    p, columns, classes, ridge = int(g.integers(20, 80)), int(g.integers(1, 7)), int(g.integers(2, 4)), int(g.choice([0, 2]))
    counts = np.floor(g.random(p) * 1e6) if g.random() < 0.5 else np.floor(g.random(p) ** 8 * 1e8)
    return g.standard_normal((p, columns)), counts, classes, ridge


def flights(g):
    """Flights of one to eleven carriers at an origin, summed, by three to five features of the destinations."""
    with open(ROOT / "data/flights_items.csv") as items, open(ROOT / "data/flights_counts.csv") as long:
        items, long = list(csv.DictReader(items)), list(csv.DictReader(long))
    names = g.choice(["lat", "lon", "alt", "tz", "distance"], g.integers(3, 6), replace=False)
    units = sorted({(row["carrier"], row["origin"]) for row in long})
    some = {units[i] for i in g.choice(len(units), g.integers(1, 12), replace=False)}
    place, counts = {row["dest"]: i for i, row in enumerate(items)}, np.zeros(len(items))
    for row in long:
        if (row["carrier"], row["origin"]) in some:
            counts[place[row["dest"]]] += float(row["n"])
    return np.array([[float(row[name]) for name in names] for row in items]), counts, int(g.integers(2, 4)), int(g.choice([0, 2]))


def main(problems):
    warnings.simplefilter("ignore", softmix.NotConverged)
    for kind in (right, unrelated, flights):
        below, fits, seconds = 0, 0, 0.0
        for seed in range(problems):
            x, counts, classes, ridge = kind(np.random.default_rng(seed))
            if np.count_nonzero(counts) < classes:
                continue
            ends = []
            for start in range(3):
                begun = time.perf_counter()
                ends.append(softmix.fit(x, counts, classes, ridge=ridge, seed=start).penalized_log_likelihood_)
                seconds += time.perf_counter() - begun
            best = max(*ends, softmix.fit(x, counts, classes, ridge=ridge, seed=3, starts=4096).penalized_log_likelihood_)
            below += sum(end < best - 1e-5 * abs(best) for end in ends)
            fits += 3
        print(f"{kind.__name__}: {below} of {fits} fits below the best known, {1e3 * seconds / fits:.0f} ms a fit", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
