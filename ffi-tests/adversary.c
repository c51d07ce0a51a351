/* Programs as the library did not expect them: other rounding modes, little stack, subnormal and enormous numbers, a child after fork, calls
 * from a progress function, workspaces with dirt in them, sizes at the edge of memory. Nothing may crash, hang or write on error.
 * Usage: adversary. */
#define _GNU_SOURCE
#include "softmix.h"
#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { P = 60, L = 3, K = 3, U = 12 };

static int failures;

static void require(int ok, const char *what)
{
    if (!ok) {
        printf("not so: %s\n", what);
        failures++;
    }
}

static double uniform(void)
{
    static uint64_t state = 11;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) / 9007199254740992.0;
}

static double x[P * L], counts[P];
static size_t indptr[U + 1], indices[P], sets[P / 4 + 1];

static smx_data single(void)
{
    smx_data data;
    smx_data_init(&data, sizeof data);
    data.features = x;
    data.rows = P;
    data.columns = L;
    data.counts = counts;
    return data;
}

static smx_data panel(void)
{
    smx_data data = single();
    data.choices = SMX_UNITS;
    data.set_offsets = sets;
    data.sets = P / 4;
    data.units = U;
    data.entries = P / 4;
    data.indptr = indptr;
    data.indices = indices;
    data.counts = NULL;
    return data;
}

static void fill(double scale)
{
    size_t i;
    for (i = 0; i < P * L; i++)
        x[i] = scale * (uniform() - 0.5);
    for (i = 0; i < P; i++)
        counts[i] = floor(20 * uniform());
    for (i = 0; i <= P / 4; i++)
        sets[i] = 4 * i;
    for (i = 0; i <= U; i++)
        indptr[i] = i * (P / 4) / U;
    for (i = 0; i < P / 4; i++)
        indices[i] = 4 * i + (size_t)(4 * uniform());
}

struct answer {
    smx_status status;
    double weights[K], atoms[K * L];
    smx_fit_result result;
};

static struct answer fit(const smx_data *data, const smx_fit_options *given)
{
    struct answer a;
    smx_fit_options options;
    smx_error error;
    size_t size;
    void *workspace;
    memset(&a, 0, sizeof a);
    smx_error_init(&error, sizeof error);
    if (given)
        options = *given;
    else
        smx_fit_options_init(&options, sizeof options);
    if (options.starts == 0)
        options.starts = 4;
    smx_fit_result_init(&a.result, sizeof a.result);
    a.result.weights = a.weights;
    a.result.atoms = a.atoms;
    size = smx_fit_workspace(data, K, &options);
    workspace = size == SMX_NONE ? NULL : malloc(size);
    if (workspace)
        memset(workspace, 0xFF, size); /* NaNs */
    a.status = smx_fit(data, K, &options, &a.result, workspace, workspace ? size : 0, &error);
    require(a.status == error.status && a.status != SMX_PANIC, "the record");
    free(workspace);
    return a;
}

static int sane(const struct answer *a)
{
    size_t i;
    double sum = 0;
    if (a->status != SMX_OK)
        return a->status < 0 && a->status != SMX_PANIC;
    for (i = 0; i < K; i++)
        sum += a->weights[i];
    for (i = 1; i < K; i++)
        if (a->weights[i] > a->weights[i - 1])
            return 0;
    for (i = 0; i < K * L; i++)
        if (!isfinite(a->atoms[i]))
            return 0;
    return fabs(sum - 1) < 1e-9 && isfinite(a->result.log_likelihood);
}

static void rounding(void)
{
    static const int MODES[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    smx_data data = single(), other = panel();
    struct answer a;
    size_t i;
    for (i = 0; i < 3; i++) {
        fesetround(MODES[i]);
        a = fit(&data, NULL);
        require(sane(&a), "another rounding mode, counts");
        a = fit(&other, NULL);
        require(sane(&a), "another rounding mode, panel");
        require(fegetround() == MODES[i], "the rounding mode stays");
        fesetround(FE_TONEAREST);
    }
#ifdef __SSE2__
    {
        unsigned before = __builtin_ia32_stmxcsr(), after;
        __builtin_ia32_ldmxcsr(before | 0x8040); /* subnormal numbers are zero */
        a = fit(&data, NULL);
        after = __builtin_ia32_stmxcsr();
        __builtin_ia32_ldmxcsr(before);
        require(sane(&a) && (after & 0xFFC0) == ((before | 0x8040) & 0xFFC0), "subnormal numbers flushed");
    }
#endif
}

/* Features, offsets, counts and ridges over the whole range of double. */
static void scales(void)
{
    static const double SCALES[] = {5e-324, 1e-310, 1e-200, 1e-100, 1e-20, 1e-8, 1e8, 1e20, 1e100, 1e150, 1e200, 1e300, 1.7e308};
    size_t i, j;
    for (i = 0; i < sizeof SCALES / sizeof SCALES[0]; i++) {
        smx_data data, other;
        struct answer a;
        fill(SCALES[i]);
        data = single();
        other = panel();
        a = fit(&data, NULL);
        require(sane(&a), "features of any scale, counts");
        a = fit(&other, NULL);
        require(sane(&a), "features of any scale, panel");
        fill(1);
        for (j = 0; j < P; j++)
            counts[j] *= SCALES[i];
        data = single();
        a = fit(&data, NULL);
        require(sane(&a), "counts of any scale");
        fill(1);
        {
            static double offset[P];
            for (j = 0; j < P; j++)
                offset[j] = (j % 2 ? -1 : 1) * SCALES[i] * uniform();
            data.offset = offset;
            a = fit(&data, NULL);
            require(sane(&a), "offsets of any scale");
            data.offset = NULL;
        }
        {
            smx_fit_options options;
            smx_fit_options_init(&options, sizeof options);
            options.ridge = SCALES[i];
            a = fit(&data, &options);
            require(sane(&a), "a ridge of any scale");
            options.ridge = 0;
            options.gradient_tolerance = SCALES[i];
            options.max_evaluations = 3000;
            a = fit(&data, &options);
            require(sane(&a), "a tolerance of any scale");
        }
    }
    fill(1);
}

/* Every function that takes data, and the kernels. */
static void everything(const smx_data *data)
{
    enum { D = K - 1 + K * L, PACKED = L * (L + 1) * (L + 2) / 6, ROOM = 1 << 22 };
    static double covariance[L * L], to[L * L], from[L * L], weights[K], atoms[K * L], unit[P], r[P * K], by_class[P * K], mixed[P];
    static double information[D * D], vector[D], product[D], scan_weights[6], scan_atoms[6 * L], mean[L], values[L], directions[L * L];
    static double moments[8], errors[8], first[L], second[L * L], third[PACKED], cross[3 * L], slices[L * L];
    static unsigned char unidentified[L], workspace[ROOM];
    static const double axis[L] = {1, 0, 0};
    smx_whitening wh;
    smx_summary summary;
    smx_evaluation evaluation;
    smx_fit_options options;
    smx_scan_result scan;
    smx_criteria_result criteria;
    smx_inference_options inference;
    smx_m_step form;
    int well = 1;
    size_t i;
    for (i = 0; i < K; i++)
        weights[i] = 1.0 / K;
    for (i = 0; i < K * L; i++)
        atoms[i] = 0.1 * (double)i;
    smx_summary_init(&summary, sizeof summary);
    well &= smx_data_check(data, &summary, NULL) == SMX_OK;
    smx_whitening_init(&wh, sizeof wh);
    wh.covariance = covariance;
    wh.to_atoms = to;
    wh.from_atoms = from;
    wh.unidentified = unidentified;
    well &= smx_whiten(data, NULL, &wh, workspace, ROOM, NULL) == SMX_OK;
    smx_evaluation_init(&evaluation, sizeof evaluation);
    evaluation.unit_log_likelihoods = unit;
    evaluation.responsibilities = r;
    well &= smx_evaluate(data, K, weights, atoms, NULL, &evaluation, workspace, ROOM, NULL) == SMX_OK;
    well &= smx_choice_probabilities(data, K, weights, atoms, NULL, by_class, mixed, workspace, ROOM, NULL) == SMX_OK;
    smx_criteria_result_init(&criteria, sizeof criteria);
    well &= smx_criteria(data, K, weights, atoms, L, NULL, &criteria, workspace, ROOM, NULL) == SMX_OK;
    smx_inference_options_init(&inference, sizeof inference);
    inference.variance = SMX_VARIANCE_ROBUST;
    well &= smx_standard_errors(data, &wh, K, weights, atoms, &inference, moments, unit, workspace, ROOM, NULL) == SMX_OK;
    well &= smx_information(data, K, weights, atoms, NULL, information, workspace, ROOM, NULL) == SMX_OK;
    well &= smx_score_products(data, K, weights, atoms, 1, NULL, information, workspace, ROOM, NULL) == SMX_OK;
    well &= smx_hessian_vector(data, K, weights, atoms, vector, NULL, product, workspace, ROOM, NULL) == SMX_OK;
    for (form = SMX_M_STEP_GRADIENT; form <= SMX_M_STEP_CONVERGED; form++) {
        smx_em_options em;
        smx_em_options_init(&em, sizeof em);
        em.m_step = form;
        well &= smx_em_step(data, &wh, K, &em, weights, atoms, NULL, NULL, workspace, ROOM, NULL) == SMX_OK;
    }
    smx_fit_options_init(&options, sizeof options);
    options.starts = 2;
    smx_scan_result_init(&scan, sizeof scan);
    scan.weights = scan_weights;
    scan.atoms = scan_atoms;
    scan.eigenvalues = values;
    well &= smx_scan(data, 1, 3, &options, &scan, workspace, ROOM, NULL) == SMX_OK;
    if (data->choices == SMX_COUNTS) {
        smx_subspace_result subspace;
        smx_tensors tensors;
        smx_estimate_options estimate;
        smx_status status;
        smx_subspace_result_init(&subspace, sizeof subspace);
        subspace.mean_atom = mean;
        subspace.eigenvalues = values;
        subspace.directions = directions;
        well &= smx_subspace(data, &wh, 0.5, NULL, &subspace, workspace, ROOM, NULL) == SMX_OK;
        well &= smx_latent_moments(data, &wh, 1, axis, 3, NULL, moments, errors, workspace, ROOM, NULL) == SMX_OK;
        smx_tensors_init(&tensors, sizeof tensors);
        tensors.first = first;
        tensors.second = second;
        tensors.third = third;
        well &= smx_latent_tensors(data, &wh, NULL, &tensors, workspace, ROOM, NULL) == SMX_OK;
        well &= smx_cross_moments(data, &wh, axis, 2, NULL, cross, NULL, workspace, ROOM, NULL) == SMX_OK;
        well &= smx_third_projected(data, &wh, 1, axis, NULL, NULL, moments, workspace, ROOM, NULL) == SMX_OK;
        well &= smx_third_slices(data, &wh, 1, axis, NULL, slices, workspace, ROOM, NULL) == SMX_OK;
        smx_estimate_options_init(&estimate, sizeof estimate);
        for (estimate.method = SMX_METHOD_CORRECTED; estimate.method <= SMX_METHOD_DIRECTION; estimate.method++) {
            status = smx_estimate(data, &wh, K, &estimate, weights, atoms, NULL, workspace, ROOM, NULL);
            well &= status == SMX_OK || status == SMX_ILL_POSED;
        }
    }
    well &= smx_exp(x, by_class, P, 0) == SMX_OK && smx_log(counts, by_class, P, 0) == SMX_OK && smx_softmax(x, by_class, P, 0) == SMX_OK
        && smx_log_softmax(x, by_class, P, 0) == SMX_OK && smx_logsumexp(x, P, by_class, 0) == SMX_OK
        && smx_logsumexp_strided(x, P, L, by_class, 0) == SMX_OK && smx_logsumexp_columns(x, P, L, by_class, 0) == SMX_OK;
    require(well, "every function in little stack");
}

static void *in_little_stack(void *argument)
{
    smx_data data = single(), other = panel(), many = single();
    struct answer *a = argument;
    a[0] = fit(&data, NULL);
    a[1] = fit(&other, NULL);
    /* Units over one choice set. */
    many.choices = SMX_UNITS;
    many.units = U;
    many.entries = P / 4;
    many.indptr = indptr;
    many.indices = indices;
    many.counts = NULL;
    everything(&data);
    everything(&other);
    everything(&many);
    return NULL;
}

/* A thread with two thirds of the stack that the header says, what the C library takes for itself in it. */
static void stack(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    static struct answer a[2];
    pthread_attr_init(&attributes);
    require(pthread_attr_setstacksize(&attributes, 64 * 1024) == 0, "a small stack");
    require(pthread_create(&thread, &attributes, in_little_stack, a) == 0, "a thread");
    pthread_join(thread, NULL);
    require(sane(&a[0]) && sane(&a[1]), "64 KiB of stack are enough");
}

/* Calls of the library from its own progress function, in memory of their own. */
static int32_t within(const smx_progress *progress, void *user)
{
    const smx_data *data = user;
    size_t size = smx_evaluate_workspace(data, progress->classes);
    double weights[K], atoms[K * L];
    void *workspace = malloc(size);
    smx_evaluation evaluation;
    size_t k;
    for (k = 0; k < K; k++)
        weights[k] = 1.0 / K;
    memset(atoms, 0, sizeof atoms);
    smx_evaluation_init(&evaluation, sizeof evaluation);
    require(smx_evaluate(data, K, weights, atoms, NULL, &evaluation, workspace, size, NULL) == SMX_OK, "a call within a call");
    free(workspace);
    return 0;
}

static void reentered(void)
{
    smx_data data = single();
    smx_fit_options options;
    struct answer a, b;
    smx_fit_options_init(&options, sizeof options);
    options.starts = 2;
    options.progress = within;
    options.user = &data;
    a = fit(&data, &options);
    options.progress = NULL;
    b = fit(&data, &options);
    require(sane(&a) && memcmp(a.atoms, b.atoms, sizeof a.atoms) == 0, "calls within calls change nothing");
}

static void forked(void)
{
    smx_data data = single();
    struct answer a = fit(&data, NULL), b;
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        b = fit(&data, NULL);
        _exit(memcmp(a.atoms, b.atoms, sizeof a.atoms) != 0);
    }
    require(child > 0 && waitpid(child, &status, 0) == child && status == 0, "a child after fork");
}

/* Arrays that end where memory ends, and begin where it begins; read-only where they are only read. */
static void edges(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = sizeof x, room = (bytes + page - 1) / page * page;
    char *memory = mmap(NULL, room + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int at;
    require(memory != MAP_FAILED && mprotect(memory + page, room, PROT_READ | PROT_WRITE) == 0, "pages");
    for (at = 0; at < 2; at++) {
        double *features = (double *)(void *)(memory + page + (at ? room - bytes : 0));
        smx_data data = single();
        struct answer a, b = fit(&data, NULL);
        mprotect(memory + page, room, PROT_READ | PROT_WRITE);
        memcpy(features, x, bytes);
        mprotect(memory + page, room, PROT_READ);
        data.features = features;
        a = fit(&data, NULL);
        require(a.status == SMX_OK && memcmp(a.atoms, b.atoms, sizeof a.atoms) == 0, "features at the edge of memory");
        {
            size_t size = smx_evaluate_workspace(&data, K), span = (size + page - 1) / page * page;
            char *guard = mmap(NULL, span + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            smx_evaluation evaluation;
            smx_evaluation_init(&evaluation, sizeof evaluation);
            mprotect(guard + page, span, PROT_READ | PROT_WRITE);
            require(smx_evaluate(&data, K, b.weights, b.atoms, NULL, &evaluation, guard + page + (at ? span - size : 0), size, NULL) == SMX_OK,
                    "a workspace at the edge of memory");
            munmap(guard, span + 2 * page);
        }
    }
    munmap(memory, room + 2 * page);
}

/* Sizes that are no lie of overflow, only more than anybody has: queries answer at once, and a call without the memory is refused. */
static void enormous(void)
{
    static const size_t MANY[] = {1u << 20, 1u << 26, (size_t)1 << 32, (size_t)1 << 40, (size_t)1 << 50};
    size_t i, j;
    for (i = 0; i < 5; i++)
        for (j = 0; j < 5; j++) {
            smx_data data = single();
            size_t n;
            data.rows = MANY[i];
            data.columns = MANY[j];
            n = smx_fit_workspace(&data, 2, NULL);
            require(n > data.rows, "large shapes need much");
            n = smx_scan_workspace(&data, 1, SMX_SCAN_MAX, NULL);
            require(n > data.rows, "large scans need more");
            n = smx_standard_errors_workspace(&data, 2);
            require(n > data.columns, "and so do errors");
            require(smx_covariance_workspace(&data, 2) >= n, "and so do covariances");
            data.choices = SMX_UNITS;
            data.units = MANY[j];
            data.columns = 3;
            n = smx_fit_workspace(&data, MANY[i], NULL);
            require(n > data.units, "many classes need much");
        }
}

int main(void)
{
    const struct rlimit limit = {600, 600};
    setrlimit(RLIMIT_CPU, &limit); /* a hang ends here */
    fill(1);
    rounding();
    scales();
    stack();
    reentered();
    forked();
    edges();
    enormous();
    printf("%d failures\n", failures);
    return failures != 0;
}
