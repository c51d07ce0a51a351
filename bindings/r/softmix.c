/* Softmax mixtures for R: what softmix.R calls. R's matrices are read where they are (column-major doubles); only indices are
 * converted, since R counts from 1 and in int. */
#define R_NO_REMAP
#define STRICT_R_HEADERS
#include <R.h>
#include <Rinternals.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "softmix.h"

/* Data, and whether the choices came as a matrix of counts, which softmix.R made into compressed rows. */
struct described {
    smx_data raw;
    int matrix;
};

/* An error of the library, thrown as R's own: with the names of R's arguments, and places counted from 1; of a matrix of counts the place
 * in the matrix. */
static void check(smx_status status, smx_error *error, const struct described *data)
{
    /* The last four only of a matrix. */
    static const char *const names[][2] = {{"features", "x"}, {"rows", "x"}, {"columns", "x"}, {"set_offsets", "sets"}, {"last", "classes"},
                                           {"start_weights", "init$weights"}, {"start_atoms", "init$atoms"},
                                           {"counts", "counts"}, {"indices", "counts"}, {"indptr", "counts"}, {"choices", "counts"}};
    size_t known = sizeof names / sizeof *names - (data->matrix ? 0 : 4);
    const smx_data *raw = &data->raw;
    char text[256], *argument = error->argument;
    size_t i, u = 0;
    if (status == SMX_OK)
        return;
    if (data->matrix && (strcmp(argument, "counts") == 0 || strcmp(argument, "indices") == 0) && error->row < raw->entries) {
        while (raw->indptr[u + 1] <= error->row)
            u++;
        error->column = raw->indices[error->row];
        error->row = u;
    }
    if (strcmp(argument, "choices") == 0 && raw->indptr == NULL)
        strcpy(argument, "counts");
    for (i = 0; i < known && strcmp(argument, names[i][0]) != 0; i++)
        ;
    if (i < known)
        strcpy(argument, names[i][1]);
    error->row += error->row != SMX_NONE;
    error->column += error->column != SMX_NONE;
    error->class_index += error->class_index != SMX_NONE;
    smx_error_format(error, text, sizeof text);
    Rf_errorcall(R_NilValue, "softmix: %s", text);
}

/* Memory that R takes back when the call ends, or where an error leaves it. */
static size_t *sizes(SEXP values, size_t shift, const char *name)
{
    R_xlen_t n = XLENGTH(values), i;
    size_t *out = (size_t *)(void *)R_alloc((size_t)n + 1, sizeof(size_t));
    for (i = 0; i < n; i++) {
        double x = TYPEOF(values) == INTSXP ? (INTEGER(values)[i] == NA_INTEGER ? -1.0 : INTEGER(values)[i]) : REAL(values)[i];
        if (!(x >= (double)shift && x < 9e15 && x == (double)(size_t)x))
            Rf_errorcall(R_NilValue, "softmix: %s: not an index at position %ld", name, (long)i + 1);
        out[i] = (size_t)x - shift;
    }
    return out;
}

static double *numbers(SEXP values, R_xlen_t n, const char *name)
{
    if (values == R_NilValue)
        return NULL;
    if (TYPEOF(values) != REALSXP || XLENGTH(values) != n)
        Rf_errorcall(R_NilValue, "softmix: %s: expected %ld numbers, got %ld", name, (long)n, (long)XLENGTH(values));
    return REAL(values);
}

/* A single number, or NaN. */
static double single(SEXP value)
{
    return (TYPEOF(value) == INTSXP || TYPEOF(value) == REALSXP) && XLENGTH(value) == 1 ? Rf_asReal(value) : R_NaN;
}

/* A single whole number in this range. */
static double whole(SEXP value, double least, double most, const char *name)
{
    double x = single(value);
    if (!(x >= least && x <= most && x == (double)(uint64_t)x))
        Rf_errorcall(R_NilValue, "softmix: %s: expected a whole number from %.0f to %.0f", name, least, most);
    return x;
}

static double at_least_zero(SEXP value, const char *name)
{
    double x = single(value);
    if (!(x >= 0 && x < R_PosInf))
        Rf_errorcall(R_NilValue, "softmix: %s: expected a number, at least 0", name);
    return x;
}

static int flag(SEXP value, const char *name)
{
    int x = TYPEOF(value) == LGLSXP && XLENGTH(value) == 1 ? LOGICAL(value)[0] : NA_LOGICAL;
    if (x == NA_LOGICAL)
        Rf_errorcall(R_NilValue, "softmix: %s: expected TRUE or FALSE", name);
    return x;
}

static size_t threads_of(SEXP value)
{
    return (size_t)whole(value, 1, INT_MAX, "threads");
}

/* What softmix.R describes: list(x, counts, indptr, indices, weights, sets, offset, whether the choices came as a matrix). */
static struct described describe(SEXP list)
{
    struct described data;
    smx_data *raw = &data.raw;
    SEXP x = VECTOR_ELT(list, 0), counts = VECTOR_ELT(list, 1), indptr = VECTOR_ELT(list, 2), indices = VECTOR_ELT(list, 3);
    SEXP weights = VECTOR_ELT(list, 4), sets = VECTOR_ELT(list, 5), offset = VECTOR_ELT(list, 6);
    smx_data_init(raw, sizeof *raw);
    data.matrix = Rf_asLogical(VECTOR_ELT(list, 7));
    if (TYPEOF(x) != REALSXP || !Rf_isMatrix(x))
        Rf_errorcall(R_NilValue, "softmix: x: expected a matrix of doubles");
    raw->features = REAL(x);
    raw->rows = (size_t)Rf_nrows(x);
    raw->columns = (size_t)Rf_ncols(x);
    raw->row_stride = 1;
    raw->column_stride = raw->rows;
    raw->offset = numbers(offset, (R_xlen_t)raw->rows, "offset");
    if (sets != R_NilValue) {
        raw->set_offsets = sizes(sets, 0, "sets");
        raw->sets = XLENGTH(sets) > 0 ? (size_t)XLENGTH(sets) - 1 : 0;
    }
    if (indptr == R_NilValue) {
        raw->counts = numbers(counts, (R_xlen_t)raw->rows, "counts");
    } else {
        raw->choices = SMX_UNITS;
        raw->units = XLENGTH(indptr) > 0 ? (size_t)XLENGTH(indptr) - 1 : 0;
        raw->entries = (size_t)XLENGTH(indices);
        raw->indptr = sizes(indptr, 0, "indptr");
        raw->indices = sizes(indices, 1, "indices");
        raw->counts = numbers(counts, XLENGTH(indices), "counts");
        raw->weights = numbers(weights, (R_xlen_t)raw->units, "weights");
    }
    return data;
}

static size_t units_of(const struct described *data)
{
    return data->raw.choices == SMX_UNITS ? data->raw.units : data->raw.rows;
}

/* Workspace that R takes back when the call ends; NULL, and no bytes of it, where it has no size: the call says why. */
static void *workspace_of(size_t *size)
{
    *size = *size == SMX_NONE ? 0 : *size;
    return *size > 0 ? R_alloc(*size, 1) : NULL;
}

static void interrupted(void *nothing)
{
    (void)nothing;
    R_CheckUserInterrupt();
}

struct watch {
    SEXP call; /* progress(finished, drawn, best, classes) */
    int failed, ended;
};

/* R must not jump out of the library: what it throws ends the fit first. */
static int32_t watch(const smx_progress *now, void *user)
{
    struct watch *w = user;
    if (!R_ToplevelExec(interrupted, NULL)) {
        w->failed = 1;
        return 1;
    }
    if (w->call != R_NilValue) {
        SEXP answer, a = CDR(w->call);
        int failed = 0;
        /* Numbers of their own for every call: the function may keep them. */
        SETCAR(a, Rf_ScalarReal((double)now->finished));
        SETCADR(a, Rf_ScalarReal((double)now->drawn));
        SETCADDR(a, Rf_ScalarReal(now->best));
        SETCADDDR(a, Rf_ScalarReal((double)now->classes));
        answer = R_tryEval(w->call, R_GlobalEnv, &failed);
        if (failed) {
            w->failed = 1;
            return 1;
        }
        w->ended = TYPEOF(answer) == LGLSXP && XLENGTH(answer) == 1 && LOGICAL(answer)[0] == 0;
    }
    return w->ended;
}

/* list(ridge, seed, starts, max_evaluations, gradient_tolerance, single_phase, threads, progress); the caller protects `state->call`. */
static smx_fit_options options_of(SEXP list, struct watch *state)
{
    smx_fit_options options;
    SEXP progress = VECTOR_ELT(list, 7);
    smx_fit_options_init(&options, sizeof options);
    options.ridge = at_least_zero(VECTOR_ELT(list, 0), "ridge");
    options.seed = (uint64_t)whole(VECTOR_ELT(list, 1), 0, 9e15, "seed");
    options.starts = (size_t)whole(VECTOR_ELT(list, 2), 0, INT_MAX, "starts");
    options.max_evaluations = (uint64_t)whole(VECTOR_ELT(list, 3), 0, 9e15, "max_evaluations");
    options.gradient_tolerance = at_least_zero(VECTOR_ELT(list, 4), "gradient_tolerance");
    options.single_phase = flag(VECTOR_ELT(list, 5), "single_phase");
    options.threads = threads_of(VECTOR_ELT(list, 6));
    state->call = progress == R_NilValue ? R_NilValue : Rf_lang5(progress, R_NilValue, R_NilValue, R_NilValue, R_NilValue);
    state->failed = state->ended = 0;
    options.progress = watch;
    options.user = state;
    return options;
}

static SEXP text_of(smx_outcome outcome)
{
    static const char *const outcomes[] = {"unknown", "converged", "iteration_limit", "stalled", "diverging", "cancelled"};
    return Rf_mkChar(outcomes[outcome >= 0 && outcome <= 5 ? outcome : 0]);
}

static SEXP flags_of(const unsigned char *flags, size_t n)
{
    SEXP out = Rf_allocVector(LGLSXP, (R_xlen_t)n);
    size_t i;
    for (i = 0; i < n; i++)
        LOGICAL(out)[i] = flags[i];
    return out;
}

static SEXP counts_of(const size_t *counts, size_t n)
{
    SEXP out = Rf_allocVector(REALSXP, (R_xlen_t)n);
    size_t i;
    for (i = 0; i < n; i++)
        REAL(out)[i] = (double)counts[i];
    return out;
}

/* An array of a result, of n numbers. */
static double *place(SEXP list, int at, size_t n)
{
    SET_VECTOR_ELT(list, at, Rf_allocVector(REALSXP, (R_xlen_t)n));
    return REAL(VECTOR_ELT(list, at));
}

/* Matrices come and go in the order of C, class after class: softmix.R turns them. `start`: NULL, or list(weights, atoms). */
SEXP softmix_fit(SEXP choices, SEXP classes, SEXP start, SEXP given)
{
    static const char *const names[] = {"weights", "atoms", "log_likelihood", "outcome", "diverging", "unidentified", "starts", "at_best",
                                        "penalized_log_likelihood", "rank", "evaluations", ""};
    struct described data = describe(choices);
    size_t l = data.raw.columns, k = (size_t)whole(classes, 1, INT_MAX, "classes"), size;
    /* More classes than units are left to the call, which says so. */
    size_t room = k <= units_of(&data) ? k : 0;
    SEXP out = PROTECT(Rf_mkNamed(VECSXP, (const char **)names));
    struct watch state;
    smx_fit_options options = options_of(given, &state);
    smx_fit_result result;
    smx_error error;
    void *workspace;

    PROTECT(state.call);
    if (start != R_NilValue) {
        options.start_weights = numbers(VECTOR_ELT(start, 0), (R_xlen_t)k, "init$weights");
        options.start_atoms = numbers(VECTOR_ELT(start, 1), (R_xlen_t)(k * l), "init$atoms");
    }
    smx_error_init(&error, sizeof error);
    smx_fit_result_init(&result, sizeof result);
    result.weights = place(out, 0, room);
    result.atoms = place(out, 1, room * l);
    result.diverging = (unsigned char *)R_alloc(room + 1, 1);
    result.unidentified = (unsigned char *)R_alloc(l + 1, 1);
    size = room ? smx_fit_workspace(&data.raw, k, &options) : 0;
    workspace = workspace_of(&size);
    check(smx_fit(&data.raw, k, &options, &result, workspace, size, &error), &error, &data);
    if (state.failed)
        Rf_errorcall(R_NilValue, "softmix: interrupted");
    SET_VECTOR_ELT(out, 2, Rf_ScalarReal(result.log_likelihood));
    SET_VECTOR_ELT(out, 3, Rf_ScalarString(text_of(result.outcome)));
    SET_VECTOR_ELT(out, 4, flags_of(result.diverging, k));
    SET_VECTOR_ELT(out, 5, flags_of(result.unidentified, l));
    SET_VECTOR_ELT(out, 6, Rf_ScalarReal((double)result.starts));
    SET_VECTOR_ELT(out, 7, Rf_ScalarReal((double)result.at_best));
    SET_VECTOR_ELT(out, 8, Rf_ScalarReal(result.penalized_log_likelihood));
    SET_VECTOR_ELT(out, 9, Rf_ScalarReal((double)result.rank));
    SET_VECTOR_ELT(out, 10, Rf_ScalarReal((double)result.evaluations));
    UNPROTECT(2);
    return out;
}

/* Weights and atoms of all fits stand one after another. */
SEXP softmix_scan(SEXP choices, SEXP from, SEXP to, SEXP given)
{
    static const char *const names[] = {"weights", "atoms", "diverging", "log_likelihood", "penalized_log_likelihood", "parameters", "aic",
                                        "bic", "icl", "outcome", "starts", "at_best", "eigenvalues", "noise", "suggested_classes",
                                        "best_aic", "best_bic", "best_icl", "rank", ""};
    struct described data = describe(choices);
    size_t l = data.raw.columns, first = (size_t)whole(from, 1, INT_MAX, "classes");
    size_t last = (size_t)whole(to, (double)first, INT_MAX, "classes");
    size_t n = last - first + 1, all, size, i;
    /* More classes than units, or fits than C takes, are left to the call. */
    int room = last <= units_of(&data) && n <= SMX_SCAN_MAX;
    SEXP out = PROTECT(Rf_mkNamed(VECSXP, (const char **)names)), outcomes;
    struct watch state;
    smx_fit_options options = options_of(given, &state);
    smx_scan_result result;
    smx_error error;
    void *workspace;

    PROTECT(state.call);
    n = room ? n : 0;
    all = room ? (last * (last + 1) - first * (first - 1)) / 2 : 0;
    smx_error_init(&error, sizeof error);
    smx_scan_result_init(&result, sizeof result);
    result.weights = place(out, 0, all);
    result.atoms = place(out, 1, all * l);
    result.diverging = (unsigned char *)R_alloc(all + 1, 1);
    result.log_likelihoods = place(out, 3, n);
    result.penalized_log_likelihoods = place(out, 4, n);
    result.aic = place(out, 6, n);
    result.bic = place(out, 7, n);
    result.icl = place(out, 8, n);
    result.eigenvalues = place(out, 12, l);
    result.parameters = (size_t *)(void *)R_alloc(n + 1, sizeof(size_t));
    result.starts = (size_t *)(void *)R_alloc(n + 1, sizeof(size_t));
    result.at_best = (size_t *)(void *)R_alloc(n + 1, sizeof(size_t));
    result.outcomes = (smx_outcome *)(void *)R_alloc(n + 1, sizeof(smx_outcome));
    size = room ? smx_scan_workspace(&data.raw, first, last, &options) : 0;
    workspace = workspace_of(&size);
    check(smx_scan(&data.raw, first, last, &options, &result, workspace, size, &error), &error, &data);
    if (state.failed)
        Rf_errorcall(R_NilValue, "softmix: interrupted");
    /* Fewer where progress ended it. */
    n = result.fits;
    last = first + n - 1;
    SET_VECTOR_ELT(out, 2, flags_of(result.diverging, (last * (last + 1) - first * (first - 1)) / 2));
    SET_VECTOR_ELT(out, 5, counts_of(result.parameters, n));
    outcomes = Rf_allocVector(STRSXP, (R_xlen_t)n);
    SET_VECTOR_ELT(out, 9, outcomes);
    for (i = 0; i < n; i++)
        SET_STRING_ELT(outcomes, (R_xlen_t)i, text_of(result.outcomes[i]));
    SET_VECTOR_ELT(out, 10, counts_of(result.starts, n));
    SET_VECTOR_ELT(out, 11, counts_of(result.at_best, n));
    SET_VECTOR_ELT(out, 13, Rf_ScalarReal(result.noise));
    SET_VECTOR_ELT(out, 14, Rf_ScalarReal((double)result.suggested_classes));
    SET_VECTOR_ELT(out, 15, Rf_ScalarReal((double)result.best_aic));
    SET_VECTOR_ELT(out, 16, Rf_ScalarReal((double)result.best_bic));
    SET_VECTOR_ELT(out, 17, Rf_ScalarReal((double)result.best_icl));
    SET_VECTOR_ELT(out, 18, Rf_ScalarReal((double)result.rank));
    UNPROTECT(2);
    return out;
}

/* Posterior class probabilities, units x classes. */
SEXP softmix_posterior(SEXP choices, SEXP weights, SEXP atoms, SEXP threads)
{
    struct described data = describe(choices);
    size_t k = (size_t)XLENGTH(weights), size;
    const double *w = numbers(weights, (R_xlen_t)k, "weights"), *a = numbers(atoms, (R_xlen_t)(k * data.raw.columns), "atoms");
    SEXP out = PROTECT(Rf_allocVector(REALSXP, (R_xlen_t)(units_of(&data) * k)));
    smx_evaluate_options options;
    smx_evaluation evaluation;
    smx_error error;
    void *workspace;
    smx_error_init(&error, sizeof error);
    smx_evaluate_options_init(&options, sizeof options);
    options.threads = threads_of(threads);
    smx_evaluation_init(&evaluation, sizeof evaluation);
    evaluation.responsibilities = REAL(out);
    size = smx_evaluate_workspace(&data.raw, k);
    workspace = workspace_of(&size);
    check(smx_evaluate(&data.raw, k, w, a, &options, &evaluation, workspace, size, &error), &error, &data);
    UNPROTECT(1);
    return out;
}

/* Choice probabilities of the alternatives, and in each class: alternatives x classes. */
SEXP softmix_choice(SEXP choices, SEXP weights, SEXP atoms, SEXP threads)
{
    static const char *const names[] = {"mixed", "by_class", ""};
    struct described data = describe(choices);
    size_t k = (size_t)XLENGTH(weights), size;
    const double *w = numbers(weights, (R_xlen_t)k, "weights"), *a = numbers(atoms, (R_xlen_t)(k * data.raw.columns), "atoms");
    SEXP out = PROTECT(Rf_mkNamed(VECSXP, (const char **)names));
    double *mixed = place(out, 0, data.raw.rows), *by_class = place(out, 1, data.raw.rows * k);
    smx_run_options options;
    smx_error error;
    void *workspace;
    smx_error_init(&error, sizeof error);
    smx_run_options_init(&options, sizeof options);
    options.threads = threads_of(threads);
    size = smx_choice_probabilities_workspace(&data.raw, k);
    workspace = workspace_of(&size);
    check(smx_choice_probabilities(&data.raw, k, w, a, &options, by_class, mixed, workspace, size, &error), &error, &data);
    UNPROTECT(1);
    return out;
}

/* The covariance matrix of the weights and of the atoms, class after class. */
SEXP softmix_covariance(SEXP choices, SEXP weights, SEXP atoms, SEXP ridge, SEXP variance, SEXP threads)
{
    struct described data = describe(choices);
    size_t k = (size_t)XLENGTH(weights), l = data.raw.columns, all = k * (l + 1), size;
    const double *w = numbers(weights, (R_xlen_t)k, "weights"), *a = numbers(atoms, (R_xlen_t)(k * l), "atoms");
    SEXP out = PROTECT(Rf_allocMatrix(REALSXP, (int)all, (int)all));
    double *matrices = (double *)(void *)R_alloc(3 * l * l + 1, sizeof(double));
    smx_whitening whitening;
    smx_run_options run;
    smx_inference_options options;
    smx_error error;
    void *workspace;
    smx_error_init(&error, sizeof error);
    smx_whitening_init(&whitening, sizeof whitening);
    whitening.covariance = matrices;
    whitening.to_atoms = matrices + l * l;
    whitening.from_atoms = matrices + 2 * l * l;
    whitening.unidentified = (unsigned char *)R_alloc(l + 1, 1);
    smx_run_options_init(&run, sizeof run);
    smx_inference_options_init(&options, sizeof options);
    run.threads = options.threads = threads_of(threads);
    options.variance = (smx_variance)whole(variance, SMX_VARIANCE_INFORMATION, SMX_VARIANCE_ROBUST_SAMPLING, "variance");
    options.ridge = at_least_zero(ridge, "ridge");
    size = smx_whiten_workspace(&data.raw);
    workspace = workspace_of(&size);
    check(smx_whiten(&data.raw, &run, &whitening, workspace, size, &error), &error, &data);
    size = smx_covariance_workspace(&data.raw, k);
    workspace = workspace_of(&size);
    check(smx_covariance(&data.raw, &whitening, k, w, a, &options, REAL(out), workspace, size, &error), &error, &data);
    UNPROTECT(1);
    return out;
}
