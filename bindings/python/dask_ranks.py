"""A fit over the workers of Dask, each with its own part of the data: the second engine beside MPI (ffi-tests/mpi).

    pip install distributed numpy
    SOFTMIX_LIBRARY=/usr/local/lib/libsoftmix.so python3 bindings/python/dask_ranks.py

`fit_on_workers(client, shards, classes, split)` runs one rank on each worker. What they reduce meets in an actor on one of the workers, which adds the
ranks' arrays in the order of the ranks and hands everyone the same bits. Data never travel: `shards[r]` is a function that rank r calls to
load its own part. What travels for one evaluation is about 8 (L + 4) K bytes a rank, however many rows there are: see softmix.h.
"""

import asyncio
import os
import pathlib
import sys

import numpy as np

HERE = str(pathlib.Path(__file__).resolve().parent)


class Meeting:
    """The actor: a reduction is complete when every rank has laid its array down."""

    def __init__(self, ranks):
        self.ranks, self.open = ranks, {}

    async def reduce(self, rank, call, op, array):
        arrays, done = self.open.setdefault(call, ({}, asyncio.get_running_loop().create_future()))
        arrays[rank] = array
        if len(arrays) == self.ranks:
            ordered = np.stack([arrays[r] for r in range(self.ranks)])
            del self.open[call]
            done.set_result(ordered.max(axis=0) if op == "max" else ordered.sum(axis=0))
        return await asyncio.shield(done)


def run_rank(meeting, rank, load, classes, split, totals, options):
    """One rank: loads its part, fits with all others, and returns what every rank knows."""
    sys.path.insert(0, HERE)
    import softmix

    calls = iter(range(sys.maxsize))

    def reduce(op, array):
        return meeting.reduce(rank, next(calls), op, array.copy()).result()

    shard = softmix.Shard(reduce, split, *totals, rank)
    with shard:
        X, choices, sets = load()
    model = softmix.fit(X, choices, classes, sets=sets, shard=shard, **options)
    return model.weights_, model.atoms_, model.log_likelihood_, model.outcome_, next(calls)


def fit_on_workers(client, shards, classes, split, totals, **options):
    """Fits over `len(shards)` workers at once; (weights, atoms, log-likelihood, outcome, reductions) of each rank, all alike. `totals`: rows and
    units over all ranks."""
    workers = sorted(client.nthreads())[: len(shards)]
    if len(workers) < len(shards):
        raise ValueError(f"{len(shards)} shards need as many workers, and there are {len(workers)}")
    meeting = client.submit(Meeting, len(shards), actor=True, workers=[workers[0]]).result()
    futures = [
        client.submit(run_rank, meeting, rank, load, classes, split, totals, options, workers=[worker], pure=False)
        for rank, (worker, load) in enumerate(zip(workers, shards))
    ]
    return client.gather(futures)


def simulated(rows=3000, columns=4, seed=0):
    """Features and counts of two classes."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(rows, columns))
    atoms = np.array([[1.0, -1, 0.5, 0], [-1.0, 0.5, 0, 1]])
    utilities = X @ atoms.T
    A = np.exp(utilities - utilities.max(axis=0))
    A /= A.sum(axis=0)
    return X, random.multinomial(100000, 0.4 * A[:, 0] + 0.6 * A[:, 1]).astype(float)


def part(rank, ranks):
    """Rank's rows of the simulated data; in earnest it would read them from where they lie."""
    X, counts = simulated()
    rows = slice(len(X) * rank // ranks, len(X) * (rank + 1) // ranks)
    return X[rows], counts[rows], None


def main(ranks=3):
    from functools import partial

    from distributed import Client, LocalCluster

    sys.path.insert(0, HERE)
    import softmix

    X, counts = simulated()
    alone = softmix.fit(X, counts, classes=2)
    with LocalCluster(n_workers=ranks, threads_per_worker=1, dashboard_address=None, env=dict(os.environ)) as cluster, Client(cluster) as client:
        loads = [partial(part, rank, ranks) for rank in range(ranks)]
        answers = fit_on_workers(client, loads, 2, "rows", (len(X), len(X)), starts=6)
    weights, atoms, value, outcome, reductions = answers[0]
    for other in answers[1:]:
        assert (other[1] == atoms).all() and other[2] == value, "ranks differ"
    assert outcome == "converged" and abs(value - alone.log_likelihood_) <= 1e-9 * abs(value), (value, alone.log_likelihood_)
    assert np.abs(atoms - alone.atoms_).max() < 1e-5
    print(f"{ranks} workers: log-likelihood {value:.6f}, alone {alone.log_likelihood_:.6f}, {reductions} reductions")
    print("dask: ok")


if __name__ == "__main__":
    main()
