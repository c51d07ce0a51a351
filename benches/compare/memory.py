"""Peak memory of the fit of A3, as JSON: what the process holds at its peak beyond what it held without data.

X counts once in it: it is made anew in memory of its own, after all that making it needed is gone.
"""

import ctypes
import gc
import json
import pathlib

import numpy as np

import data
from library import Problem


def held(field):
    text = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(text.split(field + ":")[1].split()[0])


shape, _ = data.COUNTS["A3"]
made = data.counts(**shape)
X = made.pop("X")
nbytes = X.nbytes
problem = Problem(X, counts=made["counts"])
call = problem.fitting(made["even"], made["warm"])
gc.collect()
ctypes.CDLL(None).malloc_trim(0)
# All that is held now but X; the workspace is not touched yet.
before = held("VmRSS") - nbytes
pathlib.Path("/proc/self/clear_refs").write_text("5")
call()
peak = held("VmHWM") - before
print(json.dumps({"X": nbytes, "peak": peak, "multiple": peak / nbytes}))
