/* Calls that are wrong in every way that can be seen: each gets its status, and nothing of the program's memory changes.
 * Arrays and workspaces have exactly the size they must have, so that sanitizers and valgrind see every step outside. */
#include "softmix.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { P = 12, L = 2, S = 4, U = 5, E = 10, K = 2, D = K - 1 + K * L, ALL_PARAMETERS = K + K * L, STARTS = 4, ALL = K * (K + 1) / 2 };

struct setup {
    double features[P * L], offset[P], counts[E], unit_weights[U], row_counts[P];
    float single[P * L];
    size_t set_offsets[S + 1], indptr[U + 1], indices[E];
    double weights[K], atoms[K * L], start_weights[K], start_atoms[K * L];
    smx_data data;
    smx_summary summary;
    smx_evaluate_options evaluate_options;
    smx_evaluation evaluation;
    double unit[P], responsibilities[P * K], weight_gradient[K], atom_gradient[K * L];
    smx_whitening whitening;
    double covariance[L * L], to_atoms[L * L], from_atoms[L * L];
    unsigned char unidentified[L];
    smx_em_options em_options;
    double log_likelihood, penalized;
    smx_fit_options fit_options;
    smx_fit_result result;
    double fit_weights[K], fit_atoms[K * L], start_values[STARTS];
    unsigned char diverging[K], free_features[L];
    int32_t start_kinds[STARTS];
    size_t classes, short_by, start_count;
    int null_workspace;
    smx_run_options run_options;
    smx_inference_options inference_options;
    int32_t sampling;
    double by_class[P * K], mixed[P], weight_errors[K], atom_errors[K * L];
    double estimates[ALL_PARAMETERS * ALL_PARAMETERS], information[D * D], vector[D], product[D];
    smx_criteria_result criteria;
    size_t rank;
    size_t first, last;
    smx_scan_result scan;
    double scan_weights[ALL], scan_atoms[ALL * L], scan_values[K], bic[K], eigenvalues[L];
    unsigned char scan_diverging[ALL];
    int32_t outcomes[K];
    size_t scan_starts[K];
};

static struct setup s;
static smx_error record;
static int failures, checks;

typedef smx_status (*operation)(void);

static int32_t cancel(const smx_progress *progress, void *user)
{
    if (user)
        ++*(int *)user;
    return progress->struct_size == sizeof *progress;
}

/* A workspace of exactly `size` bytes, less what the test takes away. */
static void *workspace(size_t *size)
{
    void *memory;
    *size = *size == SIZE_MAX ? 4096 : *size;
    *size -= *size < s.short_by ? *size : s.short_by;
    memory = s.null_workspace ? NULL : malloc(*size ? *size : 1);
    if (memory)
        memset(memory, 0xA5, *size);
    return memory;
}

static smx_status op_check(void)
{
    return smx_data_check(&s.data, &s.summary, &record);
}

static smx_status op_evaluate(void)
{
    size_t size = smx_evaluate_workspace(&s.data, s.classes);
    void *memory = workspace(&size);
    smx_status status = smx_evaluate(&s.data, s.classes, s.weights, s.atoms, &s.evaluate_options, &s.evaluation, memory, size, &record);
    free(memory);
    return status;
}

static smx_status op_whiten(void)
{
    size_t size = smx_whiten_workspace(&s.data);
    void *memory = workspace(&size);
    smx_status status = smx_whiten(&s.data, &s.run_options, &s.whitening, memory, size, &record);
    free(memory);
    return status;
}

static smx_status op_em(void)
{
    size_t size = smx_em_step_workspace(&s.data, s.classes, &s.em_options);
    void *memory = workspace(&size);
    smx_status status = smx_em_step(&s.data, &s.whitening, s.classes, &s.em_options, s.weights, s.atoms, &s.log_likelihood, &s.penalized,
                                    memory, size, &record);
    free(memory);
    return status;
}

static smx_status op_fit(void)
{
    size_t size = smx_fit_workspace(&s.data, s.classes, &s.fit_options);
    void *memory = workspace(&size);
    smx_status status = smx_fit(&s.data, s.classes, &s.fit_options, &s.result, memory, size, &record);
    free(memory);
    return status;
}

static smx_status op_probabilities(void)
{
    size_t size = smx_choice_probabilities_workspace(&s.data, s.classes);
    void *memory = workspace(&size);
    smx_status status = smx_choice_probabilities(&s.data, s.classes, s.weights, s.atoms, &s.run_options, s.by_class, s.mixed, memory, size,
                                                 &record);
    free(memory);
    return status;
}

static smx_status op_errors(void)
{
    size_t size = smx_standard_errors_workspace(&s.data, s.classes);
    void *memory = workspace(&size);
    smx_status status = smx_standard_errors(&s.data, &s.whitening, s.classes, s.weights, s.atoms,
                                            &s.inference_options, s.weight_errors, s.atom_errors, memory, size, &record);
    free(memory);
    return status;
}

static smx_status op_covariance(void)
{
    size_t size = smx_covariance_workspace(&s.data, s.classes);
    void *memory = workspace(&size);
    smx_status status = smx_covariance(&s.data, &s.whitening, s.classes, s.weights, s.atoms, &s.inference_options, s.estimates, memory,
                                       size, &record);
    free(memory);
    return status;
}

static smx_status op_information(void)
{
    size_t size = smx_information_workspace(&s.data, s.classes);
    void *memory = workspace(&size);
    smx_status status = smx_information(&s.data, s.classes, s.weights, s.atoms, &s.evaluate_options, s.information, memory, size, &record);
    free(memory);
    return status;
}

static smx_status op_scores(void)
{
    size_t size = smx_information_workspace(&s.data, s.classes);
    void *memory = workspace(&size);
    smx_status status = smx_score_products(&s.data, s.classes, s.weights, s.atoms, s.sampling, &s.run_options, s.information, memory, size,
                                           &record);
    free(memory);
    return status;
}

static smx_status op_hessian(void)
{
    size_t size = smx_hessian_vector_workspace(&s.data, s.classes);
    void *memory = workspace(&size);
    smx_status status = smx_hessian_vector(&s.data, s.classes, s.weights, s.atoms, s.vector, &s.run_options, s.product, memory, size,
                                           &record);
    free(memory);
    return status;
}

static smx_status op_criteria(void)
{
    size_t size = smx_criteria_workspace(&s.data, s.classes);
    void *memory = workspace(&size);
    smx_status status = smx_criteria(&s.data, s.classes, s.weights, s.atoms, s.rank, &s.run_options, &s.criteria, memory, size, &record);
    free(memory);
    return status;
}

static smx_status op_scan(void)
{
    size_t size = smx_scan_workspace(&s.data, s.first, s.last, &s.fit_options);
    void *memory = workspace(&size);
    smx_status status = smx_scan(&s.data, s.first, s.last, &s.fit_options, &s.scan, memory, size, &record);
    free(memory);
    return status;
}

static const operation RUN_IT[] = {op_check, op_evaluate, op_whiten, op_em, op_fit, op_probabilities, op_errors, op_information, op_scores,
                                op_hessian, op_criteria, op_scan, op_covariance};
static const char *const NAMES[] = {"check", "evaluate", "whiten", "em_step", "fit", "choice_probabilities", "standard_errors",
                                    "information", "score_products", "hessian_vector", "criteria", "scan", "covariance"};
enum { OPERATIONS = sizeof RUN_IT / sizeof RUN_IT[0] };
enum {
    CHECK = 1, EVALUATE = 2, WHITEN = 4, EM = 8, FIT = 16, PROBABILITIES = 32, ERRORS = 64, INFORMATION = 128, SCORES = 256, HESSIAN = 512,
    CRITERIA = 1024, SCAN = 2048, COVARIANCE = 4096, EVERY = 8191, WORKING = EVERY - CHECK, INFERENCE = ERRORS | COVARIANCE,
    MIXTURES = EVALUATE | EM | PROBABILITIES | INFERENCE | INFORMATION | SCORES | HESSIAN | CRITERIA, FITS = FIT | SCAN,
    WHITENED = EM | INFERENCE, PENALIZED = EVALUATE | INFORMATION, RUN = WHITEN | PROBABILITIES | SCORES | HESSIAN | CRITERIA
};

static double noise(void)
{
    static unsigned state = 1;
    state = state * 1664525u + 1013904223u;
    return (double)(state >> 8) / 16777216.0 - 0.5;
}

static void reset(void)
{
    static const size_t chosen[E] = {0, 4, 6, 1, 9, 2, 5, 8, 3, 11};
    static int noisy;
    static double values[P * L];
    size_t i;
    if (!noisy) {
        for (i = 0; i < P * L; i++)
            values[i] = 4 * noise();
        noisy = 1;
    }
    memset(&s, 0x5A, sizeof s);
    for (i = 0; i < P * L; i++) {
        s.features[i] = values[i];
        s.single[i] = (float)values[i];
    }
    for (i = 0; i < P; i++) {
        s.offset[i] = 0.1 * (double)i;
        s.row_counts[i] = (double)(i % 3);
    }
    for (i = 0; i <= S; i++)
        s.set_offsets[i] = 3 * i;
    for (i = 0; i <= U; i++)
        s.indptr[i] = 2 * i;
    for (i = 0; i < E; i++) {
        s.indices[i] = chosen[i];
        s.counts[i] = 1.0 + (double)i;
    }
    for (i = 0; i < U; i++)
        s.unit_weights[i] = 2.0;
    for (i = 0; i < K; i++)
        s.weights[i] = s.start_weights[i] = 1.0 / K;
    for (i = 0; i < K * L; i++)
        s.atoms[i] = s.start_atoms[i] = 0.3 * (double)i - 0.4;
    smx_data_init(&s.data, sizeof s.data);
    s.data.features = s.features;
    s.data.choices = SMX_UNITS;
    s.data.rows = P;
    s.data.columns = L;
    s.data.offset = s.offset;
    s.data.set_offsets = s.set_offsets;
    s.data.sets = S;
    s.data.units = U;
    s.data.entries = E;
    s.data.indptr = s.indptr;
    s.data.indices = s.indices;
    s.data.counts = s.counts;
    s.data.weights = s.unit_weights;
    smx_summary_init(&s.summary, sizeof s.summary);
    for (i = 0; i < L * L; i++)
        s.covariance[i] = s.to_atoms[i] = s.from_atoms[i] = i % (L + 1) == 0 ? 1.0 : 0.0;
    memset(s.unidentified, 0, sizeof s.unidentified);
    smx_whitening_init(&s.whitening, sizeof s.whitening);
    s.whitening.columns = s.whitening.rank = L;
    s.whitening.covariance = s.covariance;
    s.whitening.to_atoms = s.to_atoms;
    s.whitening.from_atoms = s.from_atoms;
    s.whitening.unidentified = s.unidentified;
    smx_evaluate_options_init(&s.evaluate_options, sizeof s.evaluate_options);
    s.evaluate_options.ridge = 0.5;
    s.evaluate_options.covariance = s.covariance;
    smx_evaluation_init(&s.evaluation, sizeof s.evaluation);
    s.evaluation.unit_log_likelihoods = s.unit;
    s.evaluation.responsibilities = s.responsibilities;
    s.evaluation.weight_gradient = s.weight_gradient;
    s.evaluation.atom_gradient = s.atom_gradient;
    smx_em_options_init(&s.em_options, sizeof s.em_options);
    smx_fit_options_init(&s.fit_options, sizeof s.fit_options);
    s.fit_options.starts = STARTS;
    s.fit_options.max_evaluations = 200;
    smx_fit_result_init(&s.result, sizeof s.result);
    s.result.weights = s.fit_weights;
    s.result.atoms = s.fit_atoms;
    s.result.diverging = s.diverging;
    s.result.unidentified = s.free_features;
    s.result.start_values = s.start_values;
    s.result.start_kinds = s.start_kinds;
    s.result.starts_capacity = STARTS;
    s.classes = K;
    s.short_by = 0;
    s.null_workspace = 0;
    smx_run_options_init(&s.run_options, sizeof s.run_options);
    smx_inference_options_init(&s.inference_options, sizeof s.inference_options);
    smx_criteria_result_init(&s.criteria, sizeof s.criteria);
    s.first = 1;
    s.last = K;
    smx_scan_result_init(&s.scan, sizeof s.scan);
    s.scan.weights = s.scan_weights;
    s.scan.atoms = s.scan_atoms;
    s.scan.diverging = s.scan_diverging;
    s.scan.log_likelihoods = s.scan_values;
    s.scan.bic = s.bic;
    s.scan.outcomes = s.outcomes;
    s.scan.starts = s.scan_starts;
    s.scan.eigenvalues = s.eigenvalues;
    s.rank = L;
    s.sampling = 0;
    for (i = 0; i < D; i++)
        s.vector[i] = 1.0;
    smx_error_init(&record, sizeof record);
}

static void fail(const char *what, const char *name, smx_status wanted, smx_status got)
{
    printf("%s of %s: wanted %d, got %d (%s)\n", what, name, (int)wanted, (int)got, smx_status_message(got));
    failures++;
}

/* Runs an operation: its status, its record, and that a failure changes nothing. */
static void expect(const char *what, size_t op, smx_status wanted)
{
    static struct setup before;
    smx_status got;
    memcpy(&before, &s, sizeof s);
    got = RUN_IT[op]();
    checks++;
    if (got != wanted)
        fail(what, NAMES[op], wanted, got);
    if (record.status != got || (got == SMX_OK) != (record.argument[0] == 0))
        fail("record", what, got, record.status);
    if (got != SMX_OK && memcmp(&before, &s, sizeof s) != 0)
        fail("memory changed", what, wanted, got);
}

/* Every operation of `which` must answer `wanted` after `mutation`, and be well without it. */
#define REFUSE(which, wanted, mutation)                    \
    do {                                                   \
        size_t op_;                                        \
        for (op_ = 0; op_ < OPERATIONS; op_++) {                    \
            if ((which) & (1 << op_)) {                    \
                reset();                                   \
                mutation;                                  \
                expect(#mutation, op_, wanted);            \
            }                                              \
        }                                                  \
    } while (0)

#define ACCEPT(which, mutation) REFUSE(which, SMX_OK, mutation)

/* A NaN or an infinity at every place of an array. */
#define NAN_IN(which, wanted, array)                                                          \
    do {                                                                                      \
        size_t i_;                                                                            \
        for (i_ = 0; i_ < sizeof s.array / sizeof s.array[0]; i_++) {                         \
            REFUSE(which, wanted, s.array[i_] = NAN);                                         \
            REFUSE(which, wanted, s.array[i_] = INFINITY);                                    \
        }                                                                                     \
    } while (0)

#define NO_UNITS (s.data.units = 0, s.data.indptr = NULL, s.data.weights = NULL)
#define COUNTS_ONLY (s.data.choices = SMX_COUNTS, s.data.counts = s.row_counts, s.data.entries = 0, s.data.indices = NULL, NO_UNITS)
#define SINGLE (s.data.dtype = SMX_F32, s.data.features = s.single)

static void pointers(void)
{
    REFUSE(EVERY, SMX_NULL, s.data.features = NULL);
    REFUSE(EVERY, SMX_NULL, s.data.set_offsets = NULL);
    REFUSE(EVERY, SMX_NULL, s.data.indptr = NULL);
    REFUSE(EVERY, SMX_NULL, s.data.indices = NULL);
    REFUSE(EVERY - PROBABILITIES, SMX_INVALID_OPTION, s.data.choices = SMX_COUNTS; s.data.counts = NULL);
    REFUSE(EVERY - PROBABILITIES, SMX_NULL, s.data.choices = SMX_COUNTS; NO_UNITS; s.data.entries = 0; s.data.indices = NULL; s.data.counts = NULL);
    ACCEPT(PROBABILITIES, s.data.choices = SMX_COUNTS; s.data.counts = NULL);
    REFUSE(EVERY, SMX_NULL, s.data.choices = SMX_SPARSE_COUNTS; NO_UNITS; s.data.counts = NULL);
    REFUSE(EVERY, SMX_NULL, s.data.choices = SMX_SPARSE_COUNTS; NO_UNITS; s.data.indices = NULL);
    REFUSE(PENALIZED, SMX_NULL, s.evaluate_options.covariance = NULL);
    REFUSE(WHITEN | WHITENED, SMX_NULL, s.whitening.covariance = NULL);
    REFUSE(WHITEN | WHITENED, SMX_NULL, s.whitening.to_atoms = NULL);
    REFUSE(WHITEN | WHITENED, SMX_NULL, s.whitening.from_atoms = NULL);
    REFUSE(WHITEN | WHITENED, SMX_NULL, s.whitening.unidentified = NULL);
    REFUSE(FIT, SMX_NULL, s.result.weights = NULL);
    REFUSE(FIT, SMX_NULL, s.result.atoms = NULL);
    REFUSE(SCAN, SMX_NULL, s.scan.weights = NULL);
    REFUSE(SCAN, SMX_NULL, s.scan.atoms = NULL);
    REFUSE(SCAN, SMX_INVALID_OPTION, s.fit_options.start_weights = s.start_weights);
    REFUSE(SCAN, SMX_INVALID_OPTION, s.fit_options.start_atoms = s.start_atoms);
    REFUSE(FIT, SMX_NULL, s.fit_options.start_weights = s.start_weights);
    REFUSE(FIT, SMX_NULL, s.fit_options.start_atoms = s.start_atoms);
    REFUSE(WORKING, SMX_NULL, s.null_workspace = 1);
    ACCEPT(EVERY, s.data.offset = NULL);
    ACCEPT(EVERY, s.data.counts = NULL);
    ACCEPT(EVERY, s.data.weights = NULL);
    ACCEPT(EVERY, s.data.set_offsets = NULL; s.data.sets = 0);
    ACCEPT(EVERY, s.data.set_offsets = NULL; s.data.sets = 1);
    ACCEPT(EVERY, COUNTS_ONLY);
    ACCEPT(EVERY, COUNTS_ONLY; s.data.sets = 0; s.data.set_offsets = NULL; s.data.offset = NULL);
    ACCEPT(EVERY, SINGLE);
    ACCEPT(EVALUATE, s.evaluation.unit_log_likelihoods = NULL);
    ACCEPT(EVALUATE, s.evaluation.responsibilities = NULL);
    ACCEPT(EVALUATE, s.evaluation.weight_gradient = NULL);
    ACCEPT(EVALUATE, s.evaluation.atom_gradient = NULL);
    ACCEPT(PENALIZED, s.evaluate_options.ridge = 0; s.evaluate_options.covariance = NULL);
    ACCEPT(FIT, s.result.diverging = NULL);
    ACCEPT(FIT, s.result.unidentified = NULL);
    ACCEPT(FIT, s.result.start_values = NULL);
    ACCEPT(FIT, s.result.start_kinds = NULL);
    ACCEPT(FIT, s.result.start_values = NULL; s.result.start_kinds = NULL; s.result.starts_capacity = 0);

    REFUSE(EVERY, SMX_ALIGNMENT, s.data.features = (char *)s.features + 1);
    REFUSE(EVERY, SMX_ALIGNMENT, SINGLE; s.data.features = (char *)s.single + 2);
    REFUSE(EVERY, SMX_ALIGNMENT, s.data.offset = (double *)(void *)((char *)s.offset + 4));
    REFUSE(EVERY, SMX_ALIGNMENT, s.data.indices = (size_t *)(void *)((char *)s.indices + 1));
    REFUSE(EVERY, SMX_ALIGNMENT, s.data.counts = (double *)(void *)((char *)s.counts + 2));
    REFUSE(EVERY, SMX_ALIGNMENT, s.data.weights = (double *)(void *)((char *)s.unit_weights + 1));
    REFUSE(EVERY, SMX_ALIGNMENT, s.data.indptr = (size_t *)(void *)((char *)s.data.indptr + 1));
    REFUSE(EVERY, SMX_ALIGNMENT, s.data.set_offsets = (size_t *)(void *)((char *)s.set_offsets + 1));
    REFUSE(FIT, SMX_ALIGNMENT, s.result.atoms = (double *)(void *)((char *)s.fit_atoms + 1));
    REFUSE(FIT, SMX_ALIGNMENT, s.result.start_values = (double *)(void *)((char *)s.result.start_values + 1));
    REFUSE(SCAN, SMX_ALIGNMENT, s.scan.starts = (size_t *)(void *)((char *)s.scan_starts + 1));
    REFUSE(EVALUATE, SMX_ALIGNMENT, s.evaluation.responsibilities = (double *)(void *)((char *)s.responsibilities + 1));
    REFUSE(WHITEN | WHITENED, SMX_ALIGNMENT, s.whitening.to_atoms = (double *)(void *)((char *)s.whitening.to_atoms + 1));
}

static void sizes(void)
{
    static double many[(U + 1) * (L + 1)];
    static const size_t HUGE_SIZES[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2 + 1, SIZE_MAX / 8 + 1};
    size_t i;
    REFUSE(EVERY, SMX_EMPTY, s.data.rows = 0);
    REFUSE(EVERY, SMX_EMPTY, s.data.columns = 0);
    REFUSE(EVERY, SMX_EMPTY, s.data.sets = 0);
    REFUSE(EVERY, SMX_EMPTY, s.data.units = 0);
    REFUSE(EVERY, SMX_SHAPE, s.data.entries = E - 1);
    REFUSE(EVERY, SMX_EMPTY, s.data.choices = SMX_SPARSE_COUNTS; NO_UNITS; s.data.entries = 0);
    REFUSE(EVERY, SMX_SHAPE, s.data.sets = S - 1);
    REFUSE(EVERY, SMX_SHAPE, s.data.units = U - 1);
    REFUSE(EVERY, SMX_SHAPE, s.data.rows = P - 1; s.set_offsets[S] = P);
    REFUSE(MIXTURES | FIT, SMX_EMPTY, s.classes = 0);
    REFUSE(FIT, SMX_SHAPE, s.result.starts_capacity = STARTS - 1);
    REFUSE(WHITENED, SMX_SHAPE, s.whitening.columns = L - 1);
    REFUSE(WHITENED, SMX_OUT_OF_RANGE, s.whitening.rank = L + 1);
    REFUSE(CRITERIA, SMX_OUT_OF_RANGE, s.rank = L + 1);
    REFUSE(FIT, SMX_INVALID_OPTION, s.classes = 1; s.fit_options.grow_weights = s.start_weights; s.fit_options.grow_atoms = s.start_atoms);
    REFUSE(FIT, SMX_NULL, s.fit_options.grow_weights = s.start_weights);
    REFUSE(FIT, SMX_NOT_ON_SIMPLEX, s.fit_options.grow_weights = s.start_weights; s.fit_options.grow_atoms = s.start_atoms);
    ACCEPT(FIT, s.start_weights[0] = 1; s.fit_options.grow_weights = s.start_weights; s.fit_options.grow_atoms = s.start_atoms);
    REFUSE(WHITENED, SMX_OUT_OF_RANGE, s.whitening.rank = SIZE_MAX);
    REFUSE(SCAN, SMX_EMPTY, s.first = 0);
    REFUSE(SCAN, SMX_EMPTY, s.first = K + 1);
    REFUSE(SCAN, SMX_EMPTY, s.last = 0);
    REFUSE(SCAN, SMX_OUT_OF_RANGE, s.last = SMX_SCAN_MAX + 1);
    REFUSE(SCAN, SMX_INVALID_OPTION, s.fit_options.grow_weights = s.start_weights; s.fit_options.grow_atoms = s.start_atoms);
    ACCEPT(SCAN, s.first = 2; s.start_weights[0] = 1; s.fit_options.grow_weights = s.start_weights; s.fit_options.grow_atoms = s.start_atoms);
    for (i = 0; i < sizeof HUGE_SIZES / sizeof HUGE_SIZES[0]; i++) {
        size_t huge = HUGE_SIZES[i];
        REFUSE(EVERY, SMX_OVERFLOW, s.data.rows = huge);
        REFUSE(EVERY, SMX_OVERFLOW, s.data.columns = huge);
        REFUSE(EVERY, SMX_OVERFLOW, s.data.row_stride = huge);
        REFUSE(EVERY, SMX_OVERFLOW, s.data.column_stride = huge);
        REFUSE(EVERY, SMX_OVERFLOW, s.data.sets = huge);
        REFUSE(EVERY, SMX_OVERFLOW, s.data.units = huge);
        REFUSE(EVERY, SMX_OVERFLOW, s.data.entries = huge);
        REFUSE(MIXTURES, SMX_OVERFLOW, s.classes = huge);
        REFUSE(FITS, SMX_TOO_MANY_CLASSES, s.classes = s.first = s.last = huge);
        REFUSE(SCAN, SMX_TOO_MANY_CLASSES, s.first = huge - 1; s.last = huge);
        REFUSE(SCAN, SMX_OVERFLOW, s.fit_options.starts = huge);
        REFUSE(FIT, SMX_OVERFLOW, s.fit_options.starts = huge; s.result.starts_capacity = SIZE_MAX);
    }
    REFUSE(FIT, SMX_TOO_MANY_CLASSES, s.classes = U + 1; s.result.weights = many; s.result.atoms = many + U + 1;
           s.result.diverging = NULL);
    REFUSE(SCAN, SMX_TOO_MANY_CLASSES, s.first = s.last = U + 1; s.scan.weights = many; s.scan.atoms = many + U + 1;
           s.scan.diverging = NULL);
    /* Sizes that are not true make everything overlap: what is wrong is told all the same, and where. */
    REFUSE(FITS, SMX_TOO_MANY_CLASSES, s.classes = s.first = s.last = (size_t)1 << 31);
    REFUSE(FITS, SMX_OVERFLOW, COUNTS_ONLY; s.data.columns = 1; s.data.rows = SIZE_MAX / 32 + 1; s.data.sets = 0; s.data.set_offsets = NULL);
    REFUSE(FITS, SMX_OVERFLOW, COUNTS_ONLY; s.data.columns = 1; s.data.rows = SIZE_MAX / 32 + 1; s.data.sets = 0; s.data.set_offsets = NULL;
           s.classes = s.last = 1);
    REFUSE(SCAN, SMX_EMPTY, s.first = 3; s.last = 1);
    if (strcmp(record.argument, "last") != 0 || record.needed != 3 || record.given != 1)
        fail("place", "last", 0, 0);
    REFUSE(SCAN, SMX_EMPTY, s.first = 0);
    if (strcmp(record.argument, "first") != 0)
        fail("place", "first", 0, 0);
    REFUSE(WORKING, SMX_WORKSPACE, s.short_by = 1);
    REFUSE(WORKING, SMX_WORKSPACE, s.short_by = 100);
    REFUSE(WORKING, SMX_WORKSPACE, s.short_by = SIZE_MAX);
}

static void structs(void)
{
    REFUSE(EVERY, SMX_STRUCT_SIZE, s.data.struct_size = 0);
    REFUSE(EVERY, SMX_STRUCT_SIZE, s.data.struct_size = offsetof(smx_data, shard) - 1); /* shorter than its first version */
    REFUSE(EVERY, SMX_STRUCT_SIZE, s.data.struct_size = SIZE_MAX);
    REFUSE(EVERY, SMX_STRUCT_SIZE, s.data.struct_size += sizeof(size_t)); /* what follows is not zero */
    REFUSE(CHECK, SMX_STRUCT_SIZE, s.summary.struct_size--);
    REFUSE(CRITERIA, SMX_STRUCT_SIZE, s.criteria.struct_size--);
    REFUSE(PENALIZED, SMX_STRUCT_SIZE, s.evaluate_options.struct_size--);
    REFUSE(EVALUATE, SMX_STRUCT_SIZE, s.evaluation.struct_size--);
    REFUSE(WHITEN | WHITENED, SMX_STRUCT_SIZE, s.whitening.struct_size = 8);
    REFUSE(EM, SMX_STRUCT_SIZE, s.em_options.struct_size = 1);
    REFUSE(FITS, SMX_STRUCT_SIZE, s.fit_options.struct_size /= 2);
    REFUSE(FIT, SMX_STRUCT_SIZE, s.result.struct_size = 0);
    REFUSE(SCAN, SMX_STRUCT_SIZE, s.scan.struct_size = offsetof(smx_scan_result, eigenvalues) - 1);
    ACCEPT(SCAN, s.scan.struct_size = offsetof(smx_scan_result, eigenvalues); s.scan.eigenvalues = s.features);
    ACCEPT(SCAN, s.scan.struct_size = offsetof(smx_scan_result, noise)); /* a version between the first and this one */
    REFUSE(RUN, SMX_STRUCT_SIZE, s.run_options.struct_size--);
    REFUSE(INFERENCE, SMX_STRUCT_SIZE, s.inference_options.struct_size--);
    REFUSE(RUN, SMX_INVALID_OPTION, s.run_options.reserved = 7);
    REFUSE(PENALIZED, SMX_INVALID_OPTION, s.evaluate_options.reserved = 1);
    REFUSE(FITS, SMX_INVALID_OPTION, s.fit_options.reserved = -1);
    REFUSE(FITS, SMX_INVALID_OPTION, s.fit_options.reserved_end = 1);
    REFUSE(FITS, SMX_INVALID_OPTION, s.fit_options.single_phase = 2);
    ACCEPT(FITS, s.fit_options.single_phase = 1);
    {
        /* A later version of a struct: longer, and zero where this library knows nothing. */
        struct { smx_data data; size_t more[4]; } later;
        smx_error error;
        reset();
        smx_error_init(&error, sizeof error);
        if (smx_data_init(&later.data, sizeof later) != SMX_OK || later.data.struct_size != sizeof later || later.more[3] != 0)
            fail("init", "later struct", SMX_OK, SMX_STRUCT_SIZE);
        memcpy((char *)&later + sizeof(size_t), (char *)&s.data + sizeof(size_t), sizeof s.data - sizeof(size_t));
        if (smx_data_check(&later.data, NULL, &error) != SMX_OK)
            fail("check", "later struct", SMX_OK, error.status);
        later.more[2] = 1;
        if (smx_data_check(&later.data, NULL, &error) != SMX_STRUCT_SIZE)
            fail("check", "unknown field", SMX_STRUCT_SIZE, error.status);
    }
}

static void names(void)
{
    static const int32_t WRONG[] = {-1, 3, 5, 77, INT32_MAX, INT32_MIN};
    size_t i;
    /* A layout that was forgotten, with the fields of another. */
    REFUSE(EVERY, SMX_INVALID_OPTION, s.data.choices = SMX_COUNTS);
    REFUSE(EVERY, SMX_INVALID_OPTION, s.data.choices = SMX_COUNTS; NO_UNITS);
    REFUSE(EVERY, SMX_INVALID_OPTION, COUNTS_ONLY; s.data.units = 1);
    REFUSE(EVERY, SMX_INVALID_OPTION, COUNTS_ONLY; s.data.entries = 1);
    REFUSE(EVERY, SMX_INVALID_OPTION, s.data.choices = SMX_SPARSE_COUNTS);
    for (i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        REFUSE(EVERY, SMX_INVALID_OPTION, s.data.dtype = WRONG[i]);
        REFUSE(EVERY, SMX_INVALID_OPTION, s.data.choices = WRONG[i]);
        REFUSE(EM, SMX_INVALID_OPTION, s.em_options.m_step = WRONG[i]);
        REFUSE(INFERENCE, SMX_INVALID_OPTION, s.inference_options.variance = WRONG[i]);
        REFUSE(SCORES, SMX_INVALID_OPTION, s.sampling = WRONG[i]);
        if (WRONG[i] != 3) {
            REFUSE(PENALIZED, SMX_INVALID_OPTION, s.evaluate_options.isa = WRONG[i]);
            REFUSE(RUN, SMX_INVALID_OPTION, s.run_options.isa = WRONG[i]);
            REFUSE(INFERENCE, SMX_INVALID_OPTION, s.inference_options.isa = WRONG[i]);
            REFUSE(EM, SMX_INVALID_OPTION, s.em_options.isa = WRONG[i]);
            REFUSE(FITS, SMX_INVALID_OPTION, s.fit_options.isa = WRONG[i]);
        }
    }
    REFUSE(PENALIZED, SMX_INVALID_OPTION, s.evaluate_options.threads = 0);
    REFUSE(RUN, SMX_INVALID_OPTION, s.run_options.threads = 0);
    REFUSE(INFERENCE, SMX_INVALID_OPTION, s.inference_options.threads = 0);
    REFUSE(EM, SMX_INVALID_OPTION, s.em_options.threads = 0);
    REFUSE(FITS, SMX_INVALID_OPTION, s.fit_options.threads = 0);
    REFUSE(FITS, SMX_INVALID_OPTION, s.fit_options.max_evaluations = 0);
    REFUSE(FITS, SMX_INVALID_OPTION, s.fit_options.gradient_tolerance = 0);
    REFUSE(PENALIZED, SMX_INVALID_OPTION, s.evaluate_options.ridge = -1);
    REFUSE(INFERENCE, SMX_INVALID_OPTION, s.inference_options.ridge = -1);
    REFUSE(EM, SMX_INVALID_OPTION, s.em_options.ridge = -1);
    REFUSE(FITS, SMX_INVALID_OPTION, s.fit_options.ridge = -1);
}

static void contents(void)
{
    size_t i;
    NAN_IN(EVERY, SMX_NOT_FINITE, features);
    for (i = 0; i < P * L; i++)
        REFUSE(EVERY, SMX_NOT_FINITE, SINGLE; s.single[i] = -INFINITY);
    NAN_IN(EVERY, SMX_NOT_FINITE, offset);
    NAN_IN(EVERY, SMX_NOT_FINITE, counts);
    NAN_IN(EVERY, SMX_NOT_FINITE, unit_weights);
    NAN_IN(MIXTURES, SMX_NOT_FINITE, weights);
    NAN_IN(MIXTURES, SMX_NOT_FINITE, atoms);
    NAN_IN(PENALIZED | WHITENED, SMX_NOT_FINITE, covariance);
    NAN_IN(HESSIAN, SMX_NOT_FINITE, vector);
    NAN_IN(WHITENED, SMX_NOT_FINITE, to_atoms);
    NAN_IN(WHITENED, SMX_NOT_FINITE, from_atoms);
    for (i = 0; i < K; i++)
        REFUSE(FIT, SMX_NOT_FINITE, s.fit_options.start_weights = s.start_weights; s.fit_options.start_atoms = s.start_atoms;
               s.start_weights[i] = NAN);
    for (i = 0; i < K * L; i++)
        REFUSE(FIT, SMX_NOT_FINITE, s.fit_options.start_weights = s.start_weights; s.fit_options.start_atoms = s.start_atoms;
               s.start_atoms[i] = NAN);
    for (i = 0; i < P; i++)
        REFUSE(EVERY, SMX_NOT_FINITE, COUNTS_ONLY; s.row_counts[i] = NAN);
    REFUSE(PENALIZED, SMX_INVALID_OPTION, s.evaluate_options.ridge = NAN);
    REFUSE(INFERENCE, SMX_INVALID_OPTION, s.inference_options.ridge = NAN);
    REFUSE(EM, SMX_INVALID_OPTION, s.em_options.ridge = NAN);
    REFUSE(FITS, SMX_INVALID_OPTION, s.fit_options.ridge = INFINITY);
    REFUSE(FITS, SMX_INVALID_OPTION, s.fit_options.gradient_tolerance = NAN);

    REFUSE(EVERY, SMX_NEGATIVE, s.counts[3] = -1);
    REFUSE(EVERY, SMX_NEGATIVE, s.unit_weights[4] = -0.5);
    REFUSE(MIXTURES, SMX_NEGATIVE, s.weights[0] = -0.5; s.weights[1] = 1.5);
    REFUSE(MIXTURES, SMX_NOT_ON_SIMPLEX, s.weights[0] = 0.6);
    REFUSE(EVERY, SMX_OUT_OF_RANGE, s.indices[7] = P);
    REFUSE(EVERY, SMX_OUT_OF_RANGE, s.indices[0] = SIZE_MAX);
    REFUSE(EVERY, SMX_OUT_OF_RANGE, s.indptr[2] = 7);
    REFUSE(EVERY, SMX_OUT_OF_RANGE, s.indptr[0] = 1);
    REFUSE(EVERY, SMX_OUT_OF_RANGE, s.indptr[1] = SIZE_MAX);
    REFUSE(EVERY, SMX_EMPTY, s.indptr[1] = 0);
    REFUSE(EVERY, SMX_EMPTY, s.counts[0] = s.counts[1] = 0);
    REFUSE(EVERY, SMX_OUT_OF_RANGE, s.set_offsets[1] = 7);
    REFUSE(EVERY, SMX_EMPTY, s.set_offsets[1] = 6);
    REFUSE(EVERY, SMX_UNAVAILABLE, s.offset[s.indices[2]] = -INFINITY);
    REFUSE(EVERY, SMX_UNAVAILABLE, s.offset[0] = s.offset[1] = s.offset[2] = -INFINITY);
    REFUSE(EVERY, SMX_EMPTY, COUNTS_ONLY; memset(s.row_counts, 0, sizeof s.row_counts));
    ACCEPT(EVERY, s.offset[7] = -INFINITY);
    ACCEPT(EVERY, s.counts[2] = 0.25);
    ACCEPT(MIXTURES, s.weights[0] = 0; s.weights[1] = 1);

    /* The record names the place. */
    reset();
    s.features[3 * L + 1] = NAN;
    expect("place", 0, SMX_NOT_FINITE);
    if (strcmp(record.argument, "features") != 0 || record.row != 3 || record.column != 1 || record.class_index != SMX_NONE)
        fail("place", "features", 0, 0);
    {
        char text[80], cut[12];
        const char *full = "features: not a finite number at row 3, column 1";
        size_t n = smx_error_format(&record, text, sizeof text);
        if (n != strlen(full) || strcmp(text, full) != 0)
            fail("text", text, 0, 0);
        if (smx_error_format(&record, cut, sizeof cut) != n || strcmp(cut, "features: n") != 0)
            fail("text", "cut", 0, 0);
        if (smx_error_format(&record, NULL, 0) != n || smx_error_format(&record, NULL, 5) != 0)
            fail("text", "no buffer", 0, 0);
        {
            smx_error unset;
            memset(&unset, 0, sizeof unset);
            memset(text, 'x', sizeof text);
            if (smx_error_format(NULL, text, 5) != 0 || text[0] != 0 || text[1] != 'x')
                fail("text", "no record", 0, 0);
            memset(text, 'x', sizeof text);
            if (smx_error_format(&unset, text, sizeof text) != 0 || text[0] != 0 || text[1] != 'x')
                fail("text", "a record that was never set", 0, 0);
        }
        memset(record.argument, 'x', sizeof record.argument); /* no zero at the end */
        if (smx_error_format(&record, text, sizeof text) != 32 + n - 8)
            fail("text", "long name", 0, 0);
    }
    {
        char text[80];
        size_t j;
        REFUSE(FITS, SMX_OUT_OF_RANGE, s.features[1] = 1e200);
        if (!smx_error_format(&record, text, sizeof text) || strcmp(text, "features: squares beyond the range of numbers at column 1") != 0)
            fail("text", text, 0, 0);
        REFUSE(FITS, SMX_OUT_OF_RANGE, for (j = 0; j < P; j++) s.features[j * L] *= 1e-200);
        if (strcmp(record.argument, "features") != 0 || record.column != 0)
            fail("place", "squares", 0, 0);
    }
    /* Names are those of the header: of the field that the place is in. */
    {
        static const struct {
            const char *argument;
            size_t row;
        } wanted[] = {{"set_offsets", 2}, {"set_offsets", 1}, {"set_offsets", 2}, {"indptr", 0}, {"indices", 0}, {"counts", 1}};
        double x[4] = {0, 1, 2, 3}, counts[4] = {1, 1, 1, 1}, offset[4] = {0, -INFINITY, 0, 0};
        size_t offsets[3] = {0, 2, 4}, indptr[2] = {0, 1}, indices[1] = {1};
        for (i = 0; i < sizeof wanted / sizeof *wanted; i++) {
            smx_data data;
            smx_error_init(&record, sizeof record);
            smx_data_init(&data, sizeof data);
            data.features = x;
            data.rows = 4;
            data.columns = 1;
            data.counts = counts;
            if (i < 3) {
                offsets[1] = i == 1 ? 4 : i == 2 ? 5 : 2;
                offsets[2] = i == 0 ? 3 : 4;
                data.set_offsets = offsets;
                data.sets = 2;
            } else {
                if (i != 5) {
                    data.choices = SMX_UNITS;
                    data.units = 1;
                    data.entries = 1;
                    data.indptr = indptr;
                    data.indices = indices;
                }
                data.offset = i == 3 ? NULL : offset;
                counts[0] = i == 3 ? 0 : 1;
            }
            if (smx_data_check(&data, NULL, &record) == SMX_OK || strcmp(record.argument, wanted[i].argument) != 0 || record.row != wanted[i].row)
                fail("name", record.argument, (smx_status)i, 0);
        }
    }
    REFUSE(HESSIAN, SMX_NOT_FINITE, s.vector[0] = NAN);
    if (strcmp(record.argument, "vector") != 0 || record.row != 0)
        fail("name", record.argument, 0, 0);
    /* Second derivatives overflow where the log-likelihood does not. */
    {
        const double far[3] = {0, 1e110, 2e110}, many[3] = {1e200, 1e200, 1e200}, one = 1, atom = 0;
        double out = 5;
        static unsigned char room[1 << 17];
        smx_data data;
        smx_data_init(&data, sizeof data);
        data.features = far;
        data.rows = 3;
        data.columns = 1;
        data.counts = many;
        if (smx_hessian_vector(&data, 1, &one, &atom, &one, NULL, &out, room, sizeof room, NULL) != SMX_NOT_FINITE
            || smx_information(&data, 1, &one, &atom, NULL, &out, room, sizeof room, NULL) != SMX_NOT_FINITE
            || smx_score_products(&data, 1, &one, &atom, 0, NULL, &out, room, sizeof room, NULL) != SMX_NOT_FINITE || out < 5 || out > 5)
            fail("overflow", "second derivatives", SMX_NOT_FINITE, 0);
    }
    REFUSE(WORKING, SMX_WORKSPACE, s.short_by = 3);
    if (record.needed != record.given + 3)
        fail("needed and given", "workspace", 0, 0);
}

static void aliases(void)
{
    REFUSE(EVALUATE, SMX_ALIAS, s.evaluation.responsibilities = s.features);
    REFUSE(EVALUATE, SMX_ALIAS, s.evaluation.weight_gradient = s.weights);
    REFUSE(EVALUATE, SMX_ALIAS, s.evaluation.atom_gradient = s.atoms);
    REFUSE(EVALUATE, SMX_ALIAS, s.evaluation.unit_log_likelihoods = s.counts + E - 1);
    REFUSE(EVALUATE, SMX_ALIAS, s.evaluation.atom_gradient = s.responsibilities + 1);
    REFUSE(WHITEN, SMX_ALIAS, s.whitening.to_atoms = s.whitening.from_atoms);
    REFUSE(WHITEN, SMX_ALIAS, s.whitening.covariance = s.features + 1);
    REFUSE(EM, SMX_ALIAS, s.whitening.covariance = s.atoms);
    REFUSE(ERRORS, SMX_ALIAS, s.whitening.unidentified = (unsigned char *)s.atom_errors);
    REFUSE(INFORMATION, SMX_ALIAS, s.evaluate_options.covariance = s.information; memset(s.information, 0, sizeof s.information));
    REFUSE(SCAN, SMX_ALIAS, s.scan.weights = s.scan_atoms);
    REFUSE(SCAN, SMX_ALIAS, s.scan.bic = s.scan_values + 1);
    REFUSE(SCAN, SMX_ALIAS, s.scan.starts = s.indices);
    REFUSE(SCAN, SMX_ALIAS, s.scan.eigenvalues = s.scan_atoms);
    REFUSE(FIT, SMX_ALIAS, s.result.weights = s.fit_atoms);
    REFUSE(FIT, SMX_ALIAS, s.result.atoms = s.offset);
    REFUSE(FIT, SMX_ALIAS, s.result.diverging = (unsigned char *)&s.result);
    REFUSE(FIT, SMX_ALIAS, s.fit_options.start_weights = s.fit_weights; s.fit_options.start_atoms = s.start_atoms;
           s.fit_weights[0] = s.fit_weights[1] = 0.5);
    {
        /* Not even the record is written where it overlaps. */
        static unsigned char both[sizeof(smx_error) + 64];
        reset();
        memcpy(both, &record, sizeof record);
        s.summary.struct_size = sizeof s.summary;
        if (smx_data_check(&s.data, (smx_summary *)(void *)both, NULL) == SMX_OK)
            fail("alias", "a record for a summary", SMX_STRUCT_SIZE, 0);
        s.result.diverging = (unsigned char *)&record;
        if (op_fit() != SMX_ALIAS || memcmp(both, &record, sizeof record) != 0)
            fail("alias", "record", SMX_ALIAS, record.status);
    }
    {
        /* Results that are arguments by themselves. */
        static char room[1 << 20];
        static struct setup before;
        smx_status bad = SMX_ALIAS;
        size_t n = sizeof room;
        reset();
        memcpy(s.features, &s.criteria, sizeof s.criteria);
        memcpy(&before, &s, sizeof s);
        if (smx_choice_probabilities(&s.data, K, s.weights, s.atoms, NULL, s.features, NULL, room, n, NULL) != bad
            || smx_choice_probabilities(&s.data, K, s.weights, s.atoms, NULL, s.by_class, s.by_class + 1, room, n, NULL) != bad
            || smx_standard_errors(&s.data, &s.whitening, K, s.weights, s.atoms, NULL, s.weights, s.atom_errors, room, n, NULL) != bad
            || smx_covariance(&s.data, &s.whitening, K, s.weights, s.atoms, NULL, s.whitening.to_atoms, room, n, NULL) != bad
            || smx_information(&s.data, K, s.weights, s.atoms, NULL, s.counts, room, n, NULL) != bad
            || smx_score_products(&s.data, K, s.weights, s.atoms, 0, NULL, s.offset, room, n, NULL) != bad
            || smx_hessian_vector(&s.data, K, s.weights, s.atoms, s.vector, NULL, s.vector, room, n, NULL) != bad
            || smx_criteria(&s.data, K, s.weights, s.atoms, s.rank, NULL, (smx_criteria_result *)(void *)s.features, room, n, NULL) != bad
            || smx_em_step(&s.data, &s.whitening, K, NULL, s.weights, s.atoms, s.atoms, NULL, room, n, NULL) != bad
            || memcmp(&before, &s, sizeof s) != 0)
            fail("alias", "a result", bad, 0);
    }
    ACCEPT(EVERY, s.data.weights = s.counts); /* what is only read may overlap */
    {
        size_t size;
        void *memory;
        reset();
        size = smx_evaluate_workspace(&s.data, K);
        memory = malloc(size);
        s.evaluation.unit_log_likelihoods = memory;
        if (smx_evaluate(&s.data, K, s.weights, s.atoms, NULL, &s.evaluation, memory, size, NULL) != SMX_ALIAS)
            fail("alias", "workspace", SMX_ALIAS, 0);
        free(memory);
    }
}

static void arguments(void)
{
    char room[4096];
    smx_status bad;
    reset();
    if (smx_data_check(NULL, NULL, NULL) != SMX_NULL || smx_data_check(&s.data, NULL, NULL) != SMX_OK)
        fail("null", "check", 0, 0);
    bad = SMX_NULL;
    if (smx_evaluate(NULL, K, s.weights, s.atoms, NULL, &s.evaluation, room, sizeof room, NULL) != bad
        || smx_evaluate(&s.data, K, NULL, s.atoms, NULL, &s.evaluation, room, sizeof room, NULL) != bad
        || smx_evaluate(&s.data, K, s.weights, NULL, NULL, &s.evaluation, room, sizeof room, NULL) != bad
        || smx_evaluate(&s.data, K, s.weights, s.atoms, NULL, NULL, room, sizeof room, NULL) != bad
        || smx_whiten(NULL, NULL, &s.whitening, room, sizeof room, NULL) != bad
        || smx_whiten(&s.data, NULL, NULL, room, sizeof room, NULL) != bad
        || smx_em_step(NULL, &s.whitening, K, NULL, s.weights, s.atoms, NULL, NULL, room, sizeof room, NULL) != bad
        || smx_em_step(&s.data, NULL, K, NULL, s.weights, s.atoms, NULL, NULL, room, sizeof room, NULL) != bad
        || smx_em_step(&s.data, &s.whitening, K, NULL, NULL, s.atoms, NULL, NULL, room, sizeof room, NULL) != bad
        || smx_em_step(&s.data, &s.whitening, K, NULL, s.weights, NULL, NULL, NULL, room, sizeof room, NULL) != bad
        || smx_choice_probabilities(NULL, K, s.weights, s.atoms, NULL, s.by_class, NULL, room, sizeof room, NULL) != bad
        || smx_choice_probabilities(&s.data, K, NULL, s.atoms, NULL, s.by_class, NULL, room, sizeof room, NULL) != bad
        || smx_standard_errors(&s.data, NULL, K, s.weights, s.atoms, NULL, s.weight_errors, s.atom_errors, room, 9, NULL) != bad
        || smx_standard_errors(&s.data, &s.whitening, K, s.weights, s.atoms, NULL, NULL, s.atom_errors, room, 9, NULL) != bad
        || smx_standard_errors(&s.data, &s.whitening, K, s.weights, s.atoms, NULL, s.weight_errors, NULL, room, 9, NULL) != bad
        || smx_covariance(&s.data, NULL, K, s.weights, s.atoms, NULL, s.estimates, room, 9, NULL) != bad
        || smx_covariance(&s.data, &s.whitening, K, s.weights, s.atoms, NULL, NULL, room, 9, NULL) != bad
        || smx_information(&s.data, K, s.weights, s.atoms, NULL, NULL, room, sizeof room, NULL) != bad
        || smx_score_products(&s.data, K, s.weights, s.atoms, 0, NULL, NULL, room, sizeof room, NULL) != bad
        || smx_hessian_vector(&s.data, K, s.weights, s.atoms, NULL, NULL, s.product, room, sizeof room, NULL) != bad
        || smx_hessian_vector(&s.data, K, s.weights, s.atoms, s.vector, NULL, NULL, room, sizeof room, NULL) != bad
        || smx_criteria(NULL, K, s.weights, s.atoms, s.rank, NULL, &s.criteria, room, sizeof room, NULL) != bad
        || smx_criteria(&s.data, K, NULL, s.atoms, s.rank, NULL, &s.criteria, room, sizeof room, NULL) != bad
        || smx_criteria(&s.data, K, s.weights, s.atoms, s.rank, NULL, NULL, room, sizeof room, NULL) != bad
        || smx_scan(NULL, 1, K, NULL, &s.scan, room, sizeof room, NULL) != bad
        || smx_scan(&s.data, 1, K, NULL, NULL, room, sizeof room, NULL) != bad
        || smx_fit(NULL, K, NULL, &s.result, room, sizeof room, NULL) != bad
        || smx_fit(&s.data, K, NULL, NULL, room, sizeof room, NULL) != bad
        || smx_data_init(NULL, sizeof s.data) != bad || smx_summary_init(NULL, sizeof s.summary) != bad
        || smx_error_init(NULL, sizeof record) != bad || smx_evaluate_options_init(NULL, sizeof s.evaluate_options) != bad
        || smx_evaluation_init(NULL, sizeof s.evaluation) != bad || smx_whitening_init(NULL, sizeof s.whitening) != bad
        || smx_em_options_init(NULL, sizeof s.em_options) != bad || smx_fit_options_init(NULL, sizeof s.fit_options) != bad
        || smx_fit_result_init(NULL, sizeof s.result) != bad)
        fail("null", "an argument", bad, 0);
    bad = SMX_STRUCT_SIZE;
    if (smx_data_init(&s.data, offsetof(smx_data, shard) - 1) != bad || smx_data_init(&s.data, 0) != bad
        || smx_error_init(&record, sizeof record - 1) != bad || smx_fit_options_init(&s.fit_options, SIZE_MAX) != bad)
        fail("size", "init", bad, 0);
    /* Queries have no status: what no workspace has. */
    if (smx_evaluate_workspace(NULL, K) != SIZE_MAX || smx_fit_workspace(NULL, K, NULL) != SIZE_MAX
        || smx_em_step_workspace(NULL, K, NULL) != SIZE_MAX || smx_whiten_workspace(NULL) != SIZE_MAX
        || smx_fit_max_starts(NULL, K, NULL) != SIZE_MAX || smx_choice_probabilities_workspace(NULL, K) != SIZE_MAX
        || smx_standard_errors_workspace(NULL, K) != SIZE_MAX || smx_information_workspace(NULL, K) != SIZE_MAX
        || smx_hessian_vector_workspace(NULL, K) != SIZE_MAX || smx_covariance_workspace(NULL, K) != SIZE_MAX
        || smx_criteria_workspace(NULL, K) != SIZE_MAX || smx_scan_workspace(NULL, 1, K, NULL) != SIZE_MAX)
        fail("null", "a query", 0, 0);
    reset();
    s.data.rows = SIZE_MAX;
    if (smx_evaluate_workspace(&s.data, K) != SIZE_MAX || smx_fit_workspace(&s.data, K, NULL) != SIZE_MAX
        || smx_em_step_workspace(&s.data, K, NULL) != SIZE_MAX)
        fail("overflow", "rows in a query", 0, 0);
    reset();
    s.data.columns = SIZE_MAX / 2;
    if (smx_evaluate_workspace(&s.data, K) != SIZE_MAX || smx_fit_workspace(&s.data, K, NULL) != SIZE_MAX
        || smx_em_step_workspace(&s.data, K, NULL) != SIZE_MAX || smx_whiten_workspace(&s.data) != SIZE_MAX)
        fail("overflow", "columns in a query", 0, 0);
    reset();
    if (smx_evaluate_workspace(&s.data, SIZE_MAX) != SIZE_MAX || smx_fit_workspace(&s.data, SIZE_MAX, NULL) != SIZE_MAX
        || smx_em_step_workspace(&s.data, SIZE_MAX, NULL) != SIZE_MAX)
        fail("overflow", "classes in a query", 0, 0);
    if (smx_covariance_workspace(&s.data, SIZE_MAX / 3) != SIZE_MAX || smx_covariance_workspace(&s.data, (size_t)1 << 31) != SIZE_MAX
        || smx_standard_errors_workspace(&s.data, SIZE_MAX) != SIZE_MAX || smx_information_workspace(&s.data, SIZE_MAX / 3) != SIZE_MAX
        || smx_hessian_vector_workspace(&s.data, SIZE_MAX) != SIZE_MAX || smx_choice_probabilities_workspace(&s.data, SIZE_MAX) != SIZE_MAX)
        fail("overflow", "classes in a query", 0, 0);
    /* Nothing at all is a size like any other for a query. */
    reset();
    s.data.rows = s.data.columns = s.data.sets = s.data.units = s.data.entries = 0;
    s.data.features = NULL;
    (void)smx_evaluate_workspace(&s.data, 0);
    (void)smx_fit_workspace(&s.data, 0, NULL);
    (void)smx_fit_max_starts(&s.data, 0, NULL);
    (void)smx_scan_workspace(&s.data, 0, 0, NULL);
    (void)smx_scan_workspace(&s.data, 1, 2, NULL);
    (void)smx_em_step_workspace(&s.data, 0, NULL);
    (void)smx_whiten_workspace(&s.data);
    (void)smx_information_workspace(&s.data, 0);
    (void)smx_hessian_vector_workspace(&s.data, 0);
    (void)smx_standard_errors_workspace(&s.data, 0);
    (void)smx_covariance_workspace(&s.data, 0);
    (void)smx_choice_probabilities_workspace(&s.data, 0);
    (void)smx_criteria_workspace(&s.data, 0);
    (void)smx_estimate_workspace(&s.data, 0, NULL);
    (void)smx_subspace_workspace(&s.data);
    (void)smx_latent_moments_workspace(&s.data, 0, 0);
    (void)smx_latent_tensors_workspace(&s.data, 1);
    (void)smx_cross_moments_workspace(&s.data, 0);
    (void)smx_third_moments_workspace(&s.data, 0);
    reset();
    /* Queries look at sizes alone. */
    {
        size_t before = smx_fit_workspace(&s.data, K, &s.fit_options);
        s.data.features = NULL;
        s.data.indptr = s.data.indices = s.data.set_offsets = NULL;
        s.data.counts = s.data.weights = s.data.offset = NULL;
        if (smx_fit_workspace(&s.data, K, &s.fit_options) != before || before == SIZE_MAX)
            fail("purity", "smx_fit_workspace", 0, 0);
    }
    /* A record that is itself wrong. */
    reset();
    record.struct_size = 3;
    if (smx_data_check(&s.data, NULL, &record) != SMX_STRUCT_SIZE || record.struct_size != 3)
        fail("size", "record", SMX_STRUCT_SIZE, 0);
    /* Any number has a message. */
    if (!smx_status_message(SMX_OK)[0] || !smx_status_message(-12345)[0] || !smx_status_message(INT32_MIN)[0])
        fail("message", "status", 0, 0);
}

/* Any alignment of the workspace gives the same answer. */
static void alignments(void)
{
    size_t size, shift;
    unsigned char *memory;
    double first = 0;
    reset();
    size = smx_evaluate_workspace(&s.data, K);
    for (shift = 0; shift < 130; shift++) {
        memory = malloc(size + shift);
        if (smx_evaluate(&s.data, K, s.weights, s.atoms, NULL, &s.evaluation, memory + shift, size, NULL) != SMX_OK)
            fail("alignment", "evaluate", SMX_OK, 1);
        if (shift == 0)
            first = s.evaluation.log_likelihood;
        if (s.evaluation.log_likelihood != first)
            fail("alignment", "changes the answer", SMX_OK, 1);
        free(memory);
    }
}

static void cancellation(void)
{
    int calls = 0;
    reset();
    s.fit_options.progress = cancel;
    s.fit_options.user = &calls;
    expect("cancel at once", 4, SMX_OK);
    if (s.result.outcome != SMX_CANCELLED || calls != 1)
        fail("outcome", "cancelled fit", SMX_CANCELLED, s.result.outcome);
    if (!isfinite(s.result.log_likelihood) || !isfinite(s.fit_atoms[0]) || fabs(s.fit_weights[0] + s.fit_weights[1] - 1) > 1e-12)
        fail("result", "cancelled fit", 0, 0);
    reset();
    calls = 0;
    s.fit_options.progress = cancel;
    s.fit_options.user = &calls;
    expect("cancel at once", 11, SMX_OK);
    if (s.scan.fits != 1 || s.outcomes[0] != SMX_CANCELLED || calls != 1 || s.scan.best_bic != 1)
        fail("outcome", "cancelled scan", SMX_CANCELLED, s.outcomes[0]);
    reset();
    s.fit_options.starts = 1;
    s.fit_options.max_evaluations = 1;
    expect("one evaluation", 4, SMX_OK);
    if (s.result.outcome == SMX_CONVERGED || s.result.starts != 1)
        fail("outcome", "fit of one evaluation", SMX_ITERATION_LIMIT, s.result.outcome);
}

int main(void)
{
    ACCEPT(EVERY, (void)0);
    pointers();
    sizes();
    structs();
    names();
    contents();
    aliases();
    arguments();
    alignments();
    cancellation();
    printf("%d checks, %d failures\n", checks, failures);
    return failures ? 1 : 0;
}
