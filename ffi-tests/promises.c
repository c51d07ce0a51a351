/* What the header says of results, one claim after another: each number that a function gives is computed here a second time, from the formula in its
 * comment or through another function. */
#include "softmix.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { P = 12, L = 2, S = 4, ROWS = P / S, U = 60, E = 2 * U, K = 2, D = K - 1 + K * L, LAST = 3, ALL = LAST * (LAST + 1) / 2, MOST = 64 };

static int failures;

#define REQUIRE(ok)                                          \
    do {                                                     \
        if (!(ok)) {                                         \
            printf("line %d: not so: %s\n", __LINE__, #ok);  \
            failures++;                                      \
        }                                                    \
    } while (0)
#define WELL(call) REQUIRE((call) == SMX_OK)

static int close_to(double a, double b, double tolerance)
{
    return fabs(a - b) <= tolerance * (1 + fabs(b));
}

/* Memory that nobody but the library uses: counted where the C library lets a program take its place. */
static long allocations;
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
void *malloc(size_t n) { allocations++; return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { allocations++; return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { allocations++; return __libc_realloc(p, n); }
int posix_memalign(void **p, size_t alignment, size_t n)
{
    allocations++;
    *p = __libc_memalign(alignment, n);
    return *p == NULL;
}
#define COUNTED 1
#else
#define COUNTED 0
#endif

static double noise(void)
{
    static unsigned state = 1;
    state = state * 1664525u + 1013904223u;
    return (double)(state >> 8) / 16777216.0 - 0.5;
}

static unsigned char workspace[1 << 22];
static double x[P * L], offset[P], counts[E], unit_weights[U];
static size_t set_offsets[S + 1], indptr[U + 1], indices[E];
static double weights[K] = {0.7, 0.3}, atoms[K * L] = {0.5, -0.2, -0.6, 0.4};
static double covariance[L * L], to_atoms[L * L], from_atoms[L * L];
static unsigned char unidentified[L];

/* Sixty people who chose twice among four sets of three alternatives. */
static smx_data panel(void)
{
    smx_data data;
    size_t i, u;
    for (i = 0; i < P * L; i++)
        x[i] = 4 * noise();
    for (i = 0; i < P; i++)
        offset[i] = noise();
    for (i = 0; i <= S; i++)
        set_offsets[i] = ROWS * i;
    for (u = 0; u <= U; u++)
        indptr[u] = 2 * u;
    for (i = 0; i < E; i++) {
        indices[i] = (7 * i + i * i / 5) % P;
        counts[i] = 1 + (double)(i % 3);
    }
    for (u = 0; u < U; u++)
        unit_weights[u] = 0.5 + (double)(u % 4);
    smx_data_init(&data, sizeof data);
    data.features = x;
    data.choices = SMX_UNITS;
    data.rows = P;
    data.columns = L;
    data.offset = offset;
    data.set_offsets = set_offsets;
    data.sets = S;
    data.units = U;
    data.entries = E;
    data.indptr = indptr;
    data.indices = indices;
    data.counts = counts;
    data.weights = unit_weights;
    return data;
}

static void *room(size_t size)
{
    REQUIRE(size <= sizeof workspace);
    memset(workspace, 0xFF, sizeof workspace); /* any contents */
    return workspace;
}

static double value_at(const smx_data *data, const double *w, const double *a, double *unit, double *r, double *gw, double *ga)
{
    smx_evaluation out;
    size_t size = smx_evaluate_workspace(data, K);
    smx_evaluation_init(&out, sizeof out);
    out.unit_log_likelihoods = unit;
    out.responsibilities = r;
    out.weight_gradient = gw;
    out.atom_gradient = ga;
    WELL(smx_evaluate(data, K, w, a, NULL, &out, room(size), size, NULL));
    REQUIRE(out.penalized_log_likelihood == out.log_likelihood);
    return out.log_likelihood;
}

static void versions(void)
{
    static const smx_status STATUSES[] = {SMX_OK, SMX_NOT_FINITE, SMX_NEGATIVE, SMX_EMPTY, SMX_SHAPE, SMX_OUT_OF_RANGE, SMX_OVERFLOW,
        SMX_TOO_MANY_CLASSES, SMX_NOT_ON_SIMPLEX, SMX_WORKSPACE, SMX_INVALID_OPTION, SMX_UNSUPPORTED, SMX_ILL_POSED, SMX_UNAVAILABLE, SMX_REMOTE,
        SMX_REDUCTION, SMX_DISAGREEMENT, SMX_NULL, SMX_ALIGNMENT, SMX_ALIAS, SMX_STRUCT_SIZE, SMX_PANIC, -12345};
    char text[40];
    size_t i, j;
    REQUIRE(smx_version() == SMX_VERSION_MAJOR * 1000000 + SMX_VERSION_MINOR * 1000 + SMX_VERSION_PATCH);
    sprintf(text, "%d.%d.%d", SMX_VERSION_MAJOR, SMX_VERSION_MINOR, SMX_VERSION_PATCH);
    REQUIRE(strcmp(text, smx_version_string()) == 0);
    for (i = 0; i < sizeof STATUSES / sizeof *STATUSES; i++) {
        REQUIRE(smx_status_message(STATUSES[i])[0] != 0 && smx_status_message(STATUSES[i]) == smx_status_message(STATUSES[i]));
        for (j = 0; j < i; j++)
            REQUIRE(strcmp(smx_status_message(STATUSES[i]), smx_status_message(STATUSES[j])) != 0);
    }
}

/* P(i | class) by the formula of the header. */
static double probability(size_t i, const double *a)
{
    size_t first = i - i % ROWS, j;
    double sum = 0;
    for (j = first; j < first + ROWS; j++)
        sum += exp(offset[j] + x[j * L] * a[0] + x[j * L + 1] * a[1]);
    return exp(offset[i] + x[i * L] * a[0] + x[i * L + 1] * a[1]) / sum;
}

/* Alternatives that nobody has chosen from have the probabilities of those with counts of one: in choice sets, and in one. */
static void without_choices(const smx_data *data)
{
    double ones[P], by_class[2][P * K], mixed[2][P];
    smx_data d = *data;
    smx_error error;
    size_t size, set, i;
    for (i = 0; i < P; i++)
        ones[i] = offset[i] > -INFINITY ? 1.0 : 0.0;
    d.choices = SMX_COUNTS;
    d.indptr = d.indices = NULL;
    d.weights = NULL;
    d.units = d.entries = 0;
    for (set = 0; set < 2; set++) {
        d.counts = NULL;
        size = smx_choice_probabilities_workspace(&d, K);
        WELL(smx_choice_probabilities(&d, K, weights, atoms, NULL, by_class[0], mixed[0], room(size), size, NULL));
        smx_error_init(&error, sizeof error);
        REQUIRE(smx_data_check(&d, NULL, &error) == SMX_NULL && !strcmp(error.argument, "counts"));
        d.counts = ones;
        WELL(smx_choice_probabilities(&d, K, weights, atoms, NULL, by_class[1], mixed[1], room(size), size, NULL));
        REQUIRE(!memcmp(by_class[0], by_class[1], sizeof by_class[0]) && !memcmp(mixed[0], mixed[1], sizeof mixed[0]));
        d.set_offsets = NULL;
        d.sets = 1;
    }
}

static void evaluation(const smx_data *data)
{
    double unit[U], r[U * K], gw[K], ga[K * L], by_class[P * K], mixed[P], total = 0, all_choices = 0, all_weight = 0, value, h = 1e-6;
    size_t u, e, k, i, size;
    smx_summary summary;
    value = value_at(data, weights, atoms, unit, r, gw, ga);
    for (u = 0; u < U; u++) {
        double p[K] = {1, 1};
        for (e = indptr[u]; e < indptr[u + 1]; e++)
            for (k = 0; k < K; k++)
                p[k] *= pow(probability(indices[e], atoms + k * L), counts[e]);
        REQUIRE(close_to(unit[u], log(weights[0] * p[0] + weights[1] * p[1]), 1e-12));
        REQUIRE(close_to(r[u * K], weights[0] * p[0] / (weights[0] * p[0] + weights[1] * p[1]), 1e-12));
        REQUIRE(close_to(r[u * K] + r[u * K + 1], 1, 1e-14));
        total += unit_weights[u] * unit[u];
        all_weight += unit_weights[u];
        all_choices += unit_weights[u] * (counts[indptr[u]] + counts[indptr[u] + 1]);
    }
    REQUIRE(close_to(value, total, 1e-12));
    /* Gradients by differences: of the atoms, and of the log-odds. */
    for (i = 0; i < K * L; i++) {
        double above[K * L], below[K * L];
        memcpy(above, atoms, sizeof above);
        memcpy(below, atoms, sizeof below);
        above[i] += h;
        below[i] -= h;
        REQUIRE(close_to(ga[i], (value_at(data, weights, above, NULL, NULL, NULL, NULL) - value_at(data, weights, below, NULL, NULL, NULL, NULL)) / (2 * h), 1e-6));
    }
    {
        double odds = log(weights[0] / weights[1]), above[K], below[K];
        above[0] = 1 / (1 + exp(-odds - h));
        above[1] = 1 - above[0];
        below[0] = 1 / (1 + exp(-odds + h));
        below[1] = 1 - below[0];
        REQUIRE(close_to(gw[0], (value_at(data, above, atoms, NULL, NULL, NULL, NULL) - value_at(data, below, atoms, NULL, NULL, NULL, NULL)) / (2 * h), 1e-6));
        REQUIRE(fabs(gw[0] + gw[1]) < 1e-10);
    }
    smx_summary_init(&summary, sizeof summary);
    WELL(smx_data_check(data, &summary, NULL));
    REQUIRE(summary.units == U && summary.observed_units == U && summary.sets == S);
    REQUIRE(close_to(summary.total_weight, all_weight, 1e-14) && close_to(summary.total_choices, all_choices, 1e-14));
    size = smx_choice_probabilities_workspace(data, K);
    WELL(smx_choice_probabilities(data, K, weights, atoms, NULL, by_class, mixed, room(size), size, NULL));
    for (i = 0; i < P; i++) {
        for (k = 0; k < K; k++)
            REQUIRE(close_to(by_class[i * K + k], probability(i, atoms + k * L), 1e-13));
        REQUIRE(close_to(mixed[i], weights[0] * by_class[i * K] + weights[1] * by_class[i * K + 1], 1e-14));
    }
    without_choices(data);
    offset[indices[0] == 0 ? 1 : 0] = -INFINITY;
    without_choices(data);
    if (smx_data_check(data, NULL, NULL) == SMX_UNAVAILABLE) {
        /* Somebody chose it: of probabilities this is no matter of the choices, which are checked all the same. */
        REQUIRE(smx_choice_probabilities(data, K, weights, atoms, NULL, by_class, mixed, workspace, size, NULL) == SMX_UNAVAILABLE);
    }
    offset[indices[0] == 0 ? 1 : 0] = 0.25;
}

/* The same features side by side by rows, by columns, apart, in float; the same choices as counts, sparse counts and units of one choice each. */
static void layouts(const smx_data *rows)
{
    double columns[P * L], apart[P * 5 * L], row_counts[P], entry_counts[P], unit[P];
    float single[P * L];
    size_t i, l, each[P], ends[P + 1];
    double value = value_at(rows, weights, atoms, NULL, NULL, NULL, NULL);
    smx_data data = *rows;
    for (i = 0; i < P; i++) {
        for (l = 0; l < L; l++) {
            columns[l * P + i] = apart[i * 5 * L + 3 * l] = x[i * L + l];
            single[i * L + l] = (float)x[i * L + l];
        }
        each[i] = i;
        ends[i] = i;
        row_counts[i] = entry_counts[i] = (double)(1 + i % 4);
    }
    ends[P] = P;
    data.features = columns;
    data.row_stride = 1;
    data.column_stride = P;
    REQUIRE(close_to(value_at(&data, weights, atoms, NULL, NULL, NULL, NULL), value, 1e-13));
    data.features = apart;
    data.row_stride = 5 * L;
    data.column_stride = 3;
    REQUIRE(close_to(value_at(&data, weights, atoms, NULL, NULL, NULL, NULL), value, 1e-13));
    data.features = single;
    data.dtype = SMX_F32;
    data.row_stride = data.column_stride = 0;
    REQUIRE(close_to(value_at(&data, weights, atoms, NULL, NULL, NULL, NULL), value, 1e-6));
    /* Draws of a count are units of their own; U is p. */
    data = *rows;
    data.choices = SMX_COUNTS;
    data.counts = row_counts;
    data.weights = NULL;
    data.indptr = data.indices = NULL;
    data.units = data.entries = 0;
    value = value_at(&data, weights, atoms, unit, NULL, NULL, NULL);
    REQUIRE(close_to(unit[3], log(weights[0] * probability(3, atoms) + weights[1] * probability(3, atoms + L)), 1e-12));
    data.choices = SMX_SPARSE_COUNTS;
    data.entries = P;
    data.indices = each;
    data.counts = entry_counts;
    REQUIRE(close_to(value_at(&data, weights, atoms, NULL, NULL, NULL, NULL), value, 1e-13));
    data.choices = SMX_UNITS;
    data.units = P;
    data.indptr = ends;
    data.counts = NULL; /* ones */
    data.weights = row_counts;
    REQUIRE(close_to(value_at(&data, weights, atoms, NULL, NULL, NULL, NULL), value, 1e-13));
}

static void whiten(const smx_data *data, smx_whitening *whitening)
{
    size_t size = smx_whiten_workspace(data);
    smx_whitening_init(whitening, sizeof *whitening);
    whitening->covariance = covariance;
    whitening->to_atoms = to_atoms;
    whitening->from_atoms = from_atoms;
    whitening->unidentified = unidentified;
    WELL(smx_whiten(data, NULL, whitening, room(size), size, NULL));
}

static void whitenings(const smx_data *data, smx_whitening *whitening)
{
    double s[L * L] = {0}, kept[P];
    size_t i, j, a, b;
    for (i = 0; i < P; i += ROWS)
        for (a = 0; a < L; a++)
            for (b = 0; b < L; b++) {
                double ma = 0, mb = 0;
                for (j = i; j < i + ROWS; j++) {
                    ma += x[j * L + a] / ROWS;
                    mb += x[j * L + b] / ROWS;
                }
                for (j = i; j < i + ROWS; j++)
                    s[a * L + b] += (x[j * L + a] - ma) * (x[j * L + b] - mb) / P;
            }
    whiten(data, whitening);
    REQUIRE(whitening->rank == L && whitening->columns == L && !unidentified[0] && !unidentified[1]);
    for (a = 0; a < L; a++)
        for (b = 0; b < L; b++) {
            double identity = 0, unit = 0;
            REQUIRE(close_to(covariance[a * L + b], s[a * L + b], 1e-12));
            for (i = 0; i < L; i++) {
                identity += from_atoms[a * L + i] * to_atoms[b * L + i];
                for (j = 0; j < L; j++)
                    unit += to_atoms[a * L + i] * s[i * L + j] * to_atoms[b * L + j];
            }
            REQUIRE(close_to(identity, a == b, 1e-12)); /* there and back */
            REQUIRE(close_to(unit, a == b, 1e-12));     /* whitened features have the identity for their covariance */
        }
    /* A feature that is constant inside every choice set, and one that is twice the other. */
    for (i = 0; i < P; i++) {
        kept[i] = x[i * L + 1];
        x[i * L + 1] = (double)(i / ROWS);
    }
    whiten(data, whitening);
    REQUIRE(whitening->rank == 1 && !unidentified[0] && unidentified[1]);
    for (i = 0; i < P; i++)
        x[i * L + 1] = 2 * x[i * L];
    whiten(data, whitening);
    REQUIRE(whitening->rank == 1 && unidentified[0] && unidentified[1]);
    for (i = 0; i < P; i++)
        x[i * L + 1] = kept[i];
    whiten(data, whitening);
}

static void steps(const smx_data *data, const smx_whitening *whitening)
{
    smx_em_options options;
    smx_m_step form;
    for (form = SMX_M_STEP_GRADIENT; form <= SMX_M_STEP_CONVERGED; form++) {
        double w[K], a[K * L], last = -INFINITY, before, penalized, norm = 0;
        size_t i, j, k, size;
        int step;
        memcpy(w, weights, sizeof w);
        memcpy(a, atoms, sizeof a);
        smx_em_options_init(&options, sizeof options);
        options.m_step = form;
        options.ridge = 1.5;
        size = smx_em_step_workspace(data, K, &options);
        for (step = 0; step < 8; step++) {
            double at = value_at(data, w, a, NULL, NULL, NULL, NULL);
            for (norm = 0, k = 0; k < K; k++)
                for (i = 0; i < L; i++)
                    for (j = 0; j < L; j++)
                        norm += a[k * L + i] * covariance[i * L + j] * a[k * L + j];
            WELL(smx_em_step(data, whitening, K, &options, w, a, &before, &penalized, room(size), size, NULL));
            REQUIRE(close_to(before, at, 1e-13) && close_to(penalized, at - 0.75 * norm, 1e-13));
            REQUIRE(penalized >= last - 1e-9);
            REQUIRE(close_to(w[0] + w[1], 1, 1e-14));
            last = penalized;
        }
    }
}

struct path {
    uint64_t evaluations;
    double best, current;
    size_t start, calls;
    int racing_ended;
};

static int32_t follow(const smx_progress *now, void *user)
{
    struct path *path = user;
    REQUIRE(now->struct_size == sizeof *now && now->reserved == 0 && now->classes >= 1 && now->drawn >= now->finished);
    REQUIRE(now->evaluations >= path->evaluations && now->best >= path->best);
    REQUIRE(now->racing ? now->running > 0 : now->running == 0);
    /* The path of one start ascends. */
    if (!now->racing && path->racing_ended && now->start == path->start)
        REQUIRE(now->current >= path->current - 1e-9 * fabs(path->current));
    path->evaluations = now->evaluations;
    path->best = now->best;
    path->current = now->current;
    path->start = now->start;
    path->racing_ended = !now->racing;
    path->calls++;
    return 0;
}

struct found {
    smx_fit_result result;
    double weights[K], atoms[K * L], values[MOST];
    unsigned char diverging[K], unidentified[L];
    int32_t kinds[MOST];
};

static void fit(const smx_data *data, const smx_fit_options *options, struct found *f)
{
    size_t most = smx_fit_max_starts(data, K, options), size = smx_fit_workspace(data, K, options);
    memset(f, 0, sizeof *f);
    smx_fit_result_init(&f->result, sizeof f->result);
    f->result.weights = f->weights;
    f->result.atoms = f->atoms;
    f->result.diverging = f->diverging;
    f->result.unidentified = f->unidentified;
    f->result.start_values = f->values;
    f->result.start_kinds = f->kinds;
    f->result.starts_capacity = MOST;
    REQUIRE(most <= MOST);
    WELL(smx_fit(data, K, options, &f->result, room(size), size, NULL));
    REQUIRE(f->result.starts <= most);
}

static void fits(const smx_data *data, const smx_whitening *whitening)
{
    struct found f, again;
    struct path path = {0, -INFINITY, 0, 0, 0, 0};
    smx_fit_options options;
    double best = -INFINITY, gw[K], ga[K * L], largest = 0, choices = 0, at;
    size_t i, k, at_best = 0;
    smx_fit_options_init(&options, sizeof options);
    options.starts = 12;
    options.ridge = 1;
    options.progress = follow;
    options.user = &path;
    fit(data, &options, &f);
    REQUIRE(path.calls > 0 && path.evaluations <= f.result.evaluations && f.result.passes > 0);
    REQUIRE(f.result.starts == 12 && f.result.outcome == SMX_CONVERGED && f.result.rank == L);
    REQUIRE(f.weights[0] >= f.weights[1] && close_to(f.weights[0] + f.weights[1], 1, 1e-12));
    REQUIRE(!f.diverging[0] && !f.diverging[1] && !f.unidentified[0] && !f.unidentified[1]);
    for (i = 0; i < f.result.starts; i++) {
        REQUIRE(f.kinds[i] >= SMX_START_ZERO && f.kinds[i] <= SMX_START_SUBSPACE);
        best = fmax(best, f.values[i]);
    }
    for (i = 0; i < f.result.starts; i++)
        at_best += f.values[i] >= best - 1e-8 * fabs(best);
    REQUIRE(f.result.at_best == at_best && f.values[f.result.best_start] >= best - 1e-8 * fabs(best));
    REQUIRE(close_to(f.result.penalized_log_likelihood, best, 1e-8));
    at = value_at(data, f.weights, f.atoms, NULL, NULL, gw, ga);
    REQUIRE(close_to(f.result.log_likelihood, at, 1e-12));
    /* The penalised gradient, in log-odds and whitened atoms, over the number of choices. */
    for (i = 0; i < U; i++)
        choices += unit_weights[i] * (counts[2 * i] + counts[2 * i + 1]);
    for (k = 0; k < K; k++) {
        double slope[L];
        size_t l, j;
        largest = fmax(largest, fabs(gw[k]));
        for (l = 0; l < L; l++) {
            slope[l] = ga[k * L + l];
            for (j = 0; j < L; j++)
                slope[l] -= options.ridge * covariance[l * L + j] * f.atoms[k * L + j];
        }
        for (j = 0; j < whitening->rank; j++)
            largest = fmax(largest, fabs(slope[0] * to_atoms[j * L] + slope[1] * to_atoms[j * L + 1]));
    }
    REQUIRE(fabs(f.result.gradient_norm - largest / choices) < 1e-10);
    REQUIRE(f.result.stop == SMX_STOP_ROUNDING || (f.result.stop == SMX_STOP_GRADIENT && f.result.gradient_norm <= options.gradient_tolerance));
    /* Equal seeds give equal fits, and a progress function changes nothing. */
    options.progress = NULL;
    fit(data, &options, &again);
    REQUIRE(memcmp(again.weights, f.weights, sizeof f.weights) == 0 && memcmp(again.atoms, f.atoms, sizeof f.atoms) == 0);
    REQUIRE(memcmp(again.values, f.values, sizeof f.values) == 0 && again.result.evaluations == f.result.evaluations);
    /* NULL in place of options: the defaults. */
    {
        size_t most = smx_fit_max_starts(data, K, NULL), bytes = smx_fit_workspace(data, K, NULL);
        double w[K], a[K * L], unit[U], same[U], ones[U];
        smx_fit_options defaults;
        smx_data plain = *data;
        smx_fit_options_init(&defaults, sizeof defaults);
        REQUIRE(most == smx_fit_max_starts(data, K, &defaults) && bytes == smx_fit_workspace(data, K, &defaults));
        for (i = 0; i < 2; i++) {
            smx_fit_result_init(&again.result, sizeof again.result);
            again.result.weights = i ? w : again.weights;
            again.result.atoms = i ? a : again.atoms;
            WELL(smx_fit(data, K, i ? &defaults : NULL, &again.result, room(bytes), bytes, NULL));
        }
        REQUIRE(memcmp(w, again.weights, sizeof w) == 0 && memcmp(a, again.atoms, sizeof a) == 0);
        /* NULL in place of weights of units: ones. */
        for (i = 0; i < U; i++)
            ones[i] = 1;
        plain.weights = NULL;
        REQUIRE(value_at(&plain, weights, atoms, unit, NULL, NULL, NULL) != value_at(data, weights, atoms, same, NULL, NULL, NULL));
        at = value_at(&plain, weights, atoms, unit, NULL, NULL, NULL);
        plain.weights = ones;
        REQUIRE(at == value_at(&plain, weights, atoms, same, NULL, NULL, NULL) && memcmp(unit, same, sizeof unit) == 0);
    }
    /* Some of the first starts grow from a fit of one class less, where there is one. */
    {
        static const double all[1] = {1}, nowhere[L] = {0};
        size_t grown[2] = {0, 0}, with;
        for (with = 0; with < 2; with++) {
            options.grow_weights = with ? all : NULL;
            options.grow_atoms = with ? nowhere : NULL;
            fit(data, &options, &again);
            for (i = 0; i < again.result.starts; i++)
                grown[with] += again.kinds[i] == SMX_START_GROW;
        }
        REQUIRE(grown[0] == 0 && grown[1] > 0 && grown[1] < again.result.starts);
        options.grow_weights = options.grow_atoms = NULL;
    }
    /* The only start: the one given. */
    options.starts = 0;
    options.start_weights = f.weights;
    options.start_atoms = f.atoms;
    fit(data, &options, &again);
    REQUIRE(again.result.starts == 1 && again.kinds[0] == SMX_START_GIVEN && again.result.at_best == 1 && again.result.best_start == 0);
    REQUIRE(close_to(again.result.penalized_log_likelihood, best, 1e-9));
    /* A budget of one evaluation. */
    options.start_weights = weights;
    options.start_atoms = atoms;
    options.max_evaluations = 1;
    fit(data, &options, &again);
    REQUIRE(again.result.outcome == SMX_ITERATION_LIMIT && again.result.stop == SMX_STOP_EVALUATIONS);
    /* Instruction sets that the machine has not, the plain one, and more threads than there are. */
    options.isa = SMX_ISA_NEON;
    i = smx_fit_workspace(data, K, &options);
#if defined(__x86_64__)
    REQUIRE(smx_fit(data, K, &options, &again.result, room(i), i, NULL) == SMX_UNSUPPORTED);
#endif
    options.isa = SMX_ISA_SCALAR;
    options.max_evaluations = 1000000;
    options.threads = 1000;
    fit(data, &options, &again);
    REQUIRE(close_to(again.result.penalized_log_likelihood, best, 1e-9));
}

/* Counts that one alternative has alone: the likelihood grows for ever, unless it is penalised. */
static void running_off(void)
{
    static const double features[4] = {-1, 0.2, 0.4, 2}, all_in_one[4] = {0, 0, 0, 50};
    smx_fit_options options;
    double w[1], a[1];
    unsigned char flag[1] = {9};
    smx_fit_result result;
    smx_data data;
    size_t size;
    smx_data_init(&data, sizeof data);
    data.features = features;
    data.rows = 4;
    data.columns = 1;
    data.counts = all_in_one;
    smx_fit_options_init(&options, sizeof options);
    smx_fit_result_init(&result, sizeof result);
    result.weights = w;
    result.atoms = a;
    result.diverging = flag;
    size = smx_fit_workspace(&data, 1, &options);
    WELL(smx_fit(&data, 1, &options, &result, room(size), size, NULL));
    REQUIRE(result.outcome == SMX_DIVERGING && flag[0] == 1 && isfinite(a[0]) && a[0] > 3);
    options.ridge = 1;
    WELL(smx_fit(&data, 1, &options, &result, room(size), size, NULL));
    REQUIRE(result.outcome == SMX_CONVERGED && flag[0] == 0);
    {
        smx_error error;
        smx_error_init(&error, sizeof error);
        REQUIRE(smx_fit(&data, 2, &options, &result, workspace, smx_fit_workspace(&data, 2, &options), &error) != SMX_OK);
    }
}

static void criteria_of_scans(const smx_data *data)
{
    enum { FIRST = 2, N = LAST - FIRST + 1, CLASSES = (LAST * (LAST + 1) - FIRST * (FIRST - 1)) / 2 };
    double w[CLASSES], a[CLASSES * L], values[N], penalized[N], aic[N], bic[N], icl[N], n = 0, lowest_aic = INFINITY, lowest_bic = INFINITY;
    size_t parameters[N], starts[N], at_best[N], best_aic = 0, best_bic = 0, size, j, u;
    int32_t outcomes[N];
    smx_scan_result scan;
    smx_fit_options options;
    smx_fit_options_init(&options, sizeof options);
    options.ridge = 0.5;
    options.starts = 5;
    smx_scan_result_init(&scan, sizeof scan);
    scan.weights = w;
    scan.atoms = a;
    scan.outcomes = outcomes;
    scan.log_likelihoods = values;
    scan.penalized_log_likelihoods = penalized;
    scan.parameters = parameters;
    scan.aic = aic;
    scan.bic = bic;
    scan.icl = icl;
    scan.starts = starts;
    scan.at_best = at_best;
    size = smx_scan_workspace(data, FIRST, LAST, &options);
    WELL(smx_scan(data, FIRST, LAST, &options, &scan, room(size), size, NULL));
    REQUIRE(scan.fits == N && scan.rank == L && scan.evaluations > 0);
    for (u = 0; u < U; u++)
        n += unit_weights[u];
    for (j = 0; j < N; j++) {
        size_t k = FIRST + j, before = (k * (k - 1) - FIRST * (FIRST - 1)) / 2, i, d = k - 1 + k * L;
        double unit[U], r[U * LAST], entropy = 0, quadratic = 0;
        smx_criteria_result criteria;
        smx_evaluation out;
        smx_evaluation_init(&out, sizeof out);
        out.unit_log_likelihoods = unit;
        out.responsibilities = r;
        size = smx_evaluate_workspace(data, k);
        WELL(smx_evaluate(data, k, w + before, a + before * L, NULL, &out, room(size), size, NULL));
        REQUIRE(close_to(values[j], out.log_likelihood, 1e-12));
        for (i = 0; i < k; i++) {
            const double *t = a + (before + i) * L;
            quadratic += t[0] * t[0] * covariance[0] + 2 * t[0] * t[1] * covariance[1] + t[1] * t[1] * covariance[3];
            REQUIRE(i == 0 || w[before + i] <= w[before + i - 1]);
        }
        REQUIRE(close_to(penalized[j], values[j] - 0.25 * quadratic, 1e-12));
        for (u = 0; u < U; u++)
            for (i = 0; i < k; i++)
                entropy -= r[u * k + i] > 0 ? unit_weights[u] * r[u * k + i] * log(r[u * k + i]) : 0;
        REQUIRE(parameters[j] == d && close_to(aic[j], -2 * values[j] + 2 * (double)d, 1e-12));
        REQUIRE(close_to(bic[j], -2 * values[j] + (double)d * log(n), 1e-12) && close_to(icl[j], bic[j] + 2 * entropy, 1e-10));
        REQUIRE(at_best[j] >= 1 && at_best[j] <= starts[j] && outcomes[j] >= SMX_CONVERGED && outcomes[j] <= SMX_CANCELLED);
        REQUIRE(starts[j] == 5);
        smx_criteria_result_init(&criteria, sizeof criteria);
        size = smx_criteria_workspace(data, k);
        WELL(smx_criteria(data, k, w + before, a + before * L, L, NULL, &criteria, room(size), size, NULL));
        REQUIRE(criteria.parameters == d && close_to(criteria.observations, n, 1e-14) && close_to(criteria.aic, aic[j], 1e-12));
        REQUIRE(close_to(criteria.bic, bic[j], 1e-12) && close_to(criteria.icl, icl[j], 1e-10));
        if (aic[j] < lowest_aic) {
            lowest_aic = aic[j];
            best_aic = k;
        }
        if (bic[j] < lowest_bic) {
            lowest_bic = bic[j];
            best_bic = k;
        }
    }
    REQUIRE(scan.best_aic == best_aic && scan.best_bic == best_bic && scan.best_icl >= FIRST && scan.best_icl <= LAST);
    REQUIRE(smx_scan_workspace(data, 1, SMX_SCAN_MAX + 1, &options) == SIZE_MAX && smx_scan_workspace(data, 2, SMX_SCAN_MAX, &options) != SIZE_MAX);
}

/* A scan's eigenvalues are those of smx_subspace with a tilt of 1/2; data without a subspace have none. */
static void profiles(const smx_data *draws, const smx_whitening *whitening, const smx_data *units)
{
    double w[3], a[3 * L], found[L] = {7, 7}, mean[L], values[L], directions[L * L], flat[6] = {2, 3, 2, 3, 2, 3};
    static const double thrice[3] = {5, 6, 7};
    smx_subspace_result subspace;
    smx_scan_result scan;
    smx_fit_options options;
    smx_data constant;
    size_t size = smx_subspace_workspace(draws);
    smx_subspace_result_init(&subspace, sizeof subspace);
    subspace.mean_atom = mean;
    subspace.eigenvalues = values;
    subspace.directions = directions;
    WELL(smx_subspace(draws, whitening, 0.5, NULL, &subspace, room(size), size, NULL));
    REQUIRE(subspace.suggested_classes == 1 + (size_t)(values[0] > subspace.noise) + (size_t)(values[1] > subspace.noise));
    smx_fit_options_init(&options, sizeof options);
    options.starts = 1;
    smx_scan_result_init(&scan, sizeof scan);
    scan.weights = w;
    scan.atoms = a;
    size = smx_scan_workspace(draws, 1, 2, &options);
    WELL(smx_scan(draws, 1, 2, &options, &scan, room(size), size, NULL));
    REQUIRE(scan.suggested_classes == 0 && isnan(scan.noise)); /* not asked for */
    scan.eigenvalues = found;
    WELL(smx_scan(draws, 1, 2, &options, &scan, room(size), size, NULL));
    REQUIRE(memcmp(found, values, sizeof found) == 0 && found[0] >= found[1] && values[0] > 0);
    REQUIRE(scan.suggested_classes == subspace.suggested_classes && scan.noise == subspace.noise);
    size = smx_scan_workspace(units, 1, 2, &options);
    WELL(smx_scan(units, 1, 2, &options, &scan, room(size), size, NULL));
    REQUIRE(scan.suggested_classes == 0 && isnan(scan.noise) && isnan(found[0]) && isnan(found[1]));
    /* No feature is identified; then one of two. */
    constant = *draws;
    constant.features = flat;
    constant.rows = 3;
    constant.counts = thrice;
    found[0] = found[1] = 7;
    size = smx_scan_workspace(&constant, 1, 2, &options);
    WELL(smx_scan(&constant, 1, 2, &options, &scan, room(size), size, NULL));
    REQUIRE(scan.rank == 0 && scan.suggested_classes == 0 && isnan(scan.noise) && isnan(found[0]) && isnan(found[1]));
    flat[0] = 1;
    WELL(smx_scan(&constant, 1, 2, &options, &scan, room(size), size, NULL));
    REQUIRE(scan.rank == 1 && scan.suggested_classes >= 1 && isfinite(scan.noise) && isfinite(found[0]) && isnan(found[1]));
}

/* Where criteria are equal, the smaller number of classes is the best. */
static void ties(void)
{
    static const double features[2] = {1, 1}, many[2] = {1e20, 1e20};
    double w[3], a[3], aic[2], bic[2];
    smx_scan_result scan;
    smx_data data;
    size_t size;
    smx_data_init(&data, sizeof data);
    data.features = features;
    data.rows = 2;
    data.columns = 1;
    data.counts = many;
    smx_scan_result_init(&scan, sizeof scan);
    scan.weights = w;
    scan.atoms = a;
    scan.aic = aic;
    scan.bic = bic;
    size = smx_scan_workspace(&data, 1, 2, NULL);
    WELL(smx_scan(&data, 1, 2, NULL, &scan, room(size), size, NULL));
    /* What a parameter costs is below the rounding of 4e20 nats. */
    REQUIRE(aic[0] == aic[1] && scan.best_aic == 1 && bic[0] == bic[1] && scan.best_bic == 1);
}

static int32_t until_two(const smx_progress *now, void *user)
{
    (void)user;
    return now->classes == 2;
}

/* A scan that is cancelled has the fits until then, the last of them SMX_CANCELLED, and writes no more; nor are more starts written than were drawn. */
static void as_many_as_there_are(const smx_data *data)
{
    double w[6], a[6 * L], values[3] = {7, 7, 7}, each[MOST];
    int32_t outcomes[3] = {77, 77, 77}, kinds[MOST];
    size_t size, i;
    smx_fit_options options;
    smx_scan_result scan;
    smx_fit_result result;
    smx_fit_options_init(&options, sizeof options);
    options.progress = until_two;
    smx_scan_result_init(&scan, sizeof scan);
    for (i = 0; i < 6; i++)
        w[i] = a[i] = a[6 + i] = 7;
    scan.weights = w;
    scan.atoms = a;
    scan.outcomes = outcomes;
    scan.log_likelihoods = values;
    size = smx_scan_workspace(data, 1, 3, &options);
    WELL(smx_scan(data, 1, 3, &options, &scan, room(size), size, NULL));
    REQUIRE(scan.fits == 2 && outcomes[0] == SMX_CONVERGED && outcomes[1] == SMX_CANCELLED && outcomes[2] == 77);
    REQUIRE(values[0] < 0 && values[1] < 0 && values[2] == 7);
    for (i = 3; i < 6; i++)
        REQUIRE(w[i] == 7 && a[L * i] == 7 && a[L * i + 1] == 7);
    for (i = 0; i < MOST; i++) {
        each[i] = 7;
        kinds[i] = 77;
    }
    options.starts = 30;
    options.max_evaluations = 40;
    options.progress = NULL;
    smx_fit_result_init(&result, sizeof result);
    result.weights = w;
    result.atoms = a;
    result.start_values = each;
    result.start_kinds = kinds;
    result.starts_capacity = MOST;
    size = smx_fit_workspace(data, K, &options);
    WELL(smx_fit(data, K, &options, &result, room(size), size, NULL));
    REQUIRE(result.starts <= 30);
    for (i = 0; i < MOST; i++)
        REQUIRE((i < result.starts) == (each[i] != 7) && (i < result.starts) == (kinds[i] != 77));
}

/* Inverts a symmetric matrix that is positive definite. */
static void invert(double *m, size_t n)
{
    size_t i, j, k;
    for (k = 0; k < n; k++) {
        double pivot = m[k * n + k];
        m[k * n + k] = 1;
        for (j = 0; j < n; j++)
            m[k * n + j] /= pivot;
        for (i = 0; i < n; i++) {
            double factor = m[i * n + k];
            if (i == k)
                continue;
            m[i * n + k] = 0;
            for (j = 0; j < n; j++)
                m[i * n + j] -= factor * m[k * n + j];
        }
    }
}

static void inference(const smx_data *data, const smx_whitening *whitening)
{
    enum { ESTIMATES = K + K * L };
    double all[ESTIMATES][ESTIMATES];
    struct found f;
    smx_fit_options fit_options;
    smx_inference_options options;
    double information[D * D], products[2][D * D], we[K], ae[K * L], kept;
    size_t i, j, a, b, size;
    int32_t sampling;
    smx_variance variance;
    smx_fit_options_init(&fit_options, sizeof fit_options);
    fit_options.starts = 12;
    fit(data, &fit_options, &f);
    size = smx_information_workspace(data, K);
    WELL(smx_information(data, K, f.weights, f.atoms, NULL, information, room(size), size, NULL));
    for (sampling = 0; sampling < 2; sampling++)
        WELL(smx_score_products(data, K, f.weights, f.atoms, sampling, NULL, products[sampling], room(size), size, NULL));
    invert(information, D);
    for (variance = SMX_VARIANCE_INFORMATION; variance <= SMX_VARIANCE_ROBUST_SAMPLING; variance++) {
        double v[D * D] = {0};
        if (variance == SMX_VARIANCE_INFORMATION)
            memcpy(v, information, sizeof v);
        else
            for (i = 0; i < D; i++)
                for (j = 0; j < D; j++)
                    for (a = 0; a < D; a++)
                        for (b = 0; b < D; b++)
                            v[i * D + j] += information[i * D + a] * products[variance - 1][a * D + b] * information[b * D + j];
        smx_inference_options_init(&options, sizeof options);
        options.variance = variance;
        size = smx_standard_errors_workspace(data, K);
        WELL(smx_standard_errors(data, whitening, K, f.weights, f.atoms, &options, we, ae, room(size), size, NULL));
        for (i = 0; i < K * L; i++)
            REQUIRE(close_to(ae[i], sqrt(v[(i + 1) * D + i + 1]), 1e-8));
        /* The delta method: the weight of the first of two classes moves by w (1 - w) with its log-odds. */
        REQUIRE(close_to(we[0], f.weights[0] * f.weights[1] * sqrt(v[0]), 1e-8) && close_to(we[1], we[0], 1e-8));
        size = smx_covariance_workspace(data, K);
        WELL(smx_covariance(data, whitening, K, f.weights, f.atoms, &options, all[0], room(size), size, NULL));
        for (i = 0; i < ESTIMATES; i++)
            for (j = 0; j < ESTIMATES; j++) {
                /* Both weights move with the one log-odds, against each other. */
                const double gi = i < K ? f.weights[0] * f.weights[1] : 1, gj = j < K ? f.weights[0] * f.weights[1] : 1;
                const double sign = (i == 1 ? -1. : 1.) * (j == 1 ? -1. : 1.);
                a = i < K ? 0 : i - K + 1;
                b = j < K ? 0 : j - K + 1;
                REQUIRE(fabs(all[i][j] - sign * gi * gj * v[a * D + b]) <= 1e-8 * gi * gj * sqrt(v[a * D + a] * v[b * D + b]));
            }
    }
    {
        /* Two classes where one is best: no maximum of two, the information is not positive definite. */
        double halves[K] = {0.5, 0.5}, both[K * L], one[1];
        smx_fit_result alone;
        size_t bytes = smx_fit_workspace(data, 1, NULL);
        smx_fit_result_init(&alone, sizeof alone);
        alone.weights = one;
        alone.atoms = both;
        WELL(smx_fit(data, 1, NULL, &alone, room(bytes), bytes, NULL));
        both[2] = both[0];
        both[3] = both[1];
        WELL(smx_standard_errors(data, whitening, K, halves, both, NULL, we, ae, room(size), size, NULL));
        REQUIRE(isnan(we[0]) && isnan(we[1]) && isnan(ae[0]) && isnan(ae[1]) && isnan(ae[2]) && isnan(ae[3]));
        size = smx_covariance_workspace(data, K);
        WELL(smx_covariance(data, whitening, K, halves, both, NULL, all[0], room(size), size, NULL));
        for (i = 0; i < ESTIMATES * ESTIMATES; i++)
            REQUIRE(isnan(all[i / ESTIMATES][i % ESTIMATES]));
        size = smx_standard_errors_workspace(data, K);
    }
    /* An empty class has none; nor have features that are not identified. */
    kept = f.weights[1];
    f.weights[0] += f.weights[1];
    f.weights[1] = 0;
    WELL(smx_standard_errors(data, whitening, K, f.weights, f.atoms, NULL, we, ae, room(size), size, NULL));
    REQUIRE(isnan(ae[2]) && isnan(ae[3]));
    size = smx_covariance_workspace(data, K);
    WELL(smx_covariance(data, whitening, K, f.weights, f.atoms, NULL, all[0], room(size), size, NULL));
    for (i = 0; i < ESTIMATES; i++)
        for (j = 0; j < ESTIMATES; j++)
            REQUIRE(isnan(all[i][j]) == (i == 1 || i > 3 || j == 1 || j > 3));
    REQUIRE(close_to(sqrt(all[2][2]), ae[0], 1e-8) && all[2][3] == all[3][2]);
    size = smx_standard_errors_workspace(data, K);
    f.weights[1] = kept;
    f.weights[0] -= kept;
    {
        smx_whitening flat;
        double column[P];
        for (i = 0; i < P; i++) {
            column[i] = x[i * L + 1];
            x[i * L + 1] = 1;
        }
        whiten(data, &flat);
        WELL(smx_standard_errors(data, &flat, K, f.weights, f.atoms, NULL, we, ae, room(size), size, NULL));
        REQUIRE(isnan(ae[1]) && isnan(ae[3]));
        for (i = 0; i < P; i++)
            x[i * L + 1] = column[i];
        whiten(data, &flat);
    }
}

/* One large choice set: finite offsets do not enter moments; estimators keep to their options. */
static void moments(void)
{
    enum { ROOM = 300, ORDER = 3 };
    static double y[ROOM * L], n[ROOM], moved[ROOM];
    double direction[L] = {0.6, 0.8}, bare[ORDER + 1], shifted[ORDER + 1], w[K], a[K * L], start[K * L];
    smx_estimate_options options;
    smx_estimate_report report;
    smx_whitening whitening;
    smx_data data, units;
    size_t i, size;
    smx_data_init(&data, sizeof data);
    for (i = 0; i < ROOM * L; i++)
        y[i] = 2 * (noise() + noise() + noise());
    for (i = 0; i < ROOM; i++) {
        n[i] = floor(40 * exp(0.8 * y[i * L]) + 30 * exp(-0.7 * y[i * L + 1]));
        moved[i] = noise();
    }
    data.features = y;
    data.rows = ROOM;
    data.columns = L;
    data.counts = n;
    whiten(&data, &whitening);
    size = smx_latent_moments_workspace(&data, 1, ORDER);
    WELL(smx_latent_moments(&data, &whitening, 1, direction, ORDER, NULL, bare, NULL, room(size), size, NULL));
    data.offset = moved;
    WELL(smx_latent_moments(&data, &whitening, 1, direction, ORDER, NULL, shifted, NULL, room(size), size, NULL));
    REQUIRE(memcmp(bare, shifted, sizeof bare) == 0);
    data.offset = NULL;
    smx_estimate_options_init(&options, sizeof options);
    smx_estimate_report_init(&report, sizeof report);
    options.max_evaluations = 3;
    size = smx_estimate_workspace(&data, K, &options);
    WELL(smx_estimate(&data, &whitening, K, &options, w, a, &report, room(size), size, NULL));
    REQUIRE(report.evaluations >= 1 && report.evaluations <= 3 && report.passes >= 1 && report.shrinkage == 0 && report.tilt >= 0);
    {
        smx_evaluation out;
        size_t bytes = smx_evaluate_workspace(&data, K);
        smx_evaluation_init(&out, sizeof out);
        WELL(smx_evaluate(&data, K, w, a, NULL, &out, room(bytes), bytes, NULL));
        REQUIRE(close_to(report.log_likelihood, out.log_likelihood, 1e-10));
    }
    memcpy(start, a, sizeof a);
    options.start_weights = weights;
    options.start_atoms = start;
    WELL(smx_estimate(&data, &whitening, K, &options, w, a, &report, room(size), size, NULL));
    options.start_weights = NULL;
    REQUIRE(smx_estimate(&data, &whitening, K, &options, w, a, &report, room(size), size, NULL) == SMX_NULL);
    /* Where the moments are those of no mixture. */
    smx_estimate_options_init(&options, sizeof options);
    options.method = SMX_METHOD_DIRECTION;
    options.direction = direction;
    size = smx_estimate_workspace(&data, K, &options);
    WELL(smx_estimate(&data, &whitening, K, &options, w, a, &report, room(size), size, NULL));
    REQUIRE(isnan(report.log_likelihood) && report.tilt == 0 && report.evaluations == 0 && report.passes == 0 && report.shrinkage >= 0);
    {
        double many[7], atoms7[7 * L];
        size = smx_estimate_workspace(&data, 7, &options);
        WELL(smx_estimate(&data, &whitening, 7, &options, many, atoms7, &report, room(size), size, NULL));
        REQUIRE(report.shrinkage > 0);
        options.project = 0;
        size = smx_estimate_workspace(&data, 7, &options);
        REQUIRE(smx_estimate(&data, &whitening, 7, &options, many, atoms7, &report, room(size), size, NULL) == SMX_ILL_POSED);
        options.method = SMX_METHOD_TENSOR; /* at most r + 1 classes */
        size = smx_estimate_workspace(&data, 7, &options);
        REQUIRE(size == SIZE_MAX || smx_estimate(&data, &whitening, 7, &options, many, atoms7, &report, room(size), size, NULL) != SMX_OK);
    }
    options.method = SMX_METHOD_DIRECTION;
    direction[0] = 2;
    size = smx_estimate_workspace(&data, K, &options);
    REQUIRE(smx_estimate(&data, &whitening, K, &options, w, a, &report, room(size), size, NULL) == SMX_INVALID_OPTION);
    direction[0] = 0.6;
    units = panel();
    profiles(&data, &whitening, &units);
    /* Units have no latent moments. */
    whiten(&units, &whitening);
    size = smx_latent_moments_workspace(&data, 1, ORDER);
    REQUIRE(smx_latent_moments(&units, &whitening, 1, direction, ORDER, NULL, bare, NULL, workspace, size, NULL) == SMX_UNSUPPORTED);
    REQUIRE(smx_subspace_workspace(&units) == SIZE_MAX || smx_subspace_workspace(&units) < sizeof workspace);
}

static void sums(void)
{
    smx_sum sum;
    double infinite[1] = {INFINITY}, log_of[1] = {0};
    WELL(smx_sum_of(infinite, 1, &sum, SMX_ISA_AUTO));
    REQUIRE(isfinite(sum.max) && smx_sum_log(sum) == INFINITY);
    WELL(smx_sum_of(log_of, 1, &sum, SMX_ISA_AUTO));
    REQUIRE(sum.max == 0 && sum.sum == 1 && smx_sum_log(sum) == 0);
    {
        smx_sum other, a, b;
        WELL(smx_sum_of(offset, P, &other, SMX_ISA_AUTO));
        a = smx_sum_merge(sum, other);
        b = smx_sum_merge(other, sum);
        REQUIRE(a.max == b.max && a.sum == b.sum);
    }
}

/* All numbers that functions with `threads` give. */
enum { LARGE = 3000, MANY = 600, PACKED = L * (L + 1) * (L + 2) / 6 };
static struct numbers {
    double unit[LARGE], r[LARGE * K], gw[K], ga[K * L], value[3], by_class[LARGE * K], mixed[LARGE];
    double covariance[L * L], to[L * L], from[L * L], w[K], a[K * L], before[2], fitted_w[K], fitted_a[K * L], starts[MOST], scan_w[3], scan_a[3 * L];
    double criteria[3], we[K], ae[K * L], estimates[(K + K * L) * (K + K * L)], information[D * D], products[D * D], hessian[D];
    double eigenvalues[L], mean[L], directions[L * L];
    double moments[8], errors[8], first[L], second[L * L], third[PACKED], cross[3 * L], projected[PACKED], slices[L * L], estimate_w[K], estimate_a[K * L];
    unsigned char unidentified[L];
} one_thread, more;

static void all_numbers(const smx_data *data, smx_isa isa, size_t threads, struct numbers *n)
{
    static const double vector[D] = {1, -1, 0.5, 2, 0.25}, axis[L] = {0.6, 0.8};
    smx_run_options run;
    smx_evaluate_options evaluate;
    smx_em_options em;
    smx_fit_options fitting;
    smx_inference_options inference;
    smx_evaluation out;
    smx_whitening wh;
    smx_fit_result result;
    smx_scan_result scan;
    smx_criteria_result criteria;
    size_t size;
    memset(n, 0, sizeof *n);
    smx_run_options_init(&run, sizeof run);
    smx_evaluate_options_init(&evaluate, sizeof evaluate);
    smx_em_options_init(&em, sizeof em);
    smx_fit_options_init(&fitting, sizeof fitting);
    smx_inference_options_init(&inference, sizeof inference);
    run.isa = evaluate.isa = em.isa = fitting.isa = inference.isa = isa;
    run.threads = evaluate.threads = em.threads = fitting.threads = inference.threads = threads;
    smx_whitening_init(&wh, sizeof wh);
    wh.covariance = n->covariance;
    wh.to_atoms = n->to;
    wh.from_atoms = n->from;
    wh.unidentified = n->unidentified;
    size = smx_whiten_workspace(data);
    WELL(smx_whiten(data, &run, &wh, room(size), size, NULL));
    smx_evaluation_init(&out, sizeof out);
    out.unit_log_likelihoods = n->unit;
    out.responsibilities = n->r;
    out.weight_gradient = n->gw;
    out.atom_gradient = n->ga;
    size = smx_evaluate_workspace(data, K);
    WELL(smx_evaluate(data, K, weights, atoms, &evaluate, &out, room(size), size, NULL));
    n->value[0] = out.log_likelihood;
    size = smx_choice_probabilities_workspace(data, K);
    WELL(smx_choice_probabilities(data, K, weights, atoms, &run, n->by_class, n->mixed, room(size), size, NULL));
    memcpy(n->w, weights, sizeof n->w);
    memcpy(n->a, atoms, sizeof n->a);
    size = smx_em_step_workspace(data, K, &em);
    WELL(smx_em_step(data, &wh, K, &em, n->w, n->a, n->before, n->before + 1, room(size), size, NULL));
    fitting.starts = 3;
    smx_fit_result_init(&result, sizeof result);
    result.weights = n->fitted_w;
    result.atoms = n->fitted_a;
    result.start_values = n->starts;
    result.starts_capacity = MOST;
    size = smx_fit_workspace(data, K, &fitting);
    WELL(smx_fit(data, K, &fitting, &result, room(size), size, NULL));
    n->value[1] = result.log_likelihood;
    n->value[2] = (double)result.evaluations;
    smx_scan_result_init(&scan, sizeof scan);
    scan.weights = n->scan_w;
    scan.atoms = n->scan_a;
    scan.eigenvalues = n->eigenvalues;
    size = smx_scan_workspace(data, 1, 2, &fitting);
    WELL(smx_scan(data, 1, 2, &fitting, &scan, room(size), size, NULL));
    smx_criteria_result_init(&criteria, sizeof criteria);
    size = smx_criteria_workspace(data, K);
    WELL(smx_criteria(data, K, weights, atoms, L, &run, &criteria, room(size), size, NULL));
    n->criteria[0] = criteria.aic;
    n->criteria[1] = criteria.bic;
    n->criteria[2] = criteria.icl;
    inference.variance = SMX_VARIANCE_ROBUST;
    size = smx_standard_errors_workspace(data, K);
    WELL(smx_standard_errors(data, &wh, K, n->fitted_w, n->fitted_a, &inference, n->we, n->ae, room(size), size, NULL));
    size = smx_covariance_workspace(data, K);
    WELL(smx_covariance(data, &wh, K, n->fitted_w, n->fitted_a, &inference, n->estimates, room(size), size, NULL));
    size = smx_information_workspace(data, K);
    WELL(smx_information(data, K, weights, atoms, &evaluate, n->information, room(size), size, NULL));
    WELL(smx_score_products(data, K, weights, atoms, 1, &run, n->products, room(size), size, NULL));
    size = smx_hessian_vector_workspace(data, K);
    WELL(smx_hessian_vector(data, K, weights, atoms, vector, &run, n->hessian, room(size), size, NULL));
    if (data->choices == SMX_COUNTS) {
        smx_subspace_result subspace;
        smx_tensors tensors;
        smx_estimate_options estimate;
        smx_subspace_result_init(&subspace, sizeof subspace);
        subspace.mean_atom = n->mean;
        subspace.eigenvalues = n->eigenvalues;
        subspace.directions = n->directions;
        size = smx_subspace_workspace(data);
        WELL(smx_subspace(data, &wh, 0.5, &run, &subspace, room(size), size, NULL));
        size = smx_latent_moments_workspace(data, 1, 3);
        WELL(smx_latent_moments(data, &wh, 1, axis, 3, &run, n->moments, n->errors, room(size), size, NULL));
        smx_tensors_init(&tensors, sizeof tensors);
        tensors.first = n->first;
        tensors.second = n->second;
        tensors.third = n->third;
        size = smx_latent_tensors_workspace(data, 0);
        WELL(smx_latent_tensors(data, &wh, &run, &tensors, room(size), size, NULL));
        size = smx_cross_moments_workspace(data, 2);
        WELL(smx_cross_moments(data, &wh, axis, 2, &run, n->cross, NULL, room(size), size, NULL));
        size = smx_third_moments_workspace(data, 1);
        WELL(smx_third_projected(data, &wh, 1, axis, NULL, &run, n->projected, room(size), size, NULL));
        WELL(smx_third_slices(data, &wh, 1, axis, &run, n->slices, room(size), size, NULL));
        smx_estimate_options_init(&estimate, sizeof estimate);
        estimate.isa = isa;
        estimate.threads = threads;
        size = smx_estimate_workspace(data, K, &estimate);
        WELL(smx_estimate(data, &wh, K, &estimate, n->estimate_w, n->estimate_a, NULL, room(size), size, NULL));
    }
}

/* Any number of threads gives the same bits: of a choice set that many tasks share, and of a panel of many sets. */
static void threads(void)
{
    static double features[LARGE * L], n[LARGE];
    static size_t sets[LARGE / ROWS + 1], ends[MANY + 1], chosen[2 * MANY];
    smx_data data, many;
    smx_isa isa;
    size_t i;
    for (i = 0; i < LARGE * L; i++)
        features[i] = 2 * (noise() + noise() + noise());
    for (i = 0; i < LARGE; i++)
        n[i] = floor(3 * exp(0.8 * features[i * L]) + 2 * exp(-0.7 * features[i * L + 1]) + noise());
    for (i = 0; i < LARGE; i++)
        n[i] = n[i] < 0 ? 0 : n[i];
    for (i = 0; i <= LARGE / ROWS; i++)
        sets[i] = ROWS * i;
    for (i = 0; i <= MANY; i++)
        ends[i] = 2 * i;
    for (i = 0; i < 2 * MANY; i++)
        chosen[i] = (size_t)((noise() + 0.5) * LARGE);
    smx_data_init(&data, sizeof data);
    data.features = features;
    data.rows = LARGE;
    data.columns = L;
    data.counts = n;
    many = data;
    many.choices = SMX_UNITS;
    many.set_offsets = sets;
    many.sets = LARGE / ROWS;
    many.units = MANY;
    many.entries = 2 * MANY;
    many.indptr = ends;
    many.indices = chosen;
    many.counts = NULL;
    for (isa = SMX_ISA_AUTO; isa <= SMX_ISA_NEON; isa++) {
        static const size_t NUMBERS[] = {2, 7, 64};
        const smx_data *each[2];
        size_t j;
        double out, in = 1;
        if (smx_exp(&in, &out, 1, isa) == SMX_UNSUPPORTED)
            continue;
        each[0] = &data;
        each[1] = &many;
        for (j = 0; j < 2; j++) {
            all_numbers(each[j], isa, 1, &one_thread);
            for (i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++) {
                all_numbers(each[j], isa, NUMBERS[i], &more);
                REQUIRE(memcmp(&one_thread, &more, sizeof more) == 0);
            }
        }
    }
}

int main(void)
{
    smx_data data = panel();
    smx_whitening whitening;
    long before;
    printf("%s", ""); /* the buffer of the output is no allocation of the library */
    fflush(stdout);
    before = allocations;
    versions();
    evaluation(&data);
    layouts(&data);
    whitenings(&data, &whitening);
    steps(&data, &whitening);
    fits(&data, &whitening);
    running_off();
    criteria_of_scans(&data);
    ties();
    as_many_as_there_are(&data);
    inference(&data, &whitening);
    moments();
    sums();
    if (failures == 0)
        REQUIRE(!COUNTED || allocations == before);
    threads(); /* whose pool, where there is one, has memory of its own */
    printf("%d failures\n", failures);
    return failures != 0;
}
