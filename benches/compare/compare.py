"""This library beside others, in one run on one thread: see README.md. Started by run.sh."""

import argparse
import ctypes
import json
import os
import pathlib
import platform
import sys
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "bindings" / "python"))

import numpy as np  # noqa: E402

import evaluate  # noqa: E402
import fits  # noqa: E402
import growth  # noqa: E402
import kernels  # noqa: E402
import softmix  # noqa: E402


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(c) for c in row) + " |" for row in rows]) + "\n"


def of_kernels(results):
    yield "### Kernels: nanoseconds a number\n"
    for kernel in ("exp", "logsumexp", "softmax"):
        for dtype in ("f64", "f32"):
            some = [r for r in results if (r["kernel"], r["dtype"]) == (kernel, dtype)]
            names = list(some[0]["seconds"])
            yield f"{kernel}, {dtype}\n"
            yield table(["n"] + names, [[f"{r['n']:.0e}".replace("e+0", "e")] + [f"{1e9 * r['seconds'][k] / r['n']:.3f}" if kernels.certain(r, k) else "call" for k in names] for r in some])
    yield "### Kernels: how many times as long the best of those named takes\n"
    rows = kernels.goals(results)
    sizes = sorted({r[2] for r in rows})
    lines = []
    for kernel, dtype, name, peers, goal in dict.fromkeys((r[0], r[1], r[3], r[4], r[6]) for r in rows):
        by_n = {r[2]: r[5] for r in rows if (r[0], r[1], r[3], r[4]) == (kernel, dtype, name, peers)}
        lines.append([f"{kernel} {dtype}", name, ", ".join(peers), goal] + [f"{by_n[n]:.2f}" if n in by_n else "" for n in sizes])
    yield table(["kernel", "ours", "beside", "goal"] + [f"{n:.0e}".replace("e+0", "e") for n in sizes], lines)


def of_evaluations(rows):
    yield "### One evaluation (log-likelihood and gradient)\n"
    yield table(["job", "ours, ms", "NumPy, times ours", "bytes, MB", "GFLOP", "exponentials, 1e6", "memory limit, ms", "arithmetic limit, ms", "ours / limit",
                 "2 threads, times faster", "reading with 2, times faster"],
                [[f"{r['job']} {r['dtype']} ({' x '.join(map(str, r['shape']))})", f"{1e3 * r['seconds']['softmix']:.3f}", f"{r['numpy_ratio']:.1f}",
                  f"{r['bytes'] / 1e6:.1f}", f"{r['flops'] / 1e9:.3f}", f"{r['exponentials'] / 1e6:.2f}", f"{1e3 * r['memory_limit']:.3f}", f"{1e3 * r['arithmetic_limit']:.3f}",
                  f"{r['over_limit']:.2f}", f"{r['two_threads']:.2f}" if "two_threads" in r else "",
                   f"{r['two_threads_reading']:.2f}" if "two_threads_reading" in r else ""] for r in rows])


def of_fits(rows, memory):
    yield f"### Fits, until the log-likelihood is within {fits.RELATIVE:g} of the best known\n"
    lines = []
    for r in rows:
        t, found = r["seconds"], r["softmix"]
        others = "; ".join(f"{k} {1e3 * t[k]:.1f} ms = {r['ratios'].get(k, float('nan')):.1f} times, {v['evaluations']} evaluations"
                           + ("" if v["reached"] else f", NOT there: {v['log_likelihood']:.4f}") for k, v in r["peers"].items() if k in t)
        single = found.get("f32 features", {})
        lines.append([r["job"], f"{1e3 * t['softmix']:.3f}" if "softmix" in t else "not reached", found["evaluations"], f"{found.get('tolerance', float('nan')):g}", f"{1e3 * t['softmix, default options']:.3f}",
                      f"{1e3 * t['softmix, f32 features']:.3f} ({single['evaluations']})" if "softmix, f32 features" in t else "",
                      f"{1e3 * t['softmix, single phase']:.3f} ({found['single phase']['evaluations']})" if "softmix, single phase" in t else "", others])
    yield table(["job", "ours, ms", "evaluations", "gradient tolerance", "default options, ms", "f32 features, ms (evaluations)", "single-precision phase, ms (evaluations)", "others"], lines)
    if memory:
        yield f"Peak memory of the fit of A3, the features included: {memory['multiple']:.3f} times the bytes of X.\n"


def of_growth(found):
    yield "### How one evaluation grows: milliseconds\n"
    for title, points in found.items():
        yield table([title] + [str(n) for n, _ in points], [["ms"] + [f"{1e3 * s:.3g}" for _, s in points]])


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", choices=["kernels", "evaluate", "fit", "growth"], action="append", help="this part alone; may be repeated")
    arguments.add_argument("--quick", action="store_true", help="fewer sizes, jobs and rounds")
    arguments.add_argument("--native", required=True, help="folder of the libraries that run.sh builds")
    arguments.add_argument("--out", required=True, help="folder for results.json, results.md and growth.svg")
    options = arguments.parse_args()
    parts = options.only or ["kernels", "evaluate", "fit", "growth"]
    native_folder, out = pathlib.Path(options.native), pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    try:
        import torch
        torch.set_num_threads(1)
    except ImportError:
        print("PyTorch is not here and is left out")

    library = ctypes.CDLL(os.environ["SOFTMIX_LIBRARY"])
    built = [p for p in (native_folder / "rten" / "release").glob("*rten_kernels.*") if p.suffix in (".so", ".dylib")]
    native = kernels.Native(library, ctypes.CDLL(str(native_folder / "peers.so")), ctypes.CDLL(str(built[0])) if built else None)
    if native.sleef is None:
        print("SLEEF is not here and is left out (Debian: libsleef3)")

    threads = min(os.cpu_count() or 1, 8)
    try:
        evaluate.Problem(np.ones((2, 1)), counts=np.ones(2)).evaluation(np.ones(1), np.zeros((1, 1)), 2)()
    except RuntimeError:
        threads = 1
    threads = threads if threads > 1 else 0

    started = time.perf_counter()

    def note(text):
        print(f"[{time.perf_counter() - started:6.1f} s] {text}", flush=True)

    results, text = {"softmix": softmix.version(), "machine": platform.machine(), "numpy": np.__version__}, []
    if "kernels" in parts:
        results["kernels"] = kernels.run(native, options.quick, note)
        text += of_kernels(results["kernels"])
    if "evaluate" in parts:
        results["evaluations"] = evaluate.run(native, options.quick, note, threads)
        text += of_evaluations(results["evaluations"])
    if "fit" in parts:
        results["fits"], results["memory"] = fits.run(options.quick, note)
        text += of_fits(results["fits"], results["memory"])
    if "growth" in parts:
        results["growth"] = growth.run(options.quick, note, threads)
        text += of_growth(results["growth"])
        try:
            growth.plot(results["growth"], out / "growth.svg")
        except ImportError:
            print("matplotlib is not here: no plot")
    (out / "results.json").write_text(json.dumps(results, indent=1))
    (out / "results.md").write_text("\n".join(text))
    print("\n" + "\n".join(text))


main()
