"""Tests of softmix.py: `SOFTMIX_LIBRARY=path/to/libsoftmix.so python3 test_softmix.py`."""

import copy
import csv
import os
import pathlib
import pickle
import re
import signal
import threading
import time
import types
import unittest
import unittest.mock
import warnings

import numpy as np

import softmix

DATA = pathlib.Path(__file__).resolve().parents[2] / "data"
FEATURES = ["lat", "lon", "alt", "tz", "distance"]


def read(name):
    with open(DATA / name, newline="") as file:
        return list(csv.DictReader(file))


def flights():
    items = read("flights_items.csv")
    row = {item["dest"]: i for i, item in enumerate(items)}
    groups, counts = {}, []
    for line in read("flights_counts.csv"):
        group = groups.setdefault((line["carrier"], line["origin"]), len(groups))
        counts.append((group, row[line["dest"]], float(line["n"])))
    matrix = np.zeros((len(groups), len(items)))
    for group, i, n in counts:
        matrix[group, i] += n
    return np.array([[float(item[name]) for name in FEATURES] for item in items]), matrix


def electricity():
    rows = read("electricity.csv")
    X = np.array([[float(r[name]) for name in ("pf", "cl", "loc", "wk", "tod", "seas")] for r in rows])
    situations = [(r["id"], r["chid"]) for r in rows]
    sets = [i for i in range(len(rows)) if i == 0 or situations[i] != situations[i - 1]] + [len(rows)]
    chosen = [i for i, r in enumerate(rows) if float(r["choice"]) == 1]
    people = [rows[i]["id"] for i in chosen]
    indptr = [e for e in range(len(chosen)) if e == 0 or people[e] != people[e - 1]] + [len(chosen)]
    return X, np.array(sets), np.array(indptr), np.array(chosen)


class Csr:
    """What scipy's sparse matrices have."""

    def __init__(self, matrix):
        rows, self.indices = np.nonzero(matrix)
        self.indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(matrix)))]).astype(np.int32)
        self.indices, self.data, self.shape = self.indices.astype(np.int32), matrix[matrix > 0].astype(np.int64), matrix.shape

    def tocsr(self):
        return self


class Softmix(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.X, cls.matrix = flights()

    def test_counts_reach_the_best_known_optimum(self):
        model = softmix.fit(self.X, self.matrix.sum(0), classes=2)
        self.assertAlmostEqual(model.log_likelihood_, -1479194.617, delta=1e-2)
        self.assertEqual(model.outcome_, "converged")
        self.assertEqual(model.predict_proba().shape, (101, 2))
        self.assertGreaterEqual(model.weights_[0], model.weights_[1])
        np.testing.assert_allclose(model.predict_proba().sum(1), 1)
        np.testing.assert_allclose(model.choice_probabilities().sum(), 1)
        np.testing.assert_allclose(model.choice_probabilities(by_class=True).sum(0), 1)
        np.testing.assert_allclose(model.score(), model.log_likelihood_, rtol=1e-12)

    def test_more_classes_than_units_are_refused_without_room_for_them(self):
        counts = self.matrix.sum(0)
        for classes in (10**5, 10**9, 2**63):
            for name, call in (("classes", softmix.fit), ("last", lambda X, n, k: softmix.scan(X, n, 1, k))):
                with self.assertRaisesRegex(softmix.Error, "^" + name):
                    call(self.X, counts, classes)
        with self.assertRaisesRegex(softmix.Error, "^counts: empty"):
            softmix.fit(self.X, 0 * counts, 2)
        for starts in (2**62, 2**64 - 1):
            with self.assertRaisesRegex((MemoryError, softmix.Error), "^(starts|workspace)"):
                softmix.fit(self.X, counts, 2, starts=starts)

    def test_units_of_all_forms_are_the_same(self):
        dense = softmix.fit(self.X, self.matrix, classes=2)
        sparse = softmix.fit(self.X, Csr(self.matrix), classes=2)
        self.assertAlmostEqual(dense.log_likelihood_, -1437052.191213, delta=1e-2)
        self.assertEqual(dense.log_likelihood_, sparse.log_likelihood_)
        self.assertEqual(dense.predict().shape, (35,))
        np.testing.assert_allclose(dense.score_samples().sum(), dense.log_likelihood_, rtol=1e-12)
        weight_errors, atom_errors = dense.standard_errors()
        self.assertTrue((weight_errors > 0).all() and (atom_errors > 0).all() and atom_errors.shape == (2, 5))
        self.assertTrue((dense.standard_errors("robust")[1] > atom_errors).any())
        for variance in ("information", "robust", "sampling"):
            covariance = dense.covariance(variance)
            self.assertEqual(covariance.shape, (12, 12))
            np.testing.assert_array_equal(covariance, covariance.T)
            errors = np.concatenate([a.ravel() for a in dense.standard_errors(variance)])
            np.testing.assert_allclose(np.sqrt(np.diag(covariance)), errors, rtol=1e-9)
            self.assertGreater(np.linalg.eigvalsh(covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance))))[0], -1e-9)
        self.assertEqual(len(dense.start_values_), len(dense.start_kinds_))
        again = softmix.SoftmaxMixture(2, init=(dense.weights_, dense.atoms_)).fit(self.X, self.matrix)
        self.assertEqual(again.start_kinds_, ["given"])
        self.assertAlmostEqual(again.log_likelihood_, dense.log_likelihood_, delta=1e-4)

    def test_structs_have_the_fields_of_the_header(self):
        header = (pathlib.Path(__file__).resolve().parents[2] / "include/softmix.h").read_text()
        structs = re.findall(r"^typedef struct (\w+) \{\n(.*?)^\}", header, re.S | re.M)
        checked = 0
        for name, body in structs:
            ours = getattr(softmix, "_" + "".join(word.capitalize() for word in name.split("_")[1:]), None)
            if ours is not None:
                code = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
                self.assertEqual([field for field, _ in ours._fields_], re.findall(r"(\w+)(?:\[\w+\])?;", code), name)
                checked += 1
        self.assertGreaterEqual(checked, 11)

    def test_a_scan_is_its_fits(self):
        seen = set()
        scan = softmix.scan(self.X, self.matrix, 1, 3, progress=lambda p: seen.add(p["classes"]))
        np.testing.assert_allclose(scan.log_likelihoods, [-1501802.268710, -1437052.191213, -1412158.938793], atol=1e-2)
        self.assertEqual((scan.best_bic, list(scan.classes), seen, scan.outcomes), (3, [1, 2, 3], {1, 2, 3}, ["converged"] * 3))
        self.assertEqual([a.shape for a in scan.atoms], [(1, 5), (2, 5), (3, 5)])
        self.assertEqual([(d.shape, d.any()) for d in scan.diverging], [((1,), False), ((2,), False), ((3,), False)])
        np.testing.assert_allclose(scan.bic, -2 * scan.log_likelihoods + scan.parameters * np.log(35))
        again = softmix.fit(self.X, self.matrix, classes=3, init=(scan.weights[2], scan.atoms[2]))
        np.testing.assert_allclose(again.log_likelihood_, scan.log_likelihoods[2], rtol=1e-12)
        self.assertIn("1412158.93", repr(scan))
        self.assertIsNone(scan.eigenvalues)
        counts = softmix.scan(self.X, self.matrix.sum(0), 1, 1)
        self.assertEqual(counts.suggested_classes, 1 + (counts.eigenvalues > counts.noise).sum())
        self.assertTrue((np.diff(counts.eigenvalues) <= 0).all() and len(counts.eigenvalues) == 5)
        with self.assertRaises(ValueError):
            softmix.scan(self.X, self.matrix, 3, 2)
        with self.assertRaises(softmix.Error):
            softmix.scan(self.X, self.matrix, 30, 36)
        self.assertEqual(softmix.scan(self.X, self.matrix, 2, 3, progress=lambda p: False).outcomes, ["cancelled"])

    def test_parameters_are_those_of_the_constructor(self):
        model = softmix.SoftmaxMixture(3, ridge=2.0)
        self.assertEqual(softmix.SoftmaxMixture(**model.get_params()).get_params(), model.get_params())
        self.assertEqual(model.set_params(classes=4).classes, 4)
        halves, turned = np.full(2, 0.5), np.zeros((self.X.shape[1], 2))
        for wrong in ({"classes": 2, "isa": "none"}, {"classes": 2, "seed": -1}, {"classes": 2, "starts": 0}, {"classes": 2, "starts": 2**64 + 1},
                      {"classes": 2.7}, {"classes": 0}, {"classes": 2, "max_evaluations": 1.5}, {"classes": 2, "init": (halves, turned)}):
            with self.assertRaises(ValueError):
                softmix.SoftmaxMixture(**wrong).fit(self.X, self.matrix)
        with self.assertRaises(ValueError):
            model.set_params(clases=4)

    def test_a_panel_of_choice_sets(self):
        X, sets, indptr, chosen = electricity()
        model = softmix.fit(X, softmix.Units(indptr, chosen), classes=2, sets=sets)
        self.assertAlmostEqual(model.log_likelihood_, -4526.829028773, delta=1e-6)
        self.assertEqual(model.predict_proba().shape, (361, 2))
        np.testing.assert_allclose(np.add.reduceat(model.choice_probabilities(), sets[:-1]), 1)
        few = model.predict_proba(X[: sets[60]], softmix.Units(indptr[:5], chosen[: indptr[4]]), sets=sets[:61])
        np.testing.assert_allclose(few, model.predict_proba()[:4], rtol=1e-12)

    def test_a_weighted_panel_is_what_its_definition_says(self):
        rng = np.random.default_rng(1)
        X, offset, sets = rng.normal(size=(20, 3)), rng.normal(size=20), [0, 10, 20]
        indptr, indices = np.arange(0, 11, 2), np.array([1, 12, 3, 11, 9, 17, 0, 19, 4, 15])
        counts, weights = np.tile([2.0, 1.0], 5), np.array([1.0, 2.0, 1.0, 3.0, 1.0])
        options = dict(sets=sets, offset=offset, ridge=1.0, starts=12, seed=3)
        model = softmix.fit(X, softmix.Units(indptr, indices, counts, weights), 2, **options)
        logits = X @ model.atoms_.T + offset[:, None]
        logs = np.concatenate([s - np.log(np.exp(s).sum(0)) for s in (logits[:10], logits[10:])])
        joint = np.exp(np.add.reduceat(counts[:, None] * logs[indices], indptr[:-1])) * model.weights_
        np.testing.assert_allclose(weights @ np.log(joint.sum(1)), model.log_likelihood_, rtol=1e-12)
        np.testing.assert_allclose(joint / joint.sum(1, keepdims=True), model.predict_proba(), rtol=1e-9)
        self.assertLess(model.penalized_log_likelihood_, model.log_likelihood_)
        self.assertEqual(len(model.start_values_), 12)
        for change in ({"threads": 2}, {"isa": "scalar"}):
            other = softmix.fit(X, softmix.Units(indptr, indices, counts, weights), 2, **options, **change)
            self.assertAlmostEqual(other.log_likelihood_, model.log_likelihood_, places=8)
            self.assertTrue("isa" in change or (other.atoms_ == model.atoms_).all())

    def test_features_that_are_not_identified_are_named(self):
        with self.assertWarnsRegex(softmix.NotIdentified, r"^features \[(0|5|0, 5)\] are not identified"):
            model = softmix.fit(np.column_stack([self.X, 2 * self.X[:, 0]]), self.matrix.sum(0), 1)
        self.assertEqual(model.rank_, 5)

    def test_options_end_a_fit_where_they_say(self):
        counts, init = self.matrix.sum(0), ([0.5, 0.5], np.outer([0, 1e-3], self.X[0] != 0))
        whole = softmix.fit(self.X, counts, 2, init=init)
        with self.assertWarns(softmix.NotConverged):
            short = softmix.fit(self.X, counts, 2, init=init, max_evaluations=5)
        self.assertEqual((short.outcome_, short.start_kinds_), ("iteration_limit", ["given"]))
        self.assertLess(short.evaluations_, 8)
        loose = softmix.fit(self.X, counts, 2, init=init, gradient_tolerance=1e-2)
        self.assertLess(loose.evaluations_, whole.evaluations_)
        self.assertGreater(loose.gradient_norm_, whole.gradient_norm_)
        single = softmix.fit(self.X, counts, 2, init=init, single_phase=True)
        self.assertAlmostEqual(single.log_likelihood_, whole.log_likelihood_, delta=1e-3)

    def test_arrays_are_passed_as_they_are(self):
        counts = self.matrix.sum(0)
        wide = np.zeros((101, 9))
        wide[:, 2:7] = self.X
        views = [self.X, np.asfortranarray(self.X), wide[:, 2:7], np.repeat(self.X, 2, axis=0)[::2]]
        fits = [softmix.fit(view, counts, classes=1) for view in views]
        for view, fit in zip(views, fits):
            self.assertEqual(fit._data.raw.features, view.ctypes.data, view.strides)
            self.assertAlmostEqual(fit.log_likelihood_, fits[0].log_likelihood_, delta=1e-6)
        single = self.X.astype(np.float32)
        fit = softmix.fit(single, counts, classes=1)
        self.assertEqual(fit._data.raw.features, single.ctypes.data)
        rounded = softmix.fit(single.astype(np.float64), counts, classes=1)
        np.testing.assert_allclose(fit.log_likelihood_, rounded.log_likelihood_, rtol=1e-9)
        backwards, integers = self.X[::-1], np.round(self.X).astype(int)
        self.assertAlmostEqual(softmix.fit(backwards, counts[::-1], classes=1).log_likelihood_, fits[0].log_likelihood_, delta=1e-6)
        softmix.fit(integers, counts.astype(int), classes=1)
        np.testing.assert_allclose(softmix.fit(self.X[:, :1], counts, classes=1).atoms_.shape, (1, 1))

    def test_errors_have_a_place(self):
        X = self.X.copy()
        X[7, 3] = np.nan
        with self.assertRaises(softmix.Error) as caught:
            softmix.fit(X, self.matrix.sum(0), classes=2)
        error = caught.exception
        self.assertEqual((error.status, error.argument, error.row, error.column, error.class_index), (-10, "X", 7, 3, None))
        self.assertEqual(str(error), "X: not a finite number at row 7, column 3")
        X[7, 3] = 1e200
        with self.assertRaises(softmix.Error) as caught:
            softmix.fit(X, self.matrix, classes=2)
        self.assertEqual(str(caught.exception), "X: squares beyond the range of numbers at column 3")
        with self.assertRaises(softmix.Error) as caught:
            softmix.fit(self.X, self.matrix, classes=36)
        self.assertEqual((caught.exception.needed, caught.exception.given), (35, 36))
        for wrong in (self.matrix.sum(0)[:-1], self.matrix[:, :-1], np.zeros((2, 2, 2))):
            with self.assertRaises(ValueError):
                softmix.fit(self.X, wrong, classes=2)
        with self.assertRaises(ValueError):
            softmix.fit(self.X, softmix.Units([0, 1], [-1]), classes=1)
        with self.assertRaises(TypeError):
            softmix.fit(self.X, softmix.Units([0, 1], [0.5]), classes=1)
        with self.assertRaises(ValueError):
            softmix.fit(self.X[0], self.matrix, classes=1)
        with self.assertRaises(AttributeError):
            softmix.SoftmaxMixture(2).predict_proba()

        with self.assertRaises(ValueError):
            softmix.fit(np.ma.masked_less(self.X, 0.0), self.matrix, classes=1)
        with self.assertRaises(ValueError):
            softmix.fit(self.X, self.matrix, classes=1).standard_errors("none")

    def test_arrays_at_any_address_are_taken(self):
        def unaligned(a):
            raw = np.frombuffer(bytearray(4) + a.tobytes(), np.uint8)
            return raw[4:].view(a.dtype).reshape(a.shape)

        X, counts, sets = self.X, self.matrix.sum(0), np.array([0, len(self.X)])
        expected = softmix.fit(X, counts, 2, starts=3)
        found = softmix.fit(unaligned(X), unaligned(counts), 2, sets=unaligned(sets), offset=unaligned(np.zeros(len(X))), starts=3)
        self.assertFalse(unaligned(X).flags.aligned)
        self.assertEqual(found.log_likelihood_, expected.log_likelihood_)
        start = (unaligned(expected.weights_), unaligned(expected.atoms_))
        self.assertLess(abs(softmix.fit(X, counts, 2, init=start).log_likelihood_ - expected.log_likelihood_), 1e-4)

    def test_errors_name_the_arguments_of_python(self):
        X, matrix, counts = self.X, self.matrix, self.matrix.sum(0)
        three, offset = np.array([counts] * 3), np.zeros(len(X))
        three[:2, 7], offset[7] = 0, -np.inf
        negative, empty, missing = three.copy(), three.copy(), three.copy()
        negative[2, 7], empty[2], missing[2, 7] = -1, 0, np.nan
        text, dates = counts.astype(str), counts.astype("timedelta64[s]")
        wrong = [
            ("counts: negative at row 2, column 7", lambda: softmix.fit(X, negative, 1)),
            ("counts: not a finite number at row 2, column 7", lambda: softmix.scan(X, missing, 1, 2)),
            ("counts: alternative not available at row 2, column 7", lambda: softmix.fit(X, Csr(three), 1, offset=offset)),
            ("counts: empty at position 2", lambda: softmix.fit(X, empty, 1)),
            ("counts: empty", lambda: softmix.fit(X, matrix[:0], 1)),
            ("counts: needed where X is given", lambda: softmix.scan(X, None, 1, 2)),
            ("counts: expected numbers, got <U", lambda: softmix.fit(X, text, 1)),
            ("counts: expected numbers (text among them)", lambda: softmix.fit(X, text.astype(object), 1)),
            ("counts: expected numbers, got timedelta64", lambda: softmix.fit(X, dates, 1)),
            ("counts: expected numbers (", lambda: softmix.fit(X, [[1, 2], [3]], 1)),
            ("counts: expected 101 numbers in one dimension, got shape ()", lambda: softmix.fit(X, 3, 1)),
            ("X: expected numbers, got complex128", lambda: softmix.fit(X + 1j, counts, 1)),
            ("X: expected numbers (", lambda: softmix.fit({}, counts, 1)),
            ("X: empty", lambda: softmix.fit(X[:, :0], counts, 1)),
            ("sets: wrong size at position 1 (needed 101, given 3)", lambda: softmix.fit(X, counts, 1, sets=[0, 3])),
            ("sets: expected integers in one dimension, got shape (1, 2)", lambda: softmix.fit(X, counts, 1, sets=[[0, 101]])),
            ("sets: expected integers in one dimension, got shape ()", lambda: softmix.fit(X, counts, 1, sets=5)),
            ("sets: empty", lambda: softmix.fit(X, counts, 1, sets=[])),
            ("sets: negative at position 1", lambda: softmix.fit(X, counts, 1, sets=[0, -1, 101])),
            ("indptr: expected integers in one dimension", lambda: softmix.fit(X, softmix.Units([[0, 1]], [1]), 1)),
            ("indices: out of range or out of order at position 0", lambda: softmix.fit(X, softmix.Units([0, 1], [101]), 1)),
            ("offset: expected numbers, got <U", lambda: softmix.fit(X, counts, 1, offset=text)),
            ("ridge: expected a number, got '1'", lambda: softmix.fit(X, counts, 1, ridge="1")),
            ("ridge: expected a number, got None", lambda: softmix.fit(X, counts, 1, ridge=None)),
            ("gradient_tolerance: expected a number, got [1]", lambda: softmix.fit(X, counts, 1, gradient_tolerance=[1])),
            ("seed: expected a whole number", lambda: softmix.fit(X, counts, 1, seed=np.array([1]))),
            ("isa: expected one of auto,", lambda: softmix.fit(X, counts, 1, isa=[])),
            ("progress: expected a function, got 5", lambda: softmix.fit(X, counts, 1, progress=5)),
            ("init: expected (weights, atoms), got 5", lambda: softmix.fit(X, counts, 1, init=5)),
            ("init weights: mixing weights do not sum to one", lambda: softmix.fit(X, counts, 1, init=([0.5], [[0] * 5]))),
            ("init atoms: expected numbers, got <U", lambda: softmix.fit(X, counts, 1, init=([1], [["0"] * 5]))),
            ("shard: expected a Shard, got 5", lambda: softmix.fit(X, counts, 1, shard=5)),
            ("split: expected one of rows, sets, got 'row'", lambda: softmix.Shard(max, "row", 1, 1, 0)),
            ("rank: expected a whole number", lambda: softmix.Shard(max, "rows", 1, 1, -1)),
        ]
        fit = softmix.fit(X, counts, 1)
        for method in (fit.predict_proba, fit.score, fit.choice_probabilities):
            wrong.append(("X: needed where counts, sets or offset are given", lambda method=method: method(offset=offset)))
        for message, call in wrong:
            with self.subTest(message), self.assertRaisesRegex((ValueError, TypeError), "^" + re.escape(message)):
                call()

    def test_another_library_is_refused_by_name(self):
        for library, message in ((types.SimpleNamespace(), "other.so is not the softmix library"),
                                 (types.SimpleNamespace(smx_version=lambda: 2034005), "other.so is version 2.34.5, and")):
            with unittest.mock.patch.dict(os.environ, SOFTMIX_LIBRARY="other.so"), unittest.mock.patch("ctypes.CDLL", return_value=library):
                self.assertRaisesRegex(ImportError, message, softmix._load)
        with unittest.mock.patch.dict(os.environ, SOFTMIX_LIBRARY="/not/there.so"):
            self.assertRaisesRegex(ImportError, "/not/there.so.*SOFTMIX_LIBRARY", softmix._load)

    def test_a_mixture_that_was_set_is_looked_at(self):
        fit = softmix.fit(self.X, self.matrix, classes=2)
        score, atoms = fit.score(), fit.atoms_
        fit.weights_, fit.atoms_ = list(fit.weights_[::-1]), atoms[::-1]
        self.assertAlmostEqual(fit.score(), score, delta=1e-6)
        fit.atoms_ = atoms.astype(np.float32)[::-1]
        self.assertAlmostEqual(fit.score(), score, delta=1)
        fit.weights_ = [1, 0]
        self.assertAlmostEqual(fit.choice_probabilities().sum(), 1)
        for wrong in (atoms[:1], atoms[:, :3], atoms.ravel(), np.vstack([atoms, atoms])):
            fit.atoms_ = wrong
            for method in (fit.score, fit.predict_proba, fit.choice_probabilities, fit.standard_errors, fit.covariance):
                with self.assertRaises(ValueError):
                    method()

    def test_choice_probabilities_of_what_is_not_available_are_zero(self):
        offset = np.zeros(len(self.X))
        offset[[3, 50]] = -np.inf
        counts = np.where(np.isneginf(offset), 0, self.matrix.sum(0))
        fit = softmix.fit(self.X, counts, classes=2, offset=offset)
        for sets in (None, [0, 40, len(self.X)]):
            found = fit.choice_probabilities(self.X, offset=list(offset), sets=sets)
            self.assertEqual(found[[3, 50]].tolist(), [0, 0])
            self.assertAlmostEqual(found.sum(), 1 if sets is None else 2)
        np.testing.assert_array_equal(fit.choice_probabilities(self.X, offset=offset), fit.choice_probabilities())
        with self.assertRaises(ValueError):
            fit.choice_probabilities(self.X, offset=offset[:-1])
        for needs_choices in (fit.predict_proba, fit.score, lambda X: softmix.fit(X, None, classes=2)):
            with self.assertRaisesRegex(softmix.Error, "^counts: needed where X is given$"):
                needs_choices(self.X)

    def test_a_copy_is_a_model_with_data_of_its_own(self):
        X, sets, indptr, chosen = electricity()
        panel = softmix.fit(X, softmix.Units(indptr, chosen), classes=2, sets=sets)
        for model in (panel, softmix.fit(self.X, self.matrix, classes=2), softmix.fit(self.X, self.matrix.sum(0), classes=1)):
            for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
                self.assertEqual(other.score(), model.score())
                np.testing.assert_array_equal(other.predict_proba(), model.predict_proba())
                self.assertIsNot(other._data.X, model._data.X)

    def test_a_fit_that_runs_off_warns(self):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = softmix.fit(self.X, self.matrix.sum(0), classes=4)
        self.assertEqual(model.outcome_, "diverging")
        self.assertTrue(model.diverging_.any())
        self.assertTrue(any(w.category is softmix.NotConverged and "ridge" in str(w.message) and w.filename == __file__ for w in caught))
        self.assertEqual(softmix.fit(self.X, self.matrix.sum(0), classes=3, ridge=10.0).outcome_, "converged")
        # What is known of a class that runs off is nothing, whatever is asked.
        for variance in ("information", "robust"):
            atoms = len(model.weights_) + np.flatnonzero(np.repeat(model.diverging_, self.X.shape[1]))
            self.assertTrue(np.isnan(model.standard_errors(variance)[1][model.diverging_]).all())
            self.assertTrue(np.isnan(model.covariance(variance)[atoms]).all() and np.isnan(model.covariance(variance)[:, atoms]).all())
        # Of a mixture set from outside it is not known which classes run off.
        other = softmix.fit(self.X, self.matrix.sum(0), classes=3)
        model.weights_, model.atoms_ = other.weights_, other.atoms_
        np.testing.assert_allclose(model.standard_errors()[1], other.standard_errors()[1])
        self.assertTrue(np.isfinite(other.covariance()).all() and np.isfinite(model.covariance()).all())

    def test_what_a_fit_cannot_tell_is_told(self):
        def caught(call):
            with warnings.catch_warnings(record=True) as found:
                warnings.simplefilter("always")
                result = call()
            self.assertTrue(all(w.filename == __file__ for w in found))
            return result, {w.category for w in found}

        X, counts = np.random.default_rng(11).normal(size=(6, 2)), np.random.default_rng(1).poisson(100, size=6)
        model, told = caught(lambda: softmix.fit(X, counts, 3, ridge=10.0))
        self.assertEqual((told, model.outcome_, (model.weights_ <= 1e-10).any()), ({softmix.EmptyClasses}, "converged", True))
        # A fit from there begins there.
        again = caught(lambda: softmix.fit(X, counts, 3, ridge=10.0, init=(model.weights_, model.atoms_), max_evaluations=1))[0]
        self.assertAlmostEqual(again.penalized_log_likelihood_, model.penalized_log_likelihood_, delta=1e-9)
        collinear = np.column_stack([X, X[:, 0]])
        found, told = caught(lambda: softmix.scan(collinear, counts, 1, 3, ridge=10.0))
        self.assertEqual((told, found.rank, len(found.weights)), ({softmix.EmptyClasses, softmix.NotIdentified}, 2, 3))
        self.assertIn(softmix.NotConverged, caught(lambda: softmix.scan(self.X, self.matrix.sum(0), 4, 4))[1])

    def test_parameters_set_after_a_fit_are_those_of_the_next(self):
        model = softmix.fit(self.X, self.matrix, classes=2)
        errors = model.standard_errors()[1]
        np.testing.assert_array_equal(model.set_params(ridge=1000.0).standard_errors()[1], errors)

    def test_a_start_of_equal_atoms_comes_to_classes(self):
        X, sets, indptr, chosen = electricity()
        units = softmix.Units(indptr, chosen)
        one = softmix.fit(X, units, classes=1, sets=sets)
        model = softmix.fit(X, units, classes=2, sets=sets, init=([0.5, 0.5], np.vstack([one.atoms_, one.atoms_])))
        self.assertGreater(model.log_likelihood_, one.log_likelihood_ + 100)

    def test_progress_is_told_and_may_end_the_fit(self):
        seen = []
        softmix.fit(self.X, self.matrix, classes=2, progress=seen.append)
        self.assertTrue(len(seen) > 3 and seen[-1]["finished"] >= 1 and seen[-1]["best"] < 0)
        for false in (False, np.False_):
            model = softmix.fit(self.X, self.matrix, classes=3, progress=lambda p: false)
            self.assertEqual(model.outcome_, "cancelled")
        self.assertTrue(np.isfinite(model.atoms_).all())

        def fails(progress):
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            softmix.fit(self.X, self.matrix, classes=2, progress=fails)

    def test_control_c_ends_a_fit(self):
        # Whoever runs the tests in the background may have it ignored.
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
        timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        began = time.monotonic()
        with self.assertRaises(KeyboardInterrupt):
            softmix.fit(self.X, self.matrix, classes=12, starts=100000)
        self.assertLess(time.monotonic() - began, 30)
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)

    def test_the_kinds_of_starts_are_those_of_the_header(self):
        header = (DATA.parent / "include" / "softmix.h").read_text()
        named = dict(re.findall(r"#define SMX_START_(\w+) (\d+)", header))
        self.assertEqual({int(number): name.lower() for name, number in named.items()}, softmix._KINDS)

    def on_ranks(self, ranks, rank_of):
        """Runs rank_of(rank, reduce) on threads that reduce together; what each returned or threw."""
        barrier, arrays, answers = threading.Barrier(ranks), [None] * ranks, [None] * ranks

        def run(rank):
            def reduce(op, array):
                arrays[rank] = array.copy()
                barrier.wait()
                result = np.max(arrays, axis=0) if op == "max" else np.sum(arrays, axis=0)
                barrier.wait()
                return result

            try:
                answers[rank] = rank_of(rank, reduce)
            except Exception as thrown:
                answers[rank] = thrown

        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(ranks)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        return answers

    def test_ranks_with_their_rows_find_what_one_process_finds(self):
        counts = self.matrix.sum(axis=0)
        init = ([0.5, 0.5], np.array([[0.01, 0, 0, 0, 0], [-0.01, 0, 0, 0, 0]]))
        alone = softmix.fit(self.X, counts, classes=2, ridge=5, init=init)
        cuts = [0, 20, 50, len(self.X)]

        def rank_of(rank, reduce):
            rows = slice(cuts[rank], cuts[rank + 1])
            shard = softmix.Shard(reduce, "rows", len(self.X), len(self.X), rank)
            return softmix.fit(self.X[rows], counts[rows], classes=2, ridge=5, init=init, shard=shard)

        fits = self.on_ranks(3, rank_of)
        for fit in fits:
            self.assertIsInstance(fit, softmix.SoftmaxMixture, fit)
            self.assertTrue((fit.atoms_ == fits[0].atoms_).all())
            self.assertAlmostEqual(fit.penalized_log_likelihood_ / alone.penalized_log_likelihood_, 1, delta=1e-12)

    def test_ranks_scan(self):
        alone = softmix.scan(self.X, self.matrix, 1, 2, ridge=5, starts=4)

        def rank_of(rank, reduce):
            units = slice(0, 20) if rank == 0 else slice(20, len(self.matrix))
            shard = softmix.Shard(reduce, "sets", 2 * len(self.X), len(self.matrix), rank)
            return softmix.scan(self.X, self.matrix[units], 1, 2, ridge=5, starts=4, shard=shard)

        scans = self.on_ranks(2, rank_of)
        for found in scans:
            self.assertIsInstance(found, softmix.Scan, found)
            self.assertAlmostEqual(found.penalized_log_likelihoods[0] / alone.penalized_log_likelihoods[0], 1, delta=1e-12)
            # Other starts are drawn.
            self.assertGreater(found.penalized_log_likelihoods[1], found.penalized_log_likelihoods[0])
            self.assertEqual(list(found.parameters), list(alone.parameters))
            self.assertEqual(list(found.penalized_log_likelihoods), list(scans[0].penalized_log_likelihoods))

    def test_an_error_of_one_rank_reaches_all(self):
        def rank_of(rank, reduce):
            rows = slice(rank * 50, 50 if rank == 0 else len(self.X))
            X = self.X[rows].copy()
            X[0, 0] = np.nan if rank == 1 else X[0, 0]
            shard = softmix.Shard(reduce, "rows", len(self.X), len(self.X), rank)
            return softmix.fit(X, self.matrix.sum(axis=0)[rows], classes=2, shard=shard)

        first, second = self.on_ranks(2, rank_of)
        self.assertEqual((first.status, second.status, second.argument), (-140, -10, "X"))

    def test_an_error_of_one_rank_before_the_call_reaches_all(self):
        def short(shard, X, counts):
            return softmix.fit(X, counts[1:], classes=2, shard=shard)

        def unread(shard, X, counts):
            with shard:
                raise FileNotFoundError
            return softmix.fit(X, counts, classes=2, shard=shard)

        def scan(shard, X, counts):
            return softmix.scan(X, counts, 1, 2, shard=shard, ridge="a lot")

        for wrong, thrown in ((short, ValueError), (unread, FileNotFoundError), (scan, ValueError)):
            def rank_of(rank, reduce):
                rows = slice(rank * 50, 50 if rank == 0 else len(self.X))
                shard = softmix.Shard(reduce, "rows", len(self.X), len(self.X), rank)
                X, counts = self.X[rows], self.matrix.sum(axis=0)[rows]
                return wrong(shard, X, counts) if rank == 1 else softmix.fit(X, counts, classes=2, shard=shard)

            first, second = self.on_ranks(2, rank_of)
            self.assertEqual(first.status, -140)
            self.assertIsInstance(second, thrown)

    def test_an_exception_in_a_reduction_is_raised(self):
        def reduce(op, array):
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            softmix.fit(self.X, self.matrix, classes=2, shard=softmix.Shard(reduce, "rows", 1000, len(self.matrix), 0))
        works = True

        def twice(op, array):
            if not works:
                raise ZeroDivisionError
            if op == "sum":
                array *= 2

        shard = softmix.Shard(twice, "sets", 2 * len(self.X), 2 * len(self.matrix), 0)
        fit = softmix.fit(self.X, self.matrix, classes=2, shard=shard)
        works = False
        for method in (fit.score, fit.predict_proba, fit.choice_probabilities, fit.standard_errors, fit.covariance):
            with self.assertRaises(ZeroDivisionError):
                method()

    def test_fits_run_on_threads_of_their_own(self):
        likelihoods = []
        run = lambda: likelihoods.append(softmix.fit(self.X, self.matrix, classes=2).log_likelihood_)
        threads = [threading.Thread(target=run) for _ in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertEqual(len(set(likelihoods)), 1)


if __name__ == "__main__":
    unittest.main()
