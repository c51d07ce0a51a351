"""How the time of one evaluation grows with the numbers of alternatives, features, classes, choice sets and threads."""

import time

import numpy as np

import data
from library import Problem
from timing import in_turns, median, repeated


def counts(p, L, K, threads=1):
    r = np.random.default_rng(1)
    X, n = data.aligned(r.standard_normal((p, L))), r.integers(1, 100, p).astype(float)
    return Problem(X, counts=n).evaluation(np.full(K, 1 / K), r.standard_normal((K, L)) * 2 / np.sqrt(L), threads)


def sets(rows, size, threads=1, L=6, K=4, situations=12):
    r = np.random.default_rng(1)
    ends = np.arange(0, rows + 1, size)
    count = len(ends) - 1
    X = data.aligned(r.standard_normal((count * size, L)))
    chosen = ends[:-1] + r.integers(size, size=count)
    indptr = np.append(np.arange(0, count, situations), count)
    return Problem(X, sets=ends, indptr=indptr, chosen=chosen).evaluation(np.full(K, 1 / K), r.standard_normal((K, L)) * 0.5, threads)


def run(quick, note, threads):
    """`{title: (label of the axis, [(number, seconds)])}`"""
    many = (lambda values: values[::3]) if quick else (lambda values: values)
    work = {
        "alternatives p (L = 20, K = 5)": [(p, lambda p=p: counts(p, 20, 5)) for p in many([100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000])],
        "features L (p = 10 000, K = 5)": [(L, lambda L=L: counts(10_000, L, 5)) for L in many([2, 5, 10, 20, 50, 100, 200, 400])],
        "classes K (p = 10 000, L = 20)": [(K, lambda K=K: counts(10_000, 20, K)) for K in many([1, 2, 3, 5, 8, 12, 20, 30])],
        "choice sets (48 000 rows, L = 6, K = 4)": [(48_000 // size, lambda size=size: sets(48_000, size)) for size in many([2, 3, 4, 6, 10, 30, 100, 1000, 48_000])],
    }
    if threads:
        work["threads (p = 300 000, L = 20, K = 5)"] = [(t, lambda t=t: counts(300_000, 20, 5, t)) for t in range(1, threads + 1)]
        work["threads (panel: 100 000 choice sets of 6, L = 6, K = 4)"] = [(t, lambda t=t: sets(600_000, 6, t)) for t in range(1, threads + 1)]
    found = {}
    for title, points in work.items():
        found[title] = [(number, median(in_turns({"": repeated(make(), time.perf_counter if title.startswith("threads") else time.process_time)}, batch=5e-3, rounds=5 if quick else 11, budget=4)[""])) for number, make in points]
        note(f"growth with {title}: " + ", ".join(f"{number}: {1e3 * s:.3f} ms" for number, s in found[title]))
    return found


def plot(found, path):
    import matplotlib
    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(1, len(found), figsize=(3.1 * len(found), 3), constrained_layout=True)
    for axis, (title, points) in zip(np.atleast_1d(axes), found.items()):
        name, _, rest = title.partition(" (")
        numbers, seconds = zip(*points)
        milliseconds = 1e3 * np.array(seconds)
        axis.plot(numbers, milliseconds, "o-", color="#1f5a92", markersize=4)
        if name != "threads":
            axis.set_xscale("log")
            axis.set_yscale("log")
        else:
            axis.set_xticks(numbers)
            axis.set_ylim(bottom=0)
        axis.set_xlabel(name)
        axis.set_title("(" + rest, fontsize=9)
        axis.grid(True, which="major", alpha=0.3)
    np.atleast_1d(axes)[0].set_ylabel("milliseconds an evaluation")
    figure.savefig(path)
