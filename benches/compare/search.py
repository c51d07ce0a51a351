"""How often default fits of small choice sets and small panels end below the best known: search.py [PROBLEMS [KNOWN [KIND...]]].

The best known of a problem is the highest penalised log-likelihood of three default fits, seeds 0 to 2, and of one of 4096 starts (256 where
features are many); below it is more than 1e-5 of its size below. There are 60 problems of each kind. KNOWN is a JSON file in which the best
known are kept from run to run: to compare libraries run it with each of them, and then again. SOFTMIX_LIBRARY names the library, as for the
Python client.
"""
import csv
import json
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


def many_features(g):
    """The same of 33 to 128 features, with 5 to 30 alternatives for each."""
    columns, classes, ridge = int(g.integers(33, 129)), int(g.integers(2, 5)), int(g.choice([1, 10, 100]))
    x = g.standard_normal((columns * int(g.integers(5, 31)), columns))
    atoms, weights = g.standard_normal((classes, columns)) * g.choice([1, 2, 3]) / np.sqrt(columns), g.dirichlet(np.full(classes, 5))
    a = np.exp(x @ atoms.T)
    mixed = (a / a.sum(0)) @ weights
    return x, g.multinomial(len(x) * int(g.choice([5, 30])), mixed / mixed.sum()), classes, ridge


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


def panel(g, people, situations, columns, atoms=None):
    """Choices of people in situations of two to five alternatives: of a mixture of the atoms given, or at random."""
    alternatives = int(g.integers(2, 6))
    x = g.standard_normal((people * situations, alternatives, columns))
    utility = g.gumbel(size=x.shape[:2])
    if atoms is not None:
        classes = g.choice(len(atoms), size=people, p=g.dirichlet(np.full(len(atoms), 3)))
        utility += np.einsum("sjl,sl->sj", x, atoms[np.repeat(classes, situations)])
    return units(x, utility.argmax(1), np.full(people, situations))


def units(x, choice, situations):
    """Features of all situations in a row, and who chose what."""
    sets = np.arange(0, x.shape[0] * x.shape[1] + 1, x.shape[1])
    indptr = np.concatenate([[0], np.cumsum(situations)])
    return x.reshape(-1, x.shape[2]), softmix.Units(indptr, sets[:-1] + choice), sets


def panels(g):
    """Panels where the model is right."""
    columns, classes = int(g.integers(1, 9)), int(g.integers(2, 5))
    atoms = g.standard_normal((classes, columns)) * g.choice([0.7, 1, 2])
    return *panel(g, int(g.integers(30, 200)), int(g.integers(3, 13)), columns, atoms), classes, 0


def few_people(g):
    """The same of 15 to 80 people, who choose once to eight times."""
    columns, classes, ridge = int(g.integers(1, 8)), int(g.integers(2, 4)), int(g.choice([0, 2]))
    atoms = g.standard_normal((classes, columns)) * g.choice([0.7, 1, 2])
    return *panel(g, int(g.integers(15, 80)), int(g.integers(1, 9)), columns, atoms), classes, ridge


def at_random(g):
    """The same of people who choose at random."""
    columns, classes, ridge = int(g.integers(1, 8)), int(g.integers(2, 4)), int(g.choice([0, 2]))
    return *panel(g, int(g.integers(15, 80)), int(g.integers(1, 9)), columns), classes, ridge


def electricity(g):
    """Some of the electricity panel's people and features."""
    rows = np.loadtxt(ROOT / "data/electricity.csv", delimiter=",", skiprows=1)
    rows = rows[np.isin(rows[:, 0], g.choice(361, int(g.integers(40, 200)), replace=False) + 1)]
    columns = np.sort(g.choice(6, int(g.integers(2, 7)), replace=False)) + 4
    x, choice = rows[:, columns].reshape(-1, 4, len(columns)), rows[:, 3].reshape(-1, 4).argmax(1)
    return *units(x, choice, np.unique(rows[::4, 0], return_counts=True)[1]), int(g.integers(2, 5)), int(g.choice([0, 2]))


KINDS = (right, many_features, unrelated, flights, panels, few_people, at_random, electricity)


def main(problems=60, known=None, *names):
    warnings.simplefilter("ignore", softmix.NotConverged)
    known = pathlib.Path(known) if known else None
    best = json.loads(known.read_text()) if known and known.exists() else {}
    for kind in (kind for kind in KINDS if not names or kind.__name__ in names):
        below, fits, seconds = 0, 0, 0.0
        for seed in range(int(problems)):
            x, choices, *sets, classes, ridge = kind(np.random.default_rng(seed))
            if not sets and np.count_nonzero(choices) < classes:
                continue

            def end(start, starts=None):
                options = dict(sets=sets[0] if sets else None, ridge=ridge, seed=start, starts=starts)
                return softmix.fit(x, choices, classes, **options).penalized_log_likelihood_

            ends = []
            for start in range(3):
                begun = time.perf_counter()
                ends.append(end(start))
                seconds += time.perf_counter() - begun
            name = f"{kind.__name__} {seed}"
            best[name] = max(*ends, end(3, 256 if kind is many_features else 4096), best.get(name, -np.inf))
            below += sum(end < best[name] - 1e-5 * abs(best[name]) for end in ends)
            fits += 3
        print(f"{kind.__name__}: {below} of {fits} fits below the best known, {1e3 * seconds / fits:.0f} ms a fit", flush=True)
    if known:
        known.write_text(json.dumps(best))


if __name__ == "__main__":
    main(*sys.argv[1:])
