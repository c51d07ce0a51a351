"""This library's evaluation and fit, ready to be timed: all memory is there before the clock runs."""

import ctypes
from ctypes import byref

import numpy as np

import softmix  # bindings/python, which the environment variable SOFTMIX_LIBRARY tells the library


class Problem:
    """Data as the C library takes them: `counts` over one choice set, or `sets` with the chosen rows of units."""

    def __init__(self, X, counts=None, sets=None, indptr=None, chosen=None):
        self.X, self.data = X, softmix._new(softmix._Data, "data")
        d = self.data
        d.features, d.dtype = X.ctypes.data, int(X.dtype == np.float32)
        d.rows, d.columns = X.shape
        self.kept = []
        if counts is not None:
            d.counts = self.keep(counts, float)
        else:
            d.choices, d.units, d.entries, d.sets = 2, len(indptr) - 1, len(chosen), len(sets) - 1
            d.set_offsets, d.indptr, d.indices = self.keep(sets, np.uintp), self.keep(indptr, np.uintp), self.keep(chosen, np.uintp)

    def keep(self, values, dtype):
        self.kept.append(np.ascontiguousarray(values, dtype=dtype))
        return self.kept[-1].ctypes.data

    def evaluation(self, weights, atoms, threads=1):
        """A call that computes the log-likelihood and its gradient, and returns the former; the atoms' gradient is its attribute."""
        lib, K = softmix._lib, len(weights)
        weights, atoms = np.ascontiguousarray(weights), np.ascontiguousarray(atoms)
        options, out = softmix._new(softmix._EvaluateOptions, "evaluate_options"), softmix._new(softmix._Evaluation, "evaluation")
        options.threads = threads
        gradients = np.empty(K), np.empty(atoms.shape)
        out.weight_gradient, out.atom_gradient = gradients[0].ctypes.data, gradients[1].ctypes.data
        size = lib.smx_evaluate_workspace(byref(self.data), K)
        memory = np.empty(size, dtype=np.uint8)
        arguments = [byref(self.data), K, weights.ctypes.data, atoms.ctypes.data, byref(options), byref(out), memory.ctypes.data, size, None]

        def call():
            status = lib.smx_evaluate(*arguments)
            if status:
                raise RuntimeError(lib.smx_status_message(status).decode())
            return out.log_likelihood
        call.gradient, call.kept = gradients[1], (self, weights, atoms, memory)
        return call

    def fitting(self, weights, atoms, tolerance=None, threads=1, single_phase=False):
        """A call that fits from a start, and returns the result."""
        lib, K = softmix._lib, len(weights)
        weights, atoms = np.ascontiguousarray(weights), np.ascontiguousarray(atoms)
        options, result = softmix._new(softmix._FitOptions, "fit_options"), softmix._new(softmix._FitResult, "fit_result")
        options.threads, options.start_weights, options.start_atoms = threads, weights.ctypes.data, atoms.ctypes.data
        options.single_phase = int(single_phase)
        if tolerance:
            options.gradient_tolerance = tolerance
        found = np.empty(K), np.empty(atoms.shape)
        result.weights, result.atoms = found[0].ctypes.data, found[1].ctypes.data
        size = lib.smx_fit_workspace(byref(self.data), K, byref(options))
        memory = np.empty(size, dtype=np.uint8)
        arguments = [byref(self.data), K, byref(options), byref(result), memory.ctypes.data, size, None]

        def call():
            status = lib.smx_fit(*arguments)
            if status:
                raise RuntimeError(lib.smx_status_message(status).decode())
            return result
        call.kept = (self, weights, atoms, found, memory)
        return call
