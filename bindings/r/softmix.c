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

/* An error of the library, thrown as R's own: with the names of R's arguments, and places counted from 1. Of a matrix of counts, which
 * softmix.R made into compressed rows, the place is in the matrix. */
static void check(smx_status status, smx_error *error, const smx_data *data, int matrix)
{
    /* The last four only of a matrix. */
    static const char *const names[][2] = {{"features", "x"}, {"rows", "x"}, {"columns", "x"}, {"set_offsets", "sets"},
                                           {"counts", "counts"}, {"indices", "counts"}, {"indptr", "counts"}, {"choices", "counts"}};
    const char *argument = error->argument, *name = argument;
    char text[256];
    size_t i, u = 0;
    if (status == SMX_OK)
        return;
    for (i = 0; i < (matrix ? 8 : 4); i++)
        if (strcmp(argument, names[i][0]) == 0)
            name = names[i][1];
    if (strcmp(argument, "choices") == 0 && data->indptr == NULL)
        name = "counts";
    if (matrix && (strcmp(argument, "counts") == 0 || strcmp(argument, "indices") == 0) && error->row < data->entries) {
        while (data->indptr[u + 1] <= error->row)
            u++;
        error->column = data->indices[error->row];
        error->row = u;
    }
    error->row += error->row != SMX_NONE;
    error->column += error->column != SMX_NONE;
    error->class_index += error->class_index != SMX_NONE;
    smx_error_format(error, text, sizeof text);
    Rf_errorcall(R_NilValue, "softmix: %s%s", name, text + strlen(argument));
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

static smx_data describe(SEXP x, SEXP counts, SEXP indptr, SEXP indices, SEXP weights, SEXP sets, SEXP offset)
{
    smx_data data;
    smx_data_init(&data, sizeof data);
    if (TYPEOF(x) != REALSXP || !Rf_isMatrix(x))
        Rf_errorcall(R_NilValue, "softmix: x: expected a matrix of doubles");
    data.features = REAL(x);
    data.rows = (size_t)Rf_nrows(x);
    data.columns = (size_t)Rf_ncols(x);
    data.row_stride = 1;
    data.column_stride = data.rows;
    data.offset = numbers(offset, (R_xlen_t)data.rows, "offset");
    if (sets != R_NilValue) {
        data.set_offsets = sizes(sets, 0, "sets");
        data.sets = XLENGTH(sets) > 0 ? (size_t)XLENGTH(sets) - 1 : 0;
    }
    if (indptr == R_NilValue) {
        data.counts = numbers(counts, (R_xlen_t)data.rows, "counts");
    } else {
        data.choices = SMX_UNITS;
        data.units = XLENGTH(indptr) > 0 ? (size_t)XLENGTH(indptr) - 1 : 0;
        data.entries = (size_t)XLENGTH(indices);
        data.indptr = sizes(indptr, 0, "indptr");
        data.indices = sizes(indices, 1, "indices");
        data.counts = numbers(counts, XLENGTH(indices), "counts");
        data.weights = numbers(weights, XLENGTH(indptr) - 1, "weights");
    }
    return data;
}

static void interrupted(void *nothing)
{
    (void)nothing;
    R_CheckUserInterrupt();
}

struct watch {
    SEXP call; /* progress(finished, drawn, best) */
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
        answer = R_tryEval(w->call, R_GlobalEnv, &failed);
        if (failed) {
            w->failed = 1;
            return 1;
        }
        w->ended = TYPEOF(answer) == LGLSXP && XLENGTH(answer) == 1 && LOGICAL(answer)[0] == 0;
    }
    return w->ended;
}

SEXP softmix_fit(SEXP x, SEXP counts, SEXP indptr, SEXP indices, SEXP weights, SEXP sets, SEXP offset, SEXP matrix, SEXP classes,
                 SEXP ridge, SEXP seed, SEXP starts, SEXP progress)
{
    static const char *const names[] = {"weights", "atoms", "log_likelihood", "outcome", "diverging", "unidentified", "starts", "at_best",
                                        ""};
    static const char *const outcomes[] = {"unknown", "converged", "iteration_limit", "stalled", "diverging", "cancelled"};
    smx_data data = describe(x, counts, indptr, indices, weights, sets, offset);
    size_t l = data.columns, kk = (size_t)whole(classes, 1, INT_MAX, "classes"), size, i, j;
    /* More classes than units are left to the call, which says so. */
    size_t room = kk <= (data.indptr ? data.units : data.rows) ? kk : 0;
    SEXP out = PROTECT(Rf_mkNamed(VECSXP, (const char **)names)), call = R_NilValue;
    struct watch state = {R_NilValue, 0, 0};
    smx_fit_options options;
    smx_fit_result result;
    smx_error error;
    double *atoms = (double *)(void *)R_alloc(room * l + 1, sizeof(double));
    unsigned char *diverging = (unsigned char *)R_alloc(room + 1, 1), *unidentified = (unsigned char *)R_alloc(l, 1);
    void *workspace;

    smx_error_init(&error, sizeof error);
    smx_fit_options_init(&options, sizeof options);
    options.ridge = single(ridge);
    if (!(options.ridge >= 0 && options.ridge < R_PosInf))
        Rf_errorcall(R_NilValue, "softmix: ridge: expected a number, at least 0");
    options.seed = (uint64_t)whole(seed, 0, 9e15, "seed");
    options.starts = (size_t)whole(starts, 0, INT_MAX, "starts");
    if (progress != R_NilValue)
        call = Rf_lang4(progress, R_NilValue, R_NilValue, R_NilValue);
    PROTECT(call);
    state.call = call;
    options.progress = watch;
    options.user = &state;
    SET_VECTOR_ELT(out, 0, Rf_allocVector(REALSXP, (R_xlen_t)room));
    SET_VECTOR_ELT(out, 1, Rf_allocMatrix(REALSXP, (int)room, (int)l));
    smx_fit_result_init(&result, sizeof result);
    result.weights = REAL(VECTOR_ELT(out, 0));
    result.atoms = atoms;
    result.diverging = diverging;
    result.unidentified = unidentified;
    size = room ? smx_fit_workspace(&data, kk, &options) : SMX_NONE;
    workspace = size == SMX_NONE ? NULL : R_alloc(size, 1);
    check(smx_fit(&data, kk, &options, &result, workspace, workspace ? size : 0, &error), &error, &data, Rf_asLogical(matrix));
    if (state.failed)
        Rf_errorcall(R_NilValue, "softmix: interrupted");
    for (i = 0; i < kk; i++)
        for (j = 0; j < l; j++)
            REAL(VECTOR_ELT(out, 1))[i + j * kk] = atoms[i * l + j];
    SET_VECTOR_ELT(out, 2, Rf_ScalarReal(result.log_likelihood));
    SET_VECTOR_ELT(out, 3, Rf_mkString(outcomes[result.outcome >= 0 && result.outcome <= 5 ? result.outcome : 0]));
    SET_VECTOR_ELT(out, 4, Rf_allocVector(LGLSXP, (R_xlen_t)kk));
    SET_VECTOR_ELT(out, 5, Rf_allocVector(LGLSXP, (R_xlen_t)l));
    for (i = 0; i < kk; i++)
        LOGICAL(VECTOR_ELT(out, 4))[i] = diverging[i];
    for (i = 0; i < l; i++)
        LOGICAL(VECTOR_ELT(out, 5))[i] = unidentified[i];
    SET_VECTOR_ELT(out, 6, Rf_ScalarReal((double)result.starts));
    SET_VECTOR_ELT(out, 7, Rf_ScalarReal((double)result.at_best));
    UNPROTECT(2);
    return out;
}

/* Posterior class probabilities, units x classes. `atoms` comes transposed: class after class. */
SEXP softmix_posterior(SEXP x, SEXP counts, SEXP indptr, SEXP indices, SEXP weights, SEXP sets, SEXP offset, SEXP matrix, SEXP alpha,
                       SEXP atoms)
{
    smx_data data = describe(x, counts, indptr, indices, weights, sets, offset);
    size_t k = (size_t)XLENGTH(alpha), u = data.choices == SMX_UNITS ? data.units : data.rows, size, i, j;
    double *r = (double *)(void *)R_alloc(u * k + 1, sizeof(double));
    SEXP out;
    smx_evaluation evaluation;
    smx_error error;
    void *workspace;
    smx_error_init(&error, sizeof error);
    smx_evaluation_init(&evaluation, sizeof evaluation);
    evaluation.responsibilities = r;
    size = smx_evaluate_workspace(&data, k);
    workspace = size == SMX_NONE ? NULL : R_alloc(size, 1);
    check(smx_evaluate(&data, k, numbers(alpha, (R_xlen_t)k, "weights"), numbers(atoms, (R_xlen_t)(k * data.columns), "atoms"), NULL,
                       &evaluation, workspace, workspace ? size : 0, &error), &error, &data, Rf_asLogical(matrix));
    out = PROTECT(Rf_allocMatrix(REALSXP, (int)u, (int)k));
    for (i = 0; i < u; i++)
        for (j = 0; j < k; j++)
            REAL(out)[i + j * u] = r[i * k + j];
    UNPROTECT(1);
    return out;
}
