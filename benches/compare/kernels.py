"""exp, logsumexp and softmax of this library beside those of NumPy, SciPy, PyTorch, ONNX Runtime, SLEEF, libmvec and rten-vecmath.

Kernels of C and Rust are timed by a loop in C. What Python libraries cost for a single number is taken off their times, so that their
calls, which a large share of small arrays, count neither for nor against them.
"""

import ctypes
import ctypes.util

import numpy as np

from timing import in_turns, median, repeated

SIZES = [1_000, 10_000, 100_000, 1_000_000, 10_000_000]

# What the library is held to, as the factor by which the best of these peers must be slower: (kernel, type, ISA): (peers, factor, largest n).
GOALS = {
    ("exp", "f64", "auto"): [(("numpy",), 1.7, 1_000_000), (("sleef",), 2.2, 1_000_000)],
    ("exp", "f32", "auto"): [(("onnxruntime", "rten", "sleef"), 1.2, 1_000_000)],
    ("exp", "f64", "avx2"): [(("libmvec avx2",), 1.0, 1_000_000)],
    ("logsumexp", "f64", "auto"): [(("torch",), 4.0, 10_000_000)],
    ("logsumexp", "f32", "auto"): [(("torch",), 4.0, 10_000_000)],
    ("softmax", "f64", "auto"): [(("torch",), 2.3, 10_000_000)],
    ("softmax", "f32", "auto"): [(("torch", "onnxruntime", "rten"), 0.95, 10_000_000)],
}


def aligned(n, dtype):
    """`n` numbers at a multiple of 64 bytes."""
    size = np.dtype(dtype).itemsize
    memory = np.zeros(n * size + 64, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start:start + n * size].view(dtype)


class Native:
    """Kernels behind C functions: this library's, SLEEF's, libmvec's and rten-vecmath's."""

    def __init__(self, library, peers, rten):
        self.library, self.peers = library, peers
        self.peers.time_calls.restype = ctypes.c_double
        self.peers.time_calls.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int32, ctypes.c_size_t]
        self.peers.find_kernel.restype = ctypes.c_void_p
        self.peers.find_kernel.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
        self.rten = rten
        self.sleef = ctypes.util.find_library("sleef")

    def calls(self, function, shape, x, out, isa=0):
        address = function if isinstance(function, int) else ctypes.cast(function, ctypes.c_void_p).value
        return lambda repeats: self.peers.time_calls(address, shape, x.ctypes.data, out.ctypes.data, len(x), isa, repeats)

    def contenders(self, kernel, x, out):
        suffix = "f" if x.dtype == np.float32 else ""
        function = getattr(self.library, f"smx_{kernel}{suffix}")
        shape = 2 if kernel == "logsumexp" else 1
        found = {"softmix": self.calls(function, shape, x, out)}
        if function(ctypes.c_void_p(x.ctypes.data), *((0, ctypes.c_void_p(out.ctypes.data)) if shape == 2 else (ctypes.c_void_p(out.ctypes.data), 0)), 2) == 0:
            found["softmix avx2"] = self.calls(function, shape, x, out, 2)
        if kernel == "exp":
            for name, library in [("libmvec", b"mvec"), ("sleef", b"sleef")]:
                for bits, width in [(512, ""), (256, " avx2")]:
                    address = self.peers.find_kernel(library, (self.sleef or "").encode(), bits, x.dtype.itemsize)
                    if address:
                        found[name + width] = self.calls(address, 0, x, out)
        if self.rten is not None and suffix and kernel in ("exp", "softmax"):
            found["rten"] = self.calls(getattr(self.rten, f"rten_{kernel}f"), 0, x, out)
        return found


def onnx_session(kernel, dtype):
    """A session of one node for arrays of any length, on one thread; None where ONNX Runtime does not have it."""
    import onnxruntime
    from onnx import TensorProto, helper

    kind = TensorProto.DOUBLE if dtype == np.float64 else TensorProto.FLOAT
    if kernel == "exp":
        node = helper.make_node("Exp", ["x"], ["y"])
    elif kernel == "softmax":
        node = helper.make_node("Softmax", ["x"], ["y"], axis=0)
    else:
        node = helper.make_node("ReduceLogSumExp", ["x"], ["y"], keepdims=1)
    graph = helper.make_graph([node], kernel, [helper.make_tensor_value_info("x", kind, ["n"])], [helper.make_tensor_value_info("y", kind, [None])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:
        return None


def python_contenders(kernel, x, out, sessions):
    import scipy.special

    if kernel == "exp":
        found = {"numpy": repeated(lambda: np.exp(x, out=out))}
    else:
        function = getattr(scipy.special, kernel)
        found = {"scipy": repeated(lambda: function(x))}
    try:
        import torch
        t, o = torch.from_numpy(x), torch.from_numpy(out)
        if kernel == "exp":
            found["torch"] = repeated(lambda: torch.exp(t, out=o))
        elif kernel == "softmax":
            found["torch"] = repeated(lambda: torch.softmax(t, 0, out=o))
        else:
            found["torch"] = repeated(lambda: torch.logsumexp(t, 0))
    except ImportError:
        pass
    session = sessions.get((kernel, x.dtype.name))
    if session is not None:
        binding = session.io_binding()
        binding.bind_input("x", "cpu", 0, x.dtype.type, x.shape, x.ctypes.data)
        n = 1 if kernel == "logsumexp" else len(x)
        binding.bind_output("y", "cpu", 0, x.dtype.type, (n,), out.ctypes.data)
        found["onnxruntime"] = repeated(lambda: session.run_with_iobinding(binding))
    return found


def run(native, quick, note):
    """`[{kernel, dtype, n, seconds: {contender: seconds}, call: {Python library: seconds of one number}}]`"""
    results = []
    random = np.random.default_rng(1)
    for dtype in (np.float64, np.float32):
        sessions = {}
        for kernel in ("exp", "logsumexp", "softmax"):
            try:
                sessions[kernel, np.dtype(dtype).name] = onnx_session(kernel, dtype)
            except ImportError:
                pass
            one = aligned(1, dtype), aligned(1, dtype)
            call = {name: median(values) for name, values in in_turns(python_contenders(kernel, *one, sessions), rounds=11).items()}
            for n in SIZES[:4:2] if quick else SIZES:
                x, out = aligned(n, dtype), aligned(n, dtype)
                x[:] = 4.0 * random.standard_normal(n)
                contenders = {**native.contenders(kernel, x, out), **python_contenders(kernel, x, out, sessions)}
                rounds = in_turns(contenders, rounds=11 if quick else 41)
                for name in call:
                    rounds[name] = [s - call[name] for s in rounds[name]]
                seconds = {name: median(values) for name, values in rounds.items()}
                kind = "f32" if dtype == np.float32 else "f64"
                results.append({"kernel": kernel, "dtype": kind, "n": n, "seconds": seconds, "call": call, "rounds": rounds})
                note(f"{kernel} {kind} n = {n}: " + ", ".join(f"{name} {1e9 * s / n:.3f}" for name, s in seconds.items()) + " ns a number")
    return results


def certain(result, name):
    """Whether a kernel's time stands out from the cost of calling it from Python."""
    return result["seconds"][name] >= 0.25 * result["call"].get(name, 0.0)


def goals(results):
    """`[(kernel, dtype, n, ours, peers, time of the best peer over ours, goal)]`: medians over the rounds."""
    rows = []
    for r in results:
        for isa, name in [("auto", "softmix"), ("avx2", "softmix avx2")]:
            for peers, factor, largest in GOALS.get((r["kernel"], r["dtype"], isa), []):
                there = [p for p in peers if p in r["rounds"] and certain(r, p)]
                if there and name in r["rounds"] and r["n"] <= largest:
                    best = min(median(a / b for a, b in zip(r["rounds"][p], r["rounds"][name])) for p in there)
                    rows.append((r["kernel"], r["dtype"], r["n"], name, peers, best, factor))
    return rows
