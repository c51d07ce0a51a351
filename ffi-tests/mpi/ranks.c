/* A fit over the ranks of MPI: one large choice set split by its rows, units over it, and a panel split by its units, each against the answer of one process.
 *
 *     mpicc ffi-tests/mpi/ranks.c $(pkg-config --cflags --libs softmix) -lm -o ranks && mpirun --oversubscribe -n 4 ./ranks
 *
 * Every rank makes the same simulated data and keeps its own part of them; rank 0 prints what was found and what was sent. */
#include <math.h>
#include <mpi.h>
#include <softmix.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 20000, COLUMNS = 8, CLASSES = 3, UNITS = 300, CHOICES = 12, SETS = 4000, SET_ROWS = 5, PEOPLE = 500 };

static int rank, ranks;

/* What was sent so far. */
static struct traffic {
    size_t doubles, calls;
} traffic;

/* The hook. A length may be larger than MPI's int. MPI's own sums may differ between ranks by rounding: one rank sums, and all get its result. */
static int reduce(void *state, int op, double *buffer, size_t len)
{
    MPI_Comm comm = *(MPI_Comm *)state;
    while (len > 0) {
        int n = len > (1 << 24) ? 1 << 24 : (int)len;
        MPI_Op what = op == SMX_REDUCE_MAX ? MPI_MAX : MPI_SUM;
        int failed = rank == 0 ? MPI_Reduce(MPI_IN_PLACE, buffer, n, MPI_DOUBLE, what, 0, comm)
                               : MPI_Reduce(buffer, NULL, n, MPI_DOUBLE, what, 0, comm);
        if (failed != MPI_SUCCESS || MPI_Bcast(buffer, n, MPI_DOUBLE, 0, comm) != MPI_SUCCESS)
            return 1;
        traffic.doubles += (size_t)n;
        buffer += n;
        len -= (size_t)n;
    }
    traffic.calls++;
    return 0;
}

static void *memory(size_t size)
{
    void *p = malloc(size ? size : 1);
    if (p == NULL || size == SIZE_MAX) {
        fprintf(stderr, "rank %d: no memory\n", rank);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    return p;
}

static double uniform(void)
{
    static unsigned long long s = 88172645463325252ull;
    s ^= s << 13;
    s ^= s >> 7;
    s ^= s << 17;
    return ((double)(s >> 12) + 0.5) / 4503599627370496.0;
}

static double normal(void)
{
    double u = uniform();
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * uniform());
}

/* One of the rows from `first` to below `last`, by class `k` with the atoms `theta`: the largest utility with Gumbel errors. */
static size_t choose(const double *x, const double *theta, size_t k, size_t first, size_t last)
{
    size_t best = first;
    double most = -HUGE_VAL;
    for (size_t i = first; i < last; i++) {
        double s = -log(-log(uniform()));
        for (size_t j = 0; j < COLUMNS; j++)
            s += x[i * COLUMNS + j] * theta[k * COLUMNS + j];
        if (s > most) {
            most = s;
            best = i;
        }
    }
    return best;
}

struct answer {
    double log_likelihood, weights[CLASSES], atoms[CLASSES * COLUMNS];
    unsigned long long evaluations;
    struct traffic sent, evaluation;
};

static void fail(const char *what, smx_error *error)
{
    char text[200];
    smx_error_format(error, text, sizeof text);
    fprintf(stderr, "rank %d: %s: %s\n", rank, what, text);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* A fit from a given start, or from random ones where `theta` is NULL. */
static struct answer fit(const smx_data *data, const double *theta, const double *alpha)
{
    struct answer a;
    smx_fit_options options;
    smx_fit_result result;
    smx_evaluation evaluation;
    smx_error error;
    struct traffic before = traffic;
    smx_error_init(&error, sizeof error);
    smx_fit_options_init(&options, sizeof options);
    options.ridge = 1;
    options.start_weights = theta != NULL ? alpha : NULL;
    options.start_atoms = theta;
    options.starts = theta != NULL ? 0 : 6;
    smx_fit_result_init(&result, sizeof result);
    result.weights = a.weights;
    result.atoms = a.atoms;
    size_t size = smx_fit_workspace(data, CLASSES, &options);
    void *workspace = memory(size);
    if (smx_fit(data, CLASSES, &options, &result, workspace, size, &error) != SMX_OK)
        fail("fit", &error);
    a.log_likelihood = result.penalized_log_likelihood;
    a.evaluations = result.evaluations;
    a.sent.doubles = traffic.doubles - before.doubles;
    a.sent.calls = traffic.calls - before.calls;
    free(workspace);

    before = traffic;
    smx_evaluation_init(&evaluation, sizeof evaluation);
    size = smx_evaluate_workspace(data, CLASSES);
    workspace = memory(size);
    if (smx_evaluate(data, CLASSES, a.weights, a.atoms, NULL, &evaluation, workspace, size, &error) != SMX_OK)
        fail("evaluate", &error);
    a.evaluation.doubles = traffic.doubles - before.doubles;
    a.evaluation.calls = traffic.calls - before.calls;
    free(workspace);
    return a;
}

/* Compares the answer of all ranks with that of one process. */
static int same(const char *name, const struct answer *one, const struct answer *all)
{
    double off = fabs(all->log_likelihood - one->log_likelihood) / fabs(one->log_likelihood), far = 0;
    for (size_t i = 0; i < CLASSES * COLUMNS; i++)
        far = fmax(far, fabs(all->atoms[i] - one->atoms[i]));
    if (rank == 0)
        printf("%-28s log-likelihood %.10f, off by %.1e; atoms by %.1e; %llu evaluations; a fit sends %zu bytes in %zu calls, an evaluation %zu in %zu\n",
               name, all->log_likelihood, off, far, all->evaluations, 8 * all->sent.doubles, all->sent.calls, 8 * all->evaluation.doubles,
               all->evaluation.calls);
    return off <= 1e-12 && far <= 1e-5;
}

/* Units in compressed rows that chose among the rows `first` to below `last`: all units, or those that chose there. */
struct units {
    size_t n, *indptr, *indices;
};

static struct units part_of(size_t n, size_t choices, const size_t *chosen, size_t first, size_t last, int all)
{
    struct units u = {0, memory((n + 1) * sizeof(size_t)), memory(n * choices * sizeof(size_t))};
    size_t e = 0;
    u.indptr[0] = 0;
    for (size_t i = 0; i < n; i++) {
        size_t before = e;
        for (size_t j = 0; j < choices; j++) {
            size_t row = chosen[i * choices + j];
            if (first <= row && row < last)
                u.indices[e++] = row - first;
        }
        if (all || e > before)
            u.indptr[++u.n] = e;
    }
    return u;
}

static void free_units(struct units *u)
{
    free(u->indptr);
    free(u->indices);
}

static size_t cut(size_t n, int r)
{
    return n * (size_t)r / (size_t)ranks;
}

int main(int argc, char **argv)
{
    MPI_Comm comm = MPI_COMM_WORLD;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);

    double *x = memory((size_t)ROWS * COLUMNS * sizeof *x), *counts = memory(ROWS * sizeof *counts);
    double theta[CLASSES * COLUMNS], alpha[CLASSES];
    size_t *chosen = memory((size_t)UNITS * CHOICES * sizeof *chosen), *panel = memory((size_t)PEOPLE * (SETS / PEOPLE) * sizeof *panel);
    size_t *sets = memory((SETS + 1) * sizeof *sets);
    for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++)
        x[i] = normal();
    for (size_t i = 0; i < CLASSES * COLUMNS; i++)
        theta[i] = 0.6 * normal();
    for (size_t k = 0; k < CLASSES; k++)
        alpha[k] = 1.0 / CLASSES;
    for (size_t i = 0; i < ROWS; i++)
        counts[i] = 0;
    for (size_t u = 0; u < UNITS; u++)
        for (size_t j = 0; j < CHOICES; j++) {
            chosen[u * CHOICES + j] = choose(x, theta, u % CLASSES, 0, ROWS);
            counts[chosen[u * CHOICES + j]]++;
        }
    for (size_t s = 0; s <= SETS; s++)
        sets[s] = s * SET_ROWS;
    for (size_t s = 0; s < SETS; s++)
        panel[s] = choose(x, theta, s / (SETS / PEOPLE) % CLASSES, sets[s], sets[s + 1]);

    smx_shard shard;
    smx_data whole, part;
    smx_shard_init(&shard, sizeof shard);
    shard.reduce = reduce;
    shard.state = &comm;
    shard.rank = (uint64_t)rank;
    shard.total_rows = ROWS;
    int ok = 1;
    size_t first = cut(ROWS, rank), last = cut(ROWS, rank + 1);

    /* Counts: a rank has some rows and their counts. */
    smx_data_init(&whole, sizeof whole);
    whole.features = x;
    whole.rows = ROWS;
    whole.columns = COLUMNS;
    whole.counts = counts;
    part = whole;
    part.features = x + first * COLUMNS;
    part.counts = counts + first;
    part.rows = last - first;
    part.shard = &shard;
    shard.split = SMX_SPLIT_ROWS;
    shard.total_units = ROWS;
    struct answer one = fit(&whole, theta, alpha), all = fit(&part, theta, alpha);
    ok &= same("counts, by rows", &one, &all);
    one = fit(&whole, NULL, NULL), all = fit(&part, NULL, NULL);
    ok &= fabs(all.log_likelihood - one.log_likelihood) <= 1e-9 * fabs(one.log_likelihood);
    if (rank == 0)
        printf("%-28s log-likelihood %.10f, one process %.10f\n", "  from starts of its own", all.log_likelihood, one.log_likelihood);

    /* Units over the same choice set: a rank has of every unit the choices among its rows. */
    struct units mine = part_of(UNITS, CHOICES, chosen, first, last, 1), everyone = part_of(UNITS, CHOICES, chosen, 0, ROWS, 1);
    whole.choices = part.choices = SMX_UNITS;
    whole.counts = part.counts = NULL;
    whole.units = part.units = shard.total_units = UNITS;
    whole.entries = everyone.indptr[UNITS];
    whole.indptr = everyone.indptr;
    whole.indices = everyone.indices;
    part.entries = mine.indptr[UNITS];
    part.indptr = mine.indptr;
    part.indices = mine.indices;
    one = fit(&whole, theta, alpha), all = fit(&part, theta, alpha);
    ok &= same("units over it, by rows", &one, &all);
    free_units(&mine);
    free_units(&everyone);

    /* A panel: a rank has some people, and the choice sets they chose from. */
    size_t own = cut(PEOPLE, rank), end = cut(PEOPLE, rank + 1), each = SETS / PEOPLE;
    first = own * each * SET_ROWS;
    last = end * each * SET_ROWS;
    mine = part_of(PEOPLE, each, panel, first, last, 0);
    everyone = part_of(PEOPLE, each, panel, 0, ROWS, 0);
    whole.set_offsets = sets;
    whole.sets = SETS;
    whole.units = PEOPLE;
    whole.entries = SETS;
    whole.indptr = everyone.indptr;
    whole.indices = everyone.indices;
    part = whole;
    part.features = x + first * COLUMNS;
    part.rows = last - first;
    part.sets = (end - own) * each; /* sets of equal size: the first offsets serve every rank */
    part.units = end - own;
    part.entries = mine.indptr[end - own];
    part.indptr = mine.indptr;
    part.indices = mine.indices;
    part.shard = &shard;
    shard.split = SMX_SPLIT_SETS;
    shard.total_units = PEOPLE;
    one = fit(&whole, theta, alpha), all = fit(&part, theta, alpha);
    ok &= same("a panel, by units", &one, &all);

    /* What goes wrong on one rank goes wrong on all, and nobody waits. */
    smx_error error;
    smx_error_init(&error, sizeof error);
    smx_status expected = rank == ranks - 1 ? SMX_NOT_FINITE : SMX_REMOTE;
    double kept = x[first * COLUMNS];
    if (rank == ranks - 1)
        x[first * COLUMNS] = NAN;
    ok &= smx_data_check(&part, NULL, &error) == expected;
    x[first * COLUMNS] = kept;
    size_t size = smx_evaluate_workspace(&part, CLASSES);
    void *workspace = memory(size);
    smx_evaluation evaluation;
    smx_evaluation_init(&evaluation, sizeof evaluation);
    expected = rank == ranks - 1 ? SMX_WORKSPACE : SMX_REMOTE;
    size -= rank == ranks - 1;
    ok &= smx_evaluate(&part, CLASSES, alpha, theta, NULL, &evaluation, workspace, size, &error) == expected;
    expected = rank == ranks - 1 ? SMX_EMPTY : SMX_REMOTE;
    ok &= smx_shard_agree(&shard, rank == ranks - 1 ? SMX_EMPTY : SMX_OK, &error) == expected;

    free(workspace);
    free_units(&mine);
    free_units(&everyone);
    free(x);
    free(counts);
    free(chosen);
    free(panel);
    free(sets);
    int everywhere;
    MPI_Allreduce(&ok, &everywhere, 1, MPI_INT, MPI_MIN, comm);
    if (rank == 0)
        printf(everywhere ? "ranks: ok\n" : "ranks: FAILED\n");
    MPI_Finalize();
    return everywhere ? 0 : 1;
}
