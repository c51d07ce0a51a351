"""Softmax mixtures (latent-class multinomial logits) for Python: one file over the C library and NumPy.

    import numpy as np, softmix
    model = softmix.fit(X, counts, classes=3)      # X: alternatives x features; counts: how often each was chosen
    model.weights_, model.atoms_, model.log_likelihood_, model.outcome_
    model.predict_proba()                          # posterior class probabilities, a row for each unit
    softmix.scan(X, counts, 1, 5)                  # a fit for 1 to 5 classes, with criteria to choose by

Three layouts of choices:

    counts over one choice set          fit(X, counts, ...)                       counts: array of shape (alternatives,)
    units with counts over one set      fit(X, matrix, ...)                       matrix: shape (units, alternatives), dense or scipy.sparse
    panels of many choice sets          fit(X, Units(indptr, indices), sets=...)  rows of X from sets[s] to below sets[s + 1] are one set

Arrays of float64 or float32 features are passed as they are, whatever their strides, and nothing of them is copied; an array of any other
type, or whose strides the library cannot follow, is converted first. A fitted model keeps the arrays for `score`, `predict_proba`,
`standard_errors` and `covariance`: what is written into them afterwards changes what these say. Control-C ends a fit and raises
KeyboardInterrupt. Gradients, the information matrix, single steps of EM, latent moments and kernels are not here, but in C.

The shared library is found next to this file, by the environment variable SOFTMIX_LIBRARY, or where the system keeps libraries.
"""

import contextlib
import ctypes
import ctypes.util
import operator
import os
import pathlib
import signal
import sys
import threading
import warnings
from ctypes import POINTER, Structure, byref, c_char, c_double, c_int32, c_size_t, c_uint64, c_uint8, c_void_p, sizeof

import numpy as np

__all__ = ["fit", "scan", "SoftmaxMixture", "Scan", "Units", "Shard", "Error", "NotConverged", "NotIdentified", "EmptyClasses", "version"]

_NONE = ctypes.c_size_t(-1).value
_NULL = -200
_INVALID_OPTION = -100
_MOST_FITS = 4096
_OUTCOMES = {1: "converged", 2: "iteration_limit", 3: "stalled", 4: "diverging", 5: "cancelled"}
_KINDS = {1: "given", 2: "zero", 3: "random", 4: "partition", 5: "cluster", 6: "relocate", 7: "grow", 8: "moments",
          9: "corrected_moments", 10: "subspace"}
# The mixing weight up to which a class is empty.
_EMPTY = 1e-10
_VARIANCES = {"information": 0, "robust": 1, "sampling": 2}
_ISAS = {"auto": 0, "scalar": 1, "avx2": 2, "avx512": 3, "neon": 4}
_SPLITS = {"rows": 1, "sets": 2}

# What C calls arguments of this module, and besides where counts are a matrix.
_ARGUMENTS = {**dict.fromkeys(("features", "rows", "columns"), "X"), "set_offsets": "sets", "start_weights": "init weights",
              "start_atoms": "init atoms", "choices": "counts", "starts_capacity": "starts"}
_OF_MATRIX = dict.fromkeys(("indptr", "indices"), "counts")


class _Error(Structure):
    _fields_ = [("struct_size", c_size_t), ("status", c_int32), ("reserved", c_int32), ("row", c_size_t), ("column", c_size_t),
                ("class_index", c_size_t), ("needed", c_size_t), ("given", c_size_t), ("argument", c_char * 32)]


class _Data(Structure):
    _fields_ = [("struct_size", c_size_t), ("features", c_void_p), ("dtype", c_int32), ("choices", c_int32), ("rows", c_size_t),
                ("columns", c_size_t), ("row_stride", c_size_t), ("column_stride", c_size_t), ("offset", c_void_p),
                ("set_offsets", c_void_p), ("sets", c_size_t), ("units", c_size_t), ("entries", c_size_t), ("indptr", c_void_p),
                ("indices", c_void_p), ("counts", c_void_p), ("weights", c_void_p), ("shard", c_void_p)]


_REDUCE = ctypes.CFUNCTYPE(c_int32, c_void_p, c_int32, POINTER(c_double), c_size_t)


class _Shard(Structure):
    _fields_ = [("struct_size", c_size_t), ("reduce", _REDUCE), ("state", c_void_p), ("split", c_int32), ("reserved", c_int32),
                ("rank", c_uint64), ("total_rows", c_size_t), ("total_units", c_size_t)]


class _RunOptions(Structure):
    _fields_ = [("struct_size", c_size_t), ("threads", c_size_t), ("isa", c_int32), ("reserved", c_int32)]


class _EvaluateOptions(Structure):
    _fields_ = _RunOptions._fields_ + [("ridge", c_double), ("covariance", c_void_p)]


class _Evaluation(Structure):
    _fields_ = [("struct_size", c_size_t), ("unit_log_likelihoods", c_void_p), ("responsibilities", c_void_p),
                ("weight_gradient", c_void_p), ("atom_gradient", c_void_p), ("log_likelihood", c_double),
                ("penalized_log_likelihood", c_double)]


class _Whitening(Structure):
    _fields_ = [("struct_size", c_size_t), ("columns", c_size_t), ("rank", c_size_t), ("covariance", c_void_p), ("to_atoms", c_void_p),
                ("from_atoms", c_void_p), ("unidentified", c_void_p)]


class _InferenceOptions(Structure):
    _fields_ = [("struct_size", c_size_t), ("threads", c_size_t), ("isa", c_int32), ("variance", c_int32), ("ridge", c_double)]


class _Progress(Structure):
    _fields_ = [("struct_size", c_size_t), ("finished", c_size_t), ("drawn", c_size_t), ("start", c_size_t), ("evaluations", c_uint64), ("best", c_double),
                ("current", c_double), ("racing", c_int32), ("reserved", c_int32), ("running", c_size_t), ("classes", c_size_t)]


_PROGRESS = ctypes.CFUNCTYPE(c_int32, POINTER(_Progress), c_void_p)


class _FitOptions(Structure):
    _fields_ = _RunOptions._fields_ + [("ridge", c_double), ("seed", c_uint64), ("starts", c_size_t), ("start_weights", c_void_p),
                                       ("start_atoms", c_void_p), ("grow_weights", c_void_p),
                                       ("grow_atoms", c_void_p), ("max_evaluations", c_uint64), ("gradient_tolerance", c_double),
                                       ("progress", _PROGRESS), ("user", c_void_p), ("single_phase", c_int32),
                                       ("reserved_end", c_int32)]


class _FitResult(Structure):
    _fields_ = [("struct_size", c_size_t), ("weights", c_void_p), ("atoms", c_void_p), ("diverging", c_void_p), ("unidentified", c_void_p),
                ("start_values", c_void_p), ("start_kinds", c_void_p), ("starts_capacity", c_size_t), ("starts", c_size_t),
                ("at_best", c_size_t), ("best_start", c_size_t), ("rank", c_size_t), ("log_likelihood", c_double),
                ("penalized_log_likelihood", c_double), ("gradient_norm", c_double), ("evaluations", c_uint64), ("passes", c_uint64),
                ("outcome", c_int32), ("stop", c_int32)]


_SCANNED = {**dict.fromkeys(("log_likelihoods", "penalized_log_likelihoods", "aic", "bic", "icl"), np.float64), "outcomes": np.int32,
            **dict.fromkeys(("parameters", "starts", "at_best"), np.uintp)}


class _ScanResult(Structure):
    _fields_ = [("struct_size", c_size_t), ("weights", c_void_p), ("atoms", c_void_p), ("diverging", c_void_p), ("outcomes", c_void_p),
                ("log_likelihoods", c_void_p), ("penalized_log_likelihoods", c_void_p), ("parameters", c_void_p), ("aic", c_void_p),
                ("bic", c_void_p), ("icl", c_void_p), ("starts", c_void_p), ("at_best", c_void_p), ("fits", c_size_t),
                ("best_aic", c_size_t), ("best_bic", c_size_t), ("best_icl", c_size_t), ("rank", c_size_t), ("evaluations", c_uint64),
                ("eigenvalues", c_void_p), ("suggested_classes", c_size_t), ("noise", c_double)]


def _load():
    names = {"darwin": "libsoftmix.dylib", "win32": "softmix.dll"}
    name = names.get(sys.platform, "libsoftmix.so")
    beside = pathlib.Path(__file__).resolve().parent / name
    path = os.environ.get("SOFTMIX_LIBRARY") or (str(beside) if beside.exists() else ctypes.util.find_library("softmix") or name)
    try:
        lib = ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(f"the softmix library cannot be loaded ({error}): set SOFTMIX_LIBRARY to the path of {name}") from error
    if not hasattr(lib, "smx_version"):
        raise ImportError(f"{path} is not the softmix library: SOFTMIX_LIBRARY is to be the path of {name}")
    if _version(lib)[:2] != (0, 1):
        raise ImportError(f"{path} is version {'.'.join(map(str, _version(lib)))}, and this module is written for 0.1")
    p, size = c_void_p, c_size_t
    functions = {
        "smx_version": (ctypes.c_uint32, []),
        "smx_status_message": (ctypes.c_char_p, [c_int32]),
        "smx_shard_agree": (c_int32, [p, c_int32, p]),
        "smx_error_format": (size, [p, p, size]),
        "smx_evaluate_workspace": (size, [p, size]),
        "smx_evaluate": (c_int32, [p, size, p, p, p, p, p, size, p]),
        "smx_whiten_workspace": (size, [p]),
        "smx_whiten": (c_int32, [p, p, p, p, size, p]),
        "smx_fit_workspace": (size, [p, size, p]),
        "smx_fit_max_starts": (size, [p, size, p]),
        "smx_fit": (c_int32, [p, size, p, p, p, size, p]),
        "smx_scan_workspace": (size, [p, size, size, p]),
        "smx_scan": (c_int32, [p, size, size, p, p, p, size, p]),
        "smx_choice_probabilities_workspace": (size, [p, size]),
        "smx_choice_probabilities": (c_int32, [p, size, p, p, p, p, p, p, size, p]),
        "smx_standard_errors_workspace": (size, [p, size]),
        "smx_standard_errors": (c_int32, [p, p, size, p, p, p, p, p, p, size, p]),
        "smx_covariance_workspace": (size, [p, size]),
        "smx_covariance": (c_int32, [p, p, size, p, p, p, p, p, size, p]),
    }
    for struct in ("error", "data", "shard", "run_options", "evaluate_options", "evaluation", "whitening", "inference_options", "fit_options",
                   "fit_result", "scan_result"):
        functions[f"smx_{struct}_init"] = (c_int32, [p, size])
    for function, (result, arguments) in functions.items():
        f = getattr(lib, function)
        f.restype, f.argtypes = result, arguments
    return lib


def _version(lib):
    v = lib.smx_version()
    return v // 1000000, v // 1000 % 1000, v % 1000


_lib = _load()


def version():
    """Version of the C library, such as (0, 1, 0)."""
    return _version(_lib)


class Error(ValueError):
    """What the library refuses: `status` (a negative number that keeps its meaning), and the place as far as one is known:
    `argument` (by its name in Python), `row`, `column`, `class_index`, `needed`, `given`."""

    def __init__(self, record, argument):
        buffer, record.argument = ctypes.create_string_buffer(256), argument.encode()
        _lib.smx_error_format(byref(record), buffer, len(buffer))
        # Only counts are left to C.
        super().__init__(f"{argument}: needed where X is given" if record.status == _NULL else buffer.value.decode())
        self.status, self.argument = record.status, argument
        for name in ("row", "column", "class_index", "needed", "given"):
            value = getattr(record, name)
            setattr(self, name, None if value == _NONE else value)


class NotConverged(UserWarning):
    """A fit ended for another reason than convergence."""


class NotIdentified(UserWarning):
    """Features are constant inside every choice set, or collinear."""


class EmptyClasses(UserWarning):
    """Classes have no weight, and their atoms no meaning: fewer say the same."""


def _new(kind, name):
    struct = kind()
    if getattr(_lib, f"smx_{name}_init")(byref(struct), sizeof(kind)) != 0:
        raise ImportError(f"the library has another smx_{name} than this module")
    return struct


def _workspace(size):
    """Memory for one call, untouched; where no size is right, none, and the call says why."""
    memory = np.empty(0 if size == _NONE else size, dtype=np.uint8)
    return memory, memory.ctypes.data if len(memory) else None, len(memory)


def _pointer(array):
    return None if array is None else array.ctypes.data


def _whole(value, name, least=0):
    """An integer that C can take: ctypes would wrap or refuse others."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if not least <= number < 2**64:
        raise ValueError(f"{name}: expected a whole number from {least} to below 2^64, got {value!r}")
    return number


def _real(value, name):
    try:
        return c_double(value).value
    except TypeError:
        raise ValueError(f"{name}: expected a number, got {value!r}") from None


def _one_of(names, value, name):
    if not (isinstance(value, str) and value in names):
        raise ValueError(f"{name}: expected one of {', '.join(names)}, got {value!r}")
    return names[value]


def _array(values, name):
    """An array of numbers: NumPy would make some of text, dates and complex numbers too."""
    if np.ma.is_masked(values):
        raise ValueError(f"{name}: has masked entries; leave them out")
    try:
        array = np.asarray(values)
        if array.dtype.kind == "O":
            if any(isinstance(value, (str, bytes)) for value in array.flat):
                raise TypeError("text among them")
            array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected numbers ({error})") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected numbers, got {array.dtype}")
    return array


def _numbers(values, name, length=None):
    array = _array(values, name)
    if array.ndim != 1 or length is not None and len(array) != length:
        raise ValueError(f"{name}: expected {'' if length is None else f'{length} '}numbers in one dimension, got shape {array.shape}")
    return np.require(array, np.float64, "CA")


def _sizes(values, name):
    array = _array(values, name)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{name}: expected integers, got {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"{name}: expected integers in one dimension, got shape {array.shape}")
    if array.dtype.kind == "i" and array.size and array.min() < 0:
        raise ValueError(f"{name}: negative at position {array.argmin()}")
    if array.dtype.itemsize == sizeof(c_size_t) and array.dtype.isnative:
        return np.require(array, None, "CA").view(np.uintp)  # the same bytes
    return np.require(array, np.uintp, "CA")


class Units:
    """Choices of units in compressed rows: unit u chose rows `indices[indptr[u]:indptr[u + 1]]` of the features.

    Parameters
    ----------
    indptr : integers, shape (units + 1,)
    indices : integers
    counts : how often each was chosen; default: once
    weights : weights of the units; default: ones
    """

    def __init__(self, indptr, indices, counts=None, weights=None):
        self.indptr, self.indices, self.counts, self.weights = indptr, indices, counts, weights


class Shard:
    """One rank of a fit whose data are spread over processes or machines: see "Past one machine" in softmix.h. All ranks call the same methods with
    the same options; each gets the whole's mixture. An error of one rank ends the call on all of them. What a rank does alone before the call
    belongs in `with shard:`, such as to read its part of the data: an exception there ends the call of the others, who would wait.

    Parameters
    ----------
    reduce : called as reduce(op, array) with op "max" or "sum"; returns, or writes to `array`, the entrywise maximum or sum over all
        ranks, the same bits on each. An exception in it ends the fit, and is raised here.
    split : "rows" (of one choice set; of units every rank then names all, with their choices among its rows) or "sets" (whole choice sets and
        the units that choose in them)
    total_rows, total_units : over all ranks: of units whose choice set is split, just their number; of counts the rows
    rank : a number that other ranks do not have
    """

    def __init__(self, reduce, split, total_rows, total_units, rank):
        self.thrown, self.joined = None, False

        def call(_, op, buffer, length):
            try:
                array = np.ctypeslib.as_array(buffer, (length,))
                result = reduce("max" if op == 1 else "sum", array)
                if result is not None:
                    array[:] = result
                return 0
            except BaseException as thrown:
                self.thrown = thrown
                return 1

        s = self.raw = _new(_Shard, "shard")
        s.reduce, s.split, s.rank = _REDUCE(call), _one_of(_SPLITS, split, "split"), _whole(rank, "rank")
        s.total_rows, s.total_units = _whole(total_rows, "total_rows"), _whole(total_units, "total_units")

    def __enter__(self):
        self.joined = False
        return self

    def __exit__(self, kind, thrown, _):
        """Tells the others of an exception before this rank joined them."""
        if thrown is not None and not self.joined:
            self.joined = True
            _lib.smx_shard_agree(byref(self.raw), _INVALID_OPTION, None)
            self.thrown = None

    def raise_what_was_thrown(self):
        thrown, self.thrown = self.thrown, None
        if thrown is not None:
            raise thrown


def _together(shard):
    """A call of all ranks, where there are others."""
    return shard if isinstance(shard, Shard) else contextlib.nullcontext()


class _Described:
    """An smx_data and the arrays it points to, which live as long."""

    matrix = False  # of counts, made into compressed rows

    def __init__(self, X, choices, sets=None, offset=None, shard=None):
        X = _array(X, "X")
        if X.ndim != 2:
            raise ValueError(f"X: expected two dimensions (alternatives, features), got shape {X.shape}")
        if X.dtype not in (np.float64, np.float32) or not X.dtype.isnative:
            X = X.astype(np.float64)
        if any(s < 0 or s % X.itemsize for s, n in zip(X.strides, X.shape) if n > 1) or not X.flags.aligned:
            X = np.require(X, None, "CA")
        self.X = X
        d = self.raw = _new(_Data, "data")
        d.features, d.dtype = X.ctypes.data, int(X.dtype == np.float32)
        d.rows, d.columns = X.shape
        # Strides of a dimension of one entry mean nothing, and 0 stands for a default.
        d.row_stride = X.strides[0] // X.itemsize if X.shape[0] > 1 else 0
        d.column_stride = X.strides[1] // X.itemsize if X.shape[1] > 1 else 1
        if X.shape[0] > 1 and d.row_stride == 0 or X.shape[1] > 1 and d.column_stride == 0:  # broadcast
            self.X = X = np.array(X, order="C")
            d.features, d.row_stride, d.column_stride = X.ctypes.data, X.shape[1], 1
        self.offset = None if offset is None else _numbers(offset, "offset", len(X))
        d.offset = _pointer(self.offset)
        self.shard = shard
        if shard is not None:
            if not isinstance(shard, Shard):
                raise TypeError(f"shard: expected a Shard, got {shard!r}")
            d.shard = ctypes.addressof(shard.raw)
        self.sets = None if sets is None else _sizes(sets, "sets")
        if self.sets is not None:
            d.set_offsets, d.sets = self.sets.ctypes.data, max(len(self.sets) - 1, 0)
        if choices is None:
            # C says so where they matter.
            self.counts, self.units = None, len(X)
        elif isinstance(choices, Units):
            self._units(choices.indptr, choices.indices, choices.counts, choices.weights)
        elif hasattr(choices, "tocsr"):
            matrix = choices.tocsr()
            self._is_matrix(matrix.shape)
            self._units(matrix.indptr, matrix.indices, matrix.data, None)
        else:
            choices = _array(choices, "counts")
            if choices.ndim == 2:
                self._is_matrix(choices.shape)
                rows, indices = np.nonzero(choices)
                indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(choices)))])
                self._units(indptr, indices, choices[rows, indices], None)
            else:
                self.counts = _numbers(choices, "counts", len(X))
                d.choices, d.counts = 0, self.counts.ctypes.data
                self.units = len(X)

    def call(self, function, *arguments):
        """Calls for these data; what a reduction threw, C must not see, and is thrown here."""
        record = _new(_Error, "error")
        if self.shard is not None:
            self.shard.joined = True
        if function(byref(self.raw), *arguments, byref(record)) == 0:
            return
        if self.shard is not None:
            self.shard.raise_what_was_thrown()
        name, names = record.argument.decode(), _ARGUMENTS
        if self.matrix:
            names = {**_ARGUMENTS, **_OF_MATRIX}
            if name in ("counts", "indices") and record.row < len(self.indices):
                entry = record.row
                record.row, record.column = int(np.searchsorted(self.indptr, entry, "right")) - 1, int(self.indices[entry])
        raise Error(record, names.get(name, name))

    def most_classes(self):
        """Units, over all ranks: more classes no fit takes."""
        return self.units if self.shard is None else max(self.units, self.shard.raw.total_units)

    def __reduce__(self):
        """Copies are made anew: C is told where the arrays of the copy are."""
        if self.shard is not None:
            raise TypeError("data that are a rank's part of a whole cannot be copied")
        choices = self.counts if self.raw.choices == 0 else Units(self.indptr, self.indices, self.counts, self.weights)
        return _Described, (self.X, choices, self.sets, self.offset)

    def _is_matrix(self, shape):
        if len(shape) != 2:
            raise ValueError(f"counts: expected a matrix of two dimensions, got {len(shape)}")
        if shape[1] != len(self.X):
            raise ValueError(f"counts: {shape[1]} columns for {len(self.X)} alternatives")
        self.matrix = True

    def _units(self, indptr, indices, counts, weights):
        d = self.raw
        self.indptr, self.indices = _sizes(indptr, "indptr"), _sizes(indices, "indices")
        self.units = max(len(self.indptr) - 1, 0)
        self.counts = None if counts is None else _numbers(counts, "counts", len(self.indices))
        self.weights = None if weights is None else _numbers(weights, "weights", self.units)
        d.choices, d.units, d.entries = 2, self.units, len(self.indices)
        d.indptr, d.indices = self.indptr.ctypes.data, self.indices.ctypes.data
        d.counts, d.weights = _pointer(self.counts), _pointer(self.weights)


class SoftmaxMixture:
    """A softmax mixture of `classes` classes, in the manner of scikit-learn.

    Parameters
    ----------
    classes : number of classes
    ridge : penalty, in observations: `ridge / 2 * sum_k atom_k' S atom_k`, S the mean covariance of the features inside choice sets over
        the alternatives that are available; 0 is maximum likelihood. A class of weight 0 and atom 0 costs nothing: superfluous ones tend
        to end so
    starts : number of starts; None: the library's own rule
    seed : of the random starts; equal seeds give equal fits
    init : (weights, atoms), the only start to try; atoms that coincide are moved apart
    max_evaluations, gradient_tolerance : when to stop
    single_phase : whether early steps over one large choice set read features in single precision; the result is that of X as it is
    threads : threads of one call; more than one in libraries built with them
    isa : "auto", "scalar", "avx2", "avx512" or "neon"
    progress : called with a dict after every step; to answer False ends the fit

    Attributes
    ----------
    weights_ : (classes,), decreasing; with a warning where classes are empty, up to 1e-10
    atoms_ : (classes, features), in the units of X
    log_likelihood_, penalized_log_likelihood_ : without multinomial coefficients
    outcome_ : "converged", "iteration_limit", "stalled", "diverging" or "cancelled"; but for the first and last with a warning
    diverging_ : (classes,) bool
    unidentified_ : (features,) bool, with a warning: constant inside every choice set, or collinear: of its standard deviation others
        leave less than 3e-7 sqrt(features), or than eight times the rounding of its largest value
    start_values_, start_kinds_ : of every start, in the order drawn; best_start_ : the one that won; at_best_ : how many
        reached the best. Where classes run off, or are more than the data tell of, many may agree a little below it: with ridge=1 they
        seldom do
    evaluations_, passes_, gradient_norm_, rank_
    """

    def __init__(self, classes, *, ridge=0.0, starts=None, seed=0, init=None, max_evaluations=1000000, gradient_tolerance=1e-8,
                 single_phase=False, threads=1, isa="auto", progress=None):
        self.classes, self.ridge, self.starts, self.seed, self.init = classes, ridge, starts, seed, init
        self.max_evaluations, self.gradient_tolerance, self.single_phase = max_evaluations, gradient_tolerance, single_phase
        self.threads, self.isa, self.progress = threads, isa, progress

    def fit(self, X, counts, *, sets=None, offset=None, shard=None):
        """Fits to features X (alternatives, features) and choices: see the head of this module. With a Shard these are one rank's part of
        them. Returns self."""
        with _together(shard):
            return self._fit(X, counts, sets, offset, shard, 3)

    def _fit(self, X, counts, sets, offset, shard, stacklevel):
        data = _Described(X, counts, sets, offset, shard)
        k, l = _whole(self.classes, "classes", 1), data.X.shape[1]
        o = self._fit_options()
        if self.init is not None:
            try:
                start_weights, start_atoms = self.init
            except (TypeError, ValueError):
                raise ValueError(f"init: expected (weights, atoms), got {self.init!r}") from None
            start_weights, start_atoms = _numbers(start_weights, "init weights", k), _array(start_atoms, "init atoms")
            if start_atoms.shape != (k, l):
                raise ValueError(f"init atoms: expected shape {(k, l)}, got {start_atoms.shape}")
            start_atoms = np.require(start_atoms, np.float64, "CA")
            o.start_weights, o.start_atoms = start_weights.ctypes.data, start_atoms.ctypes.data
        # More classes than units are left to the call, which says so.
        room = k if k <= data.most_classes() else 0
        most = _lib.smx_fit_max_starts(byref(data.raw), k, byref(o)) if room else 0
        most = 0 if most == _NONE else most
        weights, atoms = np.empty(room), np.empty((room, l))
        diverging, unidentified = np.zeros(room, np.uint8), np.zeros(l, np.uint8)
        try:
            values, kinds = np.empty(most), np.zeros(most, np.int32)
        except (MemoryError, ValueError):
            raise MemoryError(f"starts: no memory for {most}") from None
        r = _new(_FitResult, "fit_result")
        r.weights, r.atoms, r.diverging, r.unidentified = map(_pointer, (weights, atoms, diverging, unidentified))
        r.start_values, r.start_kinds, r.starts_capacity = values.ctypes.data, kinds.ctypes.data, most
        with _Watch(self.progress) as watch:
            o.progress = watch.function
            memory, pointer, size = _workspace(_lib.smx_fit_workspace(byref(data.raw), k, byref(o)) if room else 0)
            data.call(_lib.smx_fit, k, byref(o), byref(r), pointer, size)
            watch.raise_what_was_thrown()
        self.weights_, self.atoms_ = weights, atoms
        self.log_likelihood_, self.penalized_log_likelihood_ = r.log_likelihood, r.penalized_log_likelihood
        self.outcome_ = _OUTCOMES.get(r.outcome, f"outcome {r.outcome}")
        self.diverging_, self.unidentified_ = diverging.astype(bool), unidentified.astype(bool)
        self.start_values_, self.at_best_, self.best_start_ = values[: r.starts].copy(), r.at_best, r.best_start
        self.start_kinds_ = [_KINDS.get(kind, f"kind {kind}") for kind in kinds[: r.starts]]
        self.evaluations_, self.passes_, self.gradient_norm_, self.rank_ = r.evaluations, r.passes, r.gradient_norm, r.rank
        self.n_features_in_ = l
        self._data, self._ridge, self._fitted = data, o.ridge, (weights.copy(), atoms.copy())
        empty = np.flatnonzero(weights <= _EMPTY).tolist()
        if empty:
            warnings.warn(f"classes {empty} are empty: fewer say the same", EmptyClasses, stacklevel=stacklevel)
        if self.unidentified_.any():
            warnings.warn(f"features {np.flatnonzero(unidentified).tolist()} are not identified: constant inside every choice set, or collinear",
                          NotIdentified, stacklevel=stacklevel)
        if self.outcome_ not in ("converged", "cancelled"):
            runs_off = f" (classes {np.flatnonzero(diverging).tolist()} run off: try a ridge)" if diverging.any() else ""
            warnings.warn(f"the fit ended as {self.outcome_}{runs_off}", NotConverged, stacklevel=stacklevel)
        return self

    def __getstate__(self):
        """What a copy has: of a fit to one rank's part of a whole, all but those data."""
        state = dict(self.__dict__)
        if getattr(state.get("_data"), "shard", None) is not None:
            state["_data"] = None
        return state

    def get_params(self, deep=True):
        """The parameters of the constructor, by name: what sklearn.base.clone and model selection ask for."""
        return {name: getattr(self, name) for name in _PARAMETERS}

    def set_params(self, **parameters):
        """Sets parameters of the constructor. Returns self."""
        for name, value in parameters.items():
            if name not in _PARAMETERS:
                raise ValueError(f"{name} is no parameter: {', '.join(_PARAMETERS)}")
            setattr(self, name, value)
        return self

    def _fit_options(self):
        if not (self.progress is None or callable(self.progress)):
            raise ValueError(f"progress: expected a function, got {self.progress!r}")
        o = _new(_FitOptions, "fit_options")
        o.threads, o.isa = _whole(self.threads, "threads"), _one_of(_ISAS, self.isa, "isa")
        o.ridge, o.seed = _real(self.ridge, "ridge"), _whole(self.seed, "seed")
        o.single_phase = int(bool(self.single_phase))
        o.starts = 0 if self.starts is None else _whole(self.starts, "starts", 1)
        o.max_evaluations = _whole(self.max_evaluations, "max_evaluations")
        o.gradient_tolerance = _real(self.gradient_tolerance, "gradient_tolerance")
        return o

    def _described(self, X, counts, sets, offset):
        if not hasattr(self, "weights_"):
            raise AttributeError("not fitted yet: call fit first")
        if X is None:
            if not (counts is None and sets is None and offset is None):
                raise ValueError("X: needed where counts, sets or offset are given")
            if self._data is None:
                raise ValueError("X: this model is a copy, without the rank's part of the data that it was fitted to")
            return self._data
        described = _Described(X, counts, sets, offset)
        if described.X.shape[1] != self.n_features_in_:
            raise ValueError(f"X: {described.X.shape[1]} features, fitted with {self.n_features_in_}")
        return described

    def _mixture(self):
        # They may have been set from outside: C believes the lengths and the type.
        weights, atoms = _numbers(self.weights_, "weights_"), np.require(_array(self.atoms_, "atoms_"), np.float64, "CA")
        if atoms.shape != (len(weights), self.n_features_in_):
            raise ValueError(f"atoms_: expected shape {(len(weights), self.n_features_in_)}, got {atoms.shape}")
        self.weights_, self.atoms_ = weights, atoms
        return len(self.weights_), self.weights_.ctypes.data, self.atoms_.ctypes.data

    def _run(self, kind, name):
        o = _new(kind, name)
        o.threads, o.isa = _whole(self.threads, "threads"), _one_of(_ISAS, self.isa, "isa")
        return o

    def _evaluate(self, data, responsibilities):
        o, out = self._run(_EvaluateOptions, "evaluate_options"), _new(_Evaluation, "evaluation")
        k, weights, atoms = self._mixture()
        r = np.empty((data.units, k)) if responsibilities else None
        units = np.empty(data.units)
        out.responsibilities, out.unit_log_likelihoods = _pointer(r), units.ctypes.data
        memory, pointer, size = _workspace(_lib.smx_evaluate_workspace(byref(data.raw), k))
        data.call(_lib.smx_evaluate, k, weights, atoms, byref(o), byref(out), pointer, size)
        return out.log_likelihood, units, r

    def predict_proba(self, X=None, counts=None, *, sets=None, offset=None):
        """Posterior class probabilities, a row for each unit (for counts: each alternative). Without arguments: of the data of the fit."""
        return self._evaluate(self._described(X, counts, sets, offset), True)[2]

    def predict(self, X=None, counts=None, *, sets=None, offset=None):
        """The most probable class of each unit; the first where no class chooses as it did."""
        return self.predict_proba(X, counts, sets=sets, offset=offset).argmax(axis=1)

    def score(self, X=None, counts=None, *, sets=None, offset=None):
        """Log-likelihood, without multinomial coefficients."""
        return self._evaluate(self._described(X, counts, sets, offset), False)[0]

    def score_samples(self, X=None, counts=None, *, sets=None, offset=None):
        """Log-likelihood of each unit."""
        return self._evaluate(self._described(X, counts, sets, offset), False)[1]

    def choice_probabilities(self, X=None, *, sets=None, offset=None, by_class=False):
        """Probability of every alternative inside its choice set: (alternatives,), or (alternatives, classes)."""
        data = self._described(X, None, sets, offset)
        k, weights, atoms = self._mixture()
        o = self._run(_RunOptions, "run_options")
        out = np.empty((len(data.X), k) if by_class else len(data.X))
        memory, pointer, size = _workspace(_lib.smx_choice_probabilities_workspace(byref(data.raw), k))
        where = (out.ctypes.data, None) if by_class else (None, out.ctypes.data)
        data.call(_lib.smx_choice_probabilities, k, weights, atoms, byref(o), *where, pointer, size)
        return out

    def standard_errors(self, variance="information"):
        """Standard errors of weights and atoms, from the "information", or "robust" for weights of units that are frequencies or "sampling"
        for weights that are of sampling. NaN where they are not defined, as for atoms of classes that run off."""
        data, k, weights, atoms, wh, o = self._inference(variance)
        weight_errors, atom_errors = np.empty(k), np.empty((k, data.X.shape[1]))
        memory, pointer, size = _workspace(_lib.smx_standard_errors_workspace(byref(data.raw), k))
        data.call(_lib.smx_standard_errors, byref(wh), k, weights, atoms, byref(o), weight_errors.ctypes.data, atom_errors.ctypes.data, pointer,
                  size)
        atom_errors[self._runs_off()] = np.nan
        return weight_errors, atom_errors

    def covariance(self, variance="information"):
        """The covariance matrix of the estimates, (P, P) with P = K + K L: the weights, then the atoms, class after class. `variance` as of
        standard_errors, which are the roots of its diagonal, and NaN where they are. A function of the estimates with gradient g has
        variance g @ V @ g."""
        data, k, weights, atoms, wh, o = self._inference(variance)
        all_parameters = k * (1 + data.X.shape[1])
        covariance = np.empty((all_parameters, all_parameters))
        memory, pointer, size = _workspace(_lib.smx_covariance_workspace(byref(data.raw), k))
        data.call(_lib.smx_covariance, byref(wh), k, weights, atoms, byref(o), covariance.ctypes.data, pointer, size)
        undefined = np.concatenate([np.zeros(k, bool), np.repeat(self._runs_off(), data.X.shape[1])])
        covariance[undefined] = covariance[:, undefined] = np.nan
        return covariance

    def _runs_off(self):
        """The classes that run off: of a mixture set from outside nothing is known."""
        same = all(map(np.array_equal, self._fitted, (self.weights_, self.atoms_)))
        return self.diverging_ if same else np.zeros(len(self.weights_), bool)

    def _inference(self, variance):
        """What standard errors and covariances are asked with."""
        variance = _one_of(_VARIANCES, variance, "variance")
        data = self._described(None, None, None, None)
        k, weights, atoms = self._mixture()
        l = data.X.shape[1]
        wh = _new(_Whitening, "whitening")
        numbers, flags = np.empty((3, l, l)), np.empty(l, np.uint8)
        wh.covariance, wh.to_atoms, wh.from_atoms = (m.ctypes.data for m in numbers)
        wh.unidentified = flags.ctypes.data
        run = self._run(_RunOptions, "run_options")
        memory, pointer, size = _workspace(_lib.smx_whiten_workspace(byref(data.raw)))
        data.call(_lib.smx_whiten, byref(run), byref(wh), pointer, size)
        o = self._run(_InferenceOptions, "inference_options")
        o.variance, o.ridge = variance, self._ridge
        wh.arrays = numbers, flags    # as long as what points to them
        return data, k, weights, atoms, wh, o

    def __repr__(self):
        fitted = f", log_likelihood={self.log_likelihood_:.6f}, {self.outcome_}" if hasattr(self, "outcome_") else ""
        return f"SoftmaxMixture(classes={self.classes}{fitted})"


_PARAMETERS = ("classes", "ridge", "starts", "seed", "init", "max_evaluations", "gradient_tolerance", "single_phase", "threads", "isa", "progress")


class Scan:
    """What `scan` found: arrays with an entry for each number of classes in `classes`. The criteria suppose that counts, or weights of units,
    are numbers of observations: of shares of a whole they mean nothing.

    Attributes
    ----------
    classes, log_likelihoods, penalized_log_likelihoods, aic, bic, icl, parameters, starts, at_best, outcomes
    rank, evaluations : of the features inside choice sets, and over all fits
    weights, atoms, diverging : lists of arrays (K,), (K, features), and (K,) of bools: the classes that run off
    best_aic, best_bic, best_icl : numbers of classes where the criteria are smallest
    eigenvalues, noise, suggested_classes : the profile of the atoms that second moments suggest, and 1 + the eigenvalues above the noise; None, NaN
        and 0 where choices are not counts over one choice set, no feature is identified, or the scan was cancelled
    """

    def __repr__(self):
        rows = [f"{k:4d} {f:18.6f} {b:18.3f} {i:18.3f} {o}" for k, f, b, i, o in
                zip(self.classes, self.log_likelihoods, self.bic, self.icl, self.outcomes)]
        return "\n".join([f"{'K':>4} {'log-likelihood':>18} {'bic':>18} {'icl':>18}", *rows])


class _Watch:
    """The progress function of one fit: hands on what happens, and notes Control-C and exceptions, which C must not see.

    While C runs, Python delivers no signal: in the main thread, while it has Python's own handler, a handler of ours notes it, which runs as soon as
    the progress function enters Python.
    """

    def __init__(self, progress):
        self.progress, self.thrown = progress, None
        self.function = _PROGRESS(self._call)

    def _call(self, progress, _):
        try:
            if self.progress is None:
                return 0
            p = progress.contents
            names = ("finished", "drawn", "start", "evaluations", "best", "current", "running", "classes")
            answer = self.progress({**{name: getattr(p, name) for name in names}, "racing": bool(p.racing)})
            return int(answer is False or isinstance(answer, np.bool_) and not answer)
        except BaseException as thrown:  # KeyboardInterrupt among them
            self.thrown = thrown
            return 1

    def _interrupt(self, *_):
        self.thrown = KeyboardInterrupt()

    def __enter__(self):
        self.previous = None
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            function = self._call

            def call(progress, user):
                # The handler, if a signal waits, has run on entering here.
                return 1 if self.thrown is not None else function(progress, user)

            self.function = _PROGRESS(call)
            self.previous = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_):
        if self.previous is not None:
            signal.signal(signal.SIGINT, self.previous)

    def raise_what_was_thrown(self):
        if self.thrown is not None:
            raise self.thrown


def fit(X, counts, classes, *, sets=None, offset=None, shard=None, **options):
    """Fits a softmax mixture; options are those of SoftmaxMixture. Returns the fitted model."""
    with _together(shard):
        return SoftmaxMixture(classes, **options)._fit(X, counts, sets, offset, shard, 3)


def scan(X, counts, first, last, *, sets=None, offset=None, shard=None, **options):
    """Fits every number of classes from first to last, each growing from the one before; options are those of SoftmaxMixture, but for init.
    Returns a Scan."""
    with _together(shard):
        return _scan(X, counts, first, last, sets, offset, shard, options)


def _scan(X, counts, first, last, sets, offset, shard, options):
    if options.pop("init", None) is not None:
        raise ValueError("init: a scan takes no start")
    model = SoftmaxMixture(max(_whole(last, "last"), 1), **options)
    data, o = _Described(X, counts, sets, offset, shard), model._fit_options()
    first, last, l = _whole(first, "first"), _whole(last, "last"), data.X.shape[1]
    if not 1 <= first <= last:
        raise ValueError(f"first, last: expected 1 <= first <= last, got {first} and {last}")
    n, all_ = last - first + 1, (last * (last + 1) - first * (first - 1)) // 2
    # More classes than units, or fits than C takes, are left to the call, which says so.
    room = last <= data.most_classes() and n <= _MOST_FITS
    n, all_ = (n, all_) if room else (0, 0)
    s, r = Scan(), _new(_ScanResult, "scan_result")
    weights, atoms, diverging, eigenvalues = np.empty(all_), np.empty((all_, l)), np.zeros(all_, bool), np.empty(l)
    columns = {name: np.zeros(n, dtype) for name, dtype in _SCANNED.items()}
    r.weights, r.atoms, r.eigenvalues = weights.ctypes.data, atoms.ctypes.data, eigenvalues.ctypes.data
    r.diverging = diverging.ctypes.data
    for name, column in columns.items():
        setattr(r, name, column.ctypes.data)
    with _Watch(model.progress) as watch:
        o.progress = watch.function
        memory, pointer, size = _workspace(_lib.smx_scan_workspace(byref(data.raw), first, last, byref(o)) if room else 0)
        data.call(_lib.smx_scan, first, last, byref(o), byref(r), pointer, size)
        watch.raise_what_was_thrown()
    for name, column in columns.items():
        setattr(s, name, column[: r.fits].copy())
    s.outcomes = [_OUTCOMES.get(outcome, f"outcome {outcome}") for outcome in s.outcomes]
    s.classes = np.arange(first, first + r.fits)
    begin = [(k * (k - 1) - first * (first - 1)) // 2 for k in s.classes]
    s.weights = [weights[b : b + k].copy() for b, k in zip(begin, s.classes)]
    s.atoms = [atoms[b : b + k].copy() for b, k in zip(begin, s.classes)]
    s.diverging = [diverging[b : b + k].copy() for b, k in zip(begin, s.classes)]
    s.best_aic, s.best_bic, s.best_icl, s.rank, s.evaluations = r.best_aic, r.best_bic, r.best_icl, r.rank, r.evaluations
    s.suggested_classes, s.noise = r.suggested_classes, r.noise
    s.eigenvalues = eigenvalues[: r.rank] if r.suggested_classes else None
    if s.rank < l and r.fits:
        warnings.warn(f"{s.rank} of {l} features are identified: others are constant inside every choice set, or collinear", NotIdentified,
                      stacklevel=3)
    for kind, what, of in [(NotConverged, "did not converge", [outcome not in ("converged", "cancelled") for outcome in s.outcomes]),
                           (EmptyClasses, "have empty classes", [w.min() <= _EMPTY for w in s.weights])]:
        if any(of):
            warnings.warn(f"fits of {s.classes[np.array(of)].tolist()} classes {what}", kind, stacklevel=3)
    return s
