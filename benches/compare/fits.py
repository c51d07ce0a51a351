"""Whole fits, from the same start until the log-likelihood is within 1e-9 of the best known, beside NumPy, PyTorch and flexmix."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np

import data
import numpy_counts
import numpy_panel
from library import Problem
from timing import in_turns, median, ratio, repeated

RELATIVE = 1e-9
HERE = pathlib.Path(__file__).resolve().parent


def reached(path, best):
    """Seconds and evaluations until a path is there; None where it never is."""
    return next(((t, i + 1) for i, (t, value) in enumerate(path) if value >= best - RELATIVE * abs(best)), None)


def ours(problem, weights, atoms, best, threads=1, single_phase=False):
    """The fit of the largest gradient tolerance that gets there, and what the fit of the default options says."""
    default = problem.fitting(weights, atoms, threads=threads, single_phase=single_phase)
    # As near to where the peers are stopped as a step of a tenth of a power allows.
    for tolerance in [10 ** (-j / 10) for j in range(20, 71)] + [None]:
        call = problem.fitting(weights, atoms, tolerance, threads, single_phase)
        result = call()
        if result.log_likelihood >= best - RELATIVE * abs(best):
            return call, default, dict(tolerance=tolerance or 1e-8, evaluations=result.evaluations, passes=result.passes, log_likelihood=result.log_likelihood)
    return None, default, dict(log_likelihood=result.log_likelihood, evaluations=result.evaluations)


def row_of(name, best, times, found, peers, note):
    t = {k: median(v) for k, v in times.items()}
    row = {"job": name, "best_known": best, "seconds": t, "softmix": found, "peers": peers,
           "ratios": {k: ratio(times, k, "softmix") for k in times if not k.startswith("softmix")} if "softmix" in times else {}}
    note(f"fit {name}: " + ", ".join(f"{k} {1e3 * v:.3f} ms" for k, v in t.items())
         + (f"; {found['evaluations']} evaluations, tolerance {found['tolerance']:g}" if "tolerance" in found else "; the optimum was NOT reached"))
    return row


def timed_path(run, best, peers, name):
    """A contender that runs a baseline once a call, and counts only until it is there."""
    def contender(repeats):
        total = 0.0
        for _ in range(repeats):
            path = run()
            there = reached(path, best)
            peers[name] = {"evaluations": there[1] if there else len(path), "reached": there is not None, "log_likelihood": max(v for _, v in path)}
            total += there[0] if there else path[-1][0]
        return total
    return contender


def counts(name, quick, note):
    shape, best = data.COUNTS[name]
    made = data.counts(**shape)
    atoms = made["warm"] if name in ("A2", "A3") else made["start"]
    problem = Problem(made["X"], counts=made["counts"])
    call, default, found = ours(problem, made["even"], atoms, best)
    phased = None
    if name in ("A2", "A3"):
        phased, _, found["single phase"] = ours(problem, made["even"], atoms, best, single_phase=True)
    single, _, found["f32 features"] = ours(Problem(data.aligned(made["X"].astype(np.float32)), counts=made["counts"]), made["even"], atoms, best)
    peers, contenders = {}, {"softmix, default options": repeated(default)}
    if call:
        contenders["softmix"] = repeated(call)
    if phased:
        contenders["softmix, single phase"] = repeated(phased)
    if single:
        contenders["softmix, f32 features"] = repeated(single)
    model = numpy_counts.Model(made["X"], made["counts"])
    contenders["numpy direct"] = timed_path(lambda: numpy_counts.direct(model, atoms, made["even"]), best, peers, "numpy direct")
    if name in ("A2", "A3") and not quick:
        try:
            import torch_counts
            contenders["torch L-BFGS"] = timed_path(lambda: torch_counts.direct(made["X"], made["counts"], atoms, made["even"], best, RELATIVE), best, peers, "torch L-BFGS")
        except ImportError:
            pass
    times = in_turns(contenders, batch=2e-2, rounds=21 if name not in ("A2", "A3") else 5, budget=40)
    return row_of(name, best, times, found, peers, note)


def flexmix(name, made, K, note):
    """Seconds, log-likelihood and iterations of flexmix from the posterior at the start; None where R or flexmix is not there."""
    if not shutil.which("Rscript") or subprocess.run(["Rscript", "-e", "library(flexmix); library(survival)"], capture_output=True).returncode:
        note(f"fit {name}: R with flexmix and survival is not here, so it is left out (Debian: r-cran-flexmix, r-cran-survival)")
        return None
    model = panel_model(made)
    _, posterior = model.posterior(made["start"], np.log(made["even"]))
    rows = len(made["X"])
    J = rows // len(made["person"])
    situation = np.repeat(np.arange(rows // J), J)
    chosen = np.zeros(rows)
    chosen[made["chosen"]] = 1
    with tempfile.TemporaryDirectory() as folder:
        table, start = pathlib.Path(folder, "data.csv"), pathlib.Path(folder, "start.csv")
        L = made["X"].shape[1]
        np.savetxt(table, np.column_stack([made["person"][situation] + 1, situation + 1, chosen, made["X"]]), delimiter=",", comments="", fmt="%.17g",
                   header=",".join(["id", "sit", "chosen"] + [f"x{i}" for i in range(L)]))
        np.savetxt(start, posterior[made["person"][situation]], delimiter=",", comments="", fmt="%.17g", header=",".join(f"k{k}" for k in range(K)))
        run = subprocess.run(["Rscript", str(HERE / "flexmix.R"), str(table), str(start), str(K)], capture_output=True, text=True)
    if run.returncode:
        note(f"fit {name}: flexmix failed: {run.stderr.strip().splitlines()[-1] if run.stderr.strip() else '?'}")
        return None
    seconds, value, iterations = run.stdout.split()[-3:]
    return float(seconds), float(value), int(iterations)


def panel_model(made):
    situations = len(made["sets"]) - 1
    X = made["X"].reshape(situations, -1, made["X"].shape[1])
    return numpy_panel.Panel(X, made["chosen"] - made["sets"][:-1], made["indptr"][:-1])


def panel(name, quick, note):
    K, best = data.PANEL[name]
    made = data.panel(K)
    problem = Problem(made["X"], sets=made["sets"], indptr=made["indptr"], chosen=made["chosen"])
    call, default, found = ours(problem, made["even"], made["start"], best)
    peers, contenders = {}, {"softmix, default options": repeated(default)}
    if call:
        contenders["softmix"] = repeated(call)
    model = panel_model(made)
    contenders["numpy em-newton"] = timed_path(lambda: numpy_panel.em_newton(model, made["start"], made["even"]), best, peers, "numpy em-newton")
    times = in_turns(contenders, batch=2e-2, rounds=11, budget=30)
    other = None if quick else flexmix(name, made, K, note)
    if other:
        times["flexmix"] = [other[0]] * len(times["numpy em-newton"])
        peers["flexmix"] = {"log_likelihood": other[1], "evaluations": other[2], "reached": other[1] >= best - RELATIVE * abs(best)}
    return row_of(name, best, times, found, peers, note)


def memory(note):
    """Peak memory of the fit of A3, the data included, in multiples of the bytes of X; Linux only."""
    if not pathlib.Path("/proc/self/clear_refs").exists():
        return None
    run = subprocess.run([sys.executable, str(HERE / "memory.py")], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)})
    if run.returncode:
        note("memory: " + run.stderr.strip().splitlines()[-1])
        return None
    found = json.loads(run.stdout)
    note(f"memory of the fit of A3: {found['peak'] / 1e6:.1f} MB with X of {found['X'] / 1e6:.1f} MB, {found['multiple']:.3f} times")
    return found


def run(quick, note):
    rows = [counts(name, quick, note) for name in (["A K=2", "A2"] if quick else ["A K=2", "A K=3", "A2", "A3"])]
    rows += [panel(name, quick, note) for name in (["B K=2"] if quick else ["B K=2", "B K=3"])]
    return rows, None if quick else memory(note)
