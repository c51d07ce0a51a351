"""One evaluation (log-likelihood and gradient) beside NumPy's, and beside what the machine allows."""

import ctypes
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import data
import numpy_counts
from library import Problem
from timing import in_turns, median, ratio, repeated


class Limits:
    """What this machine can do, measured: read memory, multiply and add, take exponentials."""

    def __init__(self, native):
        self.native = native
        peers = native.peers
        peers.time_read.restype = peers.peak_flops.restype = ctypes.c_double
        peers.time_read.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
        peers.peak_flops.argtypes = [ctypes.c_size_t, ctypes.c_void_p]
        self.sink = ctypes.c_double()
        self.pool = ThreadPoolExecutor(2)

    def reading(self, X):
        """A contender that reads the bytes of `X` once."""
        n = X.nbytes // 8
        return lambda repeats: sum(self.native.peers.time_read(X.ctypes.data, n, ctypes.byref(self.sink)) for _ in range(repeats))

    def reading_by_two(self, X):
        """The same by two threads, each of which reads its half, by the clock."""
        half = X.nbytes // 16
        sinks = ctypes.c_double(), ctypes.c_double()

        def read(thread, repeats):
            for _ in range(repeats):
                self.native.peers.time_read(X.ctypes.data + 8 * half * thread, half, ctypes.byref(sinks[thread]))

        def contender(repeats):
            start = time.perf_counter()
            list(self.pool.map(read, (0, 1), (repeats, repeats)))
            return time.perf_counter() - start
        return contender

    def multiplying(self):
        """A contender whose one call is a million floating-point operations."""
        def contender(repeats):
            return 1e6 * repeats / self.native.peers.peak_flops(20_000, ctypes.byref(self.sink))
        return contender

    def exponentials(self):
        """A contender whose one call is 10 000 exponentials in double, in cache."""
        from kernels import aligned
        self.x, self.out = aligned(10_000, np.float64), aligned(10_000, np.float64)
        return self.native.calls(self.native.library.smx_exp, 1, self.x, self.out)


def one(native, limits, name, shape, made, single, quick, note, threads):
    X = made["X"].astype(np.float32) if single else made["X"]
    X = data.aligned(X) if single else X
    p, L, K = shape["p"], shape["L"], shape["K"]
    observed = int((made["counts"] > 0).sum())
    problem = Problem(X, counts=made["counts"])
    call = problem.evaluation(made["even"], made["warm"])
    model = numpy_counts.Model(X, made["counts"])
    theta = made["warm"].astype(X.dtype)
    value, expected = call(), numpy_counts.Model(made["X"], made["counts"]).evaluate(made["warm"], made["even"])
    assert abs(value - expected[0]) <= 1e-8 * abs(value) and np.abs(call.gradient - expected[1]).max() <= 1e-4 * np.abs(expected[1]).max(), "the same quantities"
    contenders = {"softmix": repeated(call), "numpy": repeated(lambda: model.evaluate(theta, made["even"])),
                  "read": limits.reading(X), "operations": limits.multiplying(), "exp": limits.exponentials()}
    if threads:
        two = problem.evaluation(made["even"], made["warm"], 2)
        contenders["softmix, by the clock"] = repeated(call, time.perf_counter)
        contenders["softmix, 2 threads"] = repeated(two, time.perf_counter)
        contenders["read, 2 threads"] = limits.reading_by_two(X)
    times = in_turns(contenders, batch=1e-2, rounds=5 if quick else 15, budget=40)
    t = {name: median(values) for name, values in times.items()}
    # The logits need all rows, the second pass the observed ones; each pass multiplies and adds L x K numbers a row.
    bytes_moved = X.nbytes * (1 + observed / p)
    flops = 2.0 * L * K * (p + p + observed)
    memory, arithmetic = t["read"] * bytes_moved / X.nbytes, t["operations"] * flops / 1e6 + t["exp"] / 1e4 * p * K
    row = {"job": name, "dtype": "f32" if single else "f64", "shape": [p, L, K], "seconds": t, "bytes": bytes_moved, "flops": flops,
           "exponentials": p * K, "memory_limit": memory, "arithmetic_limit": arithmetic, "over_limit": t["softmix"] / max(memory, arithmetic),
           "numpy_ratio": ratio(times, "numpy", "softmix")}
    if threads:
        row["two_threads"] = ratio(times, "softmix, by the clock", "softmix, 2 threads")
        row["two_threads_reading"] = ratio(times, "read", "read, 2 threads")
    note(f"evaluation {name} {row['dtype']}: {1e3 * t['softmix']:.3f} ms, NumPy {1e3 * t['numpy']:.2f} ms, "
         f"limits: memory {1e3 * memory:.3f} ms, arithmetic {1e3 * arithmetic:.3f} ms")
    return row


def run(native, quick, note, threads):
    limits, rows = Limits(native), []
    for name in ["A2"] if quick else ["A2", "A3", "1e6"]:
        shape, _ = data.COUNTS[name]
        made = data.counts(**shape)
        for single in (False, True):
            rows.append(one(native, limits, name, shape, made, single, quick, note, threads))
    return rows
