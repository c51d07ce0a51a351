/* Latent moments, estimators, criteria, a scan that grows, and kernels: what they give, and what they refuse. Usage: moments DIRECTORY. */
#include "flights.h"
#include "softmix.h"
#include <math.h>

enum { P = 2000, L = 3, K = 2, DRAWS = 200000 };

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
    static uint64_t state = 7;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(state >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(void)
{
    return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
}

static double x[P * L], counts[P], weights[K], atoms[K * L];
static double covariance[L * L], to_atoms[L * L], from_atoms[L * L];
static unsigned char unidentified[L];
static const double TRUTH[K * L] = {1.0, 0.5, 0.0, -0.8, 0.3, 0.6};

/* Choices of two classes of weights 0.6 and 0.4, as counts. */
static void draw(void)
{
    static double cumulative[K][P];
    size_t i, k, n;
    for (i = 0; i < P * L; i++)
        x[i] = normal();
    for (k = 0; k < K; k++) {
        double sum = 0;
        for (i = 0; i < P; i++) {
            const double *row = x + i * L, *a = TRUTH + k * L;
            sum += exp(row[0] * a[0] + row[1] * a[1] + row[2] * a[2]);
            cumulative[k][i] = sum;
        }
    }
    for (n = 0; n < DRAWS; n++) {
        const double *c = cumulative[uniform() < 0.6 ? 0 : 1];
        double u = uniform() * c[P - 1];
        size_t low = 0, high = P - 1;
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (c[middle] < u)
                low = middle + 1;
            else
                high = middle;
        }
        counts[low] += 1;
    }
}

static void *memory(size_t size)
{
    return size == SMX_NONE ? NULL : malloc(size ? size : 1);
}

static void whiten(const smx_data *data, smx_whitening *whitening)
{
    size_t size = smx_whiten_workspace(data);
    void *workspace = memory(size);
    smx_whitening_init(whitening, sizeof *whitening);
    whitening->covariance = covariance;
    whitening->to_atoms = to_atoms;
    whitening->from_atoms = from_atoms;
    whitening->unidentified = unidentified;
    require(smx_whiten(data, NULL, whitening, workspace, size, NULL) == SMX_OK && whitening->rank == L, "whitening");
    free(workspace);
}

static double distance(void)
{
    double direct = 0, crossed = 0;
    size_t i;
    for (i = 0; i < K * L; i++) {
        direct += (atoms[i] - TRUTH[i]) * (atoms[i] - TRUTH[i]);
        crossed += (atoms[(i + L) % (K * L)] - TRUTH[i]) * (atoms[(i + L) % (K * L)] - TRUTH[i]);
    }
    return sqrt(direct < crossed ? direct : crossed);
}

static smx_status estimate(const smx_data *data, const smx_whitening *whitening, const smx_estimate_options *options,
                           smx_estimate_report *report, size_t short_by)
{
    smx_error error;
    size_t size = smx_estimate_workspace(data, K, options);
    void *workspace = memory(size);
    smx_status status;
    smx_error_init(&error, sizeof error);
    status = smx_estimate(data, whitening, K, options, weights, atoms, report, workspace, workspace ? size - short_by : 0, &error);
    require(status == error.status, "record");
    free(workspace);
    return status;
}

static void estimators(const smx_data *data, const smx_whitening *whitening)
{
    static const double AT_MOST[] = {0.15, 0.6, 1.5}; /* atoms are of length 1.1 */
    smx_estimate_options options;
    smx_estimate_report report;
    smx_data panel = *data;
    smx_method method;
    double before;
    for (method = SMX_METHOD_CORRECTED; method <= SMX_METHOD_DIRECTION; method++) {
        smx_estimate_options_init(&options, sizeof options);
        options.method = method;
        smx_estimate_report_init(&report, sizeof report);
        require(estimate(data, whitening, &options, &report, 0) == SMX_OK, "estimate");
        require(distance() < AT_MOST[method], "the estimate is near the truth");
        require(fabs(weights[0] + weights[1] - 1) < 1e-12, "weights sum to one");
        require((method == SMX_METHOD_CORRECTED) == (report.log_likelihood < 0), "only the correction has a log-likelihood");
        before = atoms[0];
        require(estimate(data, whitening, &options, &report, 1) == SMX_WORKSPACE && atoms[0] == before, "workspace");
    }
    require(estimate(data, whitening, NULL, NULL, 0) == SMX_OK, "defaults");
    options.method = 3;
    require(estimate(data, whitening, &options, &report, 0) == SMX_INVALID_OPTION, "method");
    smx_estimate_options_init(&options, sizeof options);
    options.order = 10;
    require(estimate(data, whitening, &options, &report, 0) == SMX_INVALID_OPTION, "order");
    options.order = 0;
    options.tilt = NAN;
    require(estimate(data, whitening, &options, &report, 0) == SMX_INVALID_OPTION, "tilt");
    options.tilt = -1;
    options.project = 2;
    require(estimate(data, whitening, &options, &report, 0) == SMX_INVALID_OPTION, "project");
    options.project = 1;
    options.max_evaluations = 0;
    require(estimate(data, whitening, &options, &report, 0) == SMX_INVALID_OPTION, "max_evaluations");
    {
        static const size_t sets[3] = {0, P / 2, P};
        panel.set_offsets = sets;
        panel.sets = 2;
        require(estimate(&panel, whitening, NULL, NULL, 0) == SMX_UNSUPPORTED, "several choice sets");
    }
}

static void latent(const smx_data *data, const smx_whitening *whitening)
{
    enum { ORDER = 4, THIRD = L * (L + 1) * (L + 2) / 6 };
    double directions[2 * L] = {1, 0, 0, 0, 1, 0}, moments[2 * (ORDER + 1)], errors[2 * (ORDER + 1)], first[L], second[L * L], third[THIRD];
    double first_errors[L], mean[L], eigenvalues[L], axes[L * L];
    size_t size = smx_latent_moments_workspace(data, 2, ORDER), size3 = smx_latent_tensors_workspace(data, 1), i;
    size_t size4 = smx_subspace_workspace(data);
    void *workspace = memory(size), *workspace3 = memory(size3), *workspace4 = memory(size4);
    smx_tensors tensors;
    smx_subspace_result subspace;
    require(smx_latent_moments(data, whitening, 2, directions, ORDER, NULL, moments, errors, workspace, size, NULL) == SMX_OK, "moments");
    require(fabs(moments[0] - 1) < 1e-12 && fabs(moments[ORDER + 1] - 1) < 1e-12 && errors[1] > 0 && errors[1] < 0.02, "order 0 is 1");
    smx_tensors_init(&tensors, sizeof tensors);
    tensors.first = first;
    tensors.second = second;
    tensors.third = third;
    tensors.first_errors = first_errors;
    require(smx_latent_tensors(data, whitening, NULL, &tensors, workspace3, size3, NULL) == SMX_OK, "tensors");
    for (i = 0; i < 2; i++) {
        require(fabs(first[i] - moments[i * (ORDER + 1) + 1]) < 1e-10, "first moments agree");
        require(fabs(second[i * L + i] - moments[i * (ORDER + 1) + 2]) < 1e-10, "second moments agree");
    }
    require(fabs(third[0] - moments[3]) < 1e-10, "third moments agree");
    require(fabs(first_errors[0] - errors[1]) < 1e-12, "so do their standard errors");
    {
        /* The same moments along a direction, and through vectors. */
        double crossed[3 * L], cross_errors[3 * L], packed[THIRD], slices[2 * L * L], all[L * L] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
        double shifted[1], one[1] = {1};
        size_t size5 = smx_cross_moments_workspace(data, 2), size6 = smx_third_moments_workspace(data, L);
        void *workspace5 = memory(size5), *workspace6 = memory(size6);
        require(smx_cross_moments(data, whitening, all, 2, NULL, crossed, cross_errors, workspace5, size5, NULL) == SMX_OK, "cross");
        for (i = 0; i < L; i++) {
            require(fabs(crossed[i] - first[i]) < 1e-10 && fabs(crossed[L + i] - second[i]) < 1e-10, "cross moments of order 0 and 1");
            require(fabs(cross_errors[i] - first_errors[i]) < 1e-12, "and their errors");
        }
        require(fabs(crossed[2 * L] - third[0]) < 1e-10, "cross moments of order 2");
        require(smx_third_projected(data, whitening, L, all, NULL, NULL, packed, workspace6, size6, NULL) == SMX_OK, "projected");
        for (i = 0; i < THIRD; i++)
            require(fabs(packed[i] - third[i]) < 1e-10, "through the axes: the tensor itself");
        require(smx_third_projected(data, whitening, 1, all, one, NULL, shifted, workspace6, size6, NULL) == SMX_OK, "shifted");
        /* (1 + d)^3 */
        require(fabs(shifted[0] - (1 + 3 * first[0] + 3 * second[0] + third[0])) < 1e-10, "with constants");
        require(smx_third_slices(data, whitening, 2, all, NULL, slices, workspace6, size6, NULL) == SMX_OK, "slices");
        require(fabs(slices[0] - third[0]) < 1e-10 && fabs(slices[L * L] - third[1]) < 1e-10 && fabs(slices[1] - third[1]) < 1e-10, "slices");
        require(smx_cross_moments(data, whitening, all, 2, NULL, crossed, NULL, workspace5, size5 - 1, NULL) == SMX_WORKSPACE, "cross 1");
        require(smx_cross_moments(data, whitening, all, SIZE_MAX, NULL, crossed, NULL, workspace5, size5, NULL) == SMX_OVERFLOW, "cross R");
        require(smx_cross_moments(data, whitening, NULL, 2, NULL, crossed, NULL, workspace5, size5, NULL) == SMX_NULL, "cross null");
        require(smx_cross_moments(data, whitening, all, 2, NULL, all, NULL, workspace5, size5, NULL) == SMX_ALIAS, "cross alias");
        require(smx_third_projected(data, whitening, SIZE_MAX, all, NULL, NULL, packed, workspace6, size6, NULL) == SMX_OVERFLOW, "many");
        require(smx_third_projected(data, whitening, L, all, all, NULL, all + 1, workspace6, size6, NULL) == SMX_ALIAS, "projected alias");
        require(smx_third_slices(data, whitening, SIZE_MAX / 64, all, NULL, slices, workspace6, size6, NULL) == SMX_OVERFLOW, "many slices");
        require(smx_third_slices(data, whitening, L, all, NULL, packed, workspace6, size6 - 1, NULL) == SMX_WORKSPACE, "slices 1");
        all[4] = NAN;
        require(smx_third_slices(data, whitening, 2, all, NULL, slices, workspace6, size6, NULL) == SMX_NOT_FINITE, "slices NaN");
        require(smx_third_projected(data, whitening, 2, all, NULL, NULL, packed, workspace6, size6, NULL) == SMX_NOT_FINITE, "projected NaN");
        require(smx_cross_moments_workspace(NULL, 2) == SMX_NONE && smx_cross_moments_workspace(data, SIZE_MAX) == SMX_NONE
                    && smx_third_moments_workspace(NULL, 2) == SMX_NONE && smx_third_moments_workspace(data, SIZE_MAX) == SMX_NONE, "queries");
        free(workspace5);
        free(workspace6);
    }
    smx_subspace_result_init(&subspace, sizeof subspace);
    subspace.mean_atom = mean;
    subspace.eigenvalues = eigenvalues;
    subspace.directions = axes;
    require(smx_subspace(data, whitening, 0, NULL, &subspace, workspace4, size4, NULL) == SMX_OK, "subspace");
    require(subspace.suggested_classes == 2 && eigenvalues[0] > eigenvalues[1] && subspace.draws > 1, "two classes");
    require(fabs(mean[0] - 0.28) < 0.1, "mean atom");

    directions[0] = 2;
    require(smx_latent_moments(data, whitening, 2, directions, ORDER, NULL, moments, errors, workspace, size, NULL) == SMX_INVALID_OPTION,
            "a direction has norm 1");
    directions[0] = 1;
    require(smx_latent_moments(data, whitening, 2, directions, ORDER, NULL, moments, moments + 1, workspace, size, NULL) == SMX_ALIAS, "alias");
    require(smx_latent_moments(data, whitening, 2, NULL, ORDER, NULL, moments, NULL, workspace, size, NULL) == SMX_NULL, "null");
    require(smx_latent_moments(data, whitening, SIZE_MAX, directions, 3, NULL, moments, NULL, workspace, size, NULL) == SMX_OVERFLOW, "many");
    require(smx_latent_moments(data, whitening, 2, directions, SIZE_MAX, NULL, moments, NULL, workspace, size, NULL) == SMX_OVERFLOW, "order");
    require(smx_latent_moments(data, whitening, 2, directions, ORDER, NULL, moments, errors, workspace, size - 1, NULL) == SMX_WORKSPACE, "1");
    tensors.third = NULL;
    tensors.third_errors = third;
    require(smx_latent_tensors(data, whitening, NULL, &tensors, workspace3, size3, NULL) == SMX_NULL, "errors of nothing");
    require(smx_subspace(data, whitening, -1, NULL, &subspace, workspace4, size4, NULL) == SMX_INVALID_OPTION, "tilt");
    require(smx_subspace(data, whitening, NAN, NULL, &subspace, workspace4, size4, NULL) == SMX_INVALID_OPTION, "tilt NaN");
    require(smx_subspace(NULL, whitening, 0, NULL, &subspace, workspace4, size4, NULL) == SMX_NULL, "no data");
    require(smx_subspace_workspace(NULL) == SMX_NONE && smx_latent_moments_workspace(data, SIZE_MAX, SIZE_MAX) == SMX_NONE
                && smx_latent_tensors_workspace(NULL, 0) == SMX_NONE && smx_estimate_workspace(data, SIZE_MAX, NULL) == SMX_NONE, "queries");
    free(workspace);
    free(workspace3);
    free(workspace4);
}

/* K = 1, 2, 3, each growing from the one before; the criteria of a ridge-less fit of units. By smx_scan, and step by step. */
static void scan(const smx_data *data)
{
    double found[2][3], theta[2][3 * FEATURES], last_bic = INFINITY;
    double all_weights[6], all_atoms[6 * FEATURES], values[3], bic[3], icl[3];
    size_t k, parameters[3], bytes = smx_scan_workspace(data, 1, 3, NULL);
    void *room = memory(bytes);
    int32_t outcomes[3];
    smx_scan_result all;
    smx_scan_result_init(&all, sizeof all);
    all.weights = all_weights;
    all.atoms = all_atoms;
    all.log_likelihoods = values;
    all.bic = bic;
    all.icl = icl;
    all.parameters = parameters;
    all.outcomes = outcomes;
    require(smx_scan(data, 1, 3, NULL, &all, room, bytes, NULL) == SMX_OK && all.fits == 3 && all.rank == FEATURES, "smx_scan");
    require(all.best_bic == 3 && all.best_aic == 3 && all.evaluations > 3, "the best of the scan");
    require(smx_scan_workspace(NULL, 1, 3, NULL) == SMX_NONE && smx_scan_workspace(data, 3, 2, NULL) == SMX_NONE, "scan queries");
    free(room);
    for (k = 1; k <= 3; k++) {
        smx_fit_options options;
        smx_fit_result result;
        smx_criteria_result criteria;
        size_t size;
        void *workspace;
        smx_fit_options_init(&options, sizeof options);
        if (k > 1) {
            options.grow_weights = found[(k - 1) % 2];
            options.grow_atoms = theta[(k - 1) % 2];
        }
        smx_fit_result_init(&result, sizeof result);
        result.weights = found[k % 2];
        result.atoms = theta[k % 2];
        size = smx_fit_workspace(data, k, &options);
        workspace = memory(size);
        require(smx_fit(data, k, &options, &result, workspace, size, NULL) == SMX_OK && result.outcome == SMX_CONVERGED, "scan");
        free(workspace);
        smx_criteria_result_init(&criteria, sizeof criteria);
        size = smx_criteria_workspace(data, k);
        workspace = memory(size);
        require(smx_criteria(data, k, result.weights, result.atoms, result.rank, NULL, &criteria, workspace, size, NULL) == SMX_OK, "criteria");
        free(workspace);
        require(criteria.parameters == k - 1 + k * FEATURES && criteria.observations == GROUPS, "parameters and observations");
        require(fabs(criteria.aic - (-2 * result.log_likelihood + 2 * (double)criteria.parameters)) < 1e-6, "aic");
        require(values[k - 1] == result.log_likelihood && bic[k - 1] == criteria.bic && icl[k - 1] == criteria.icl
                    && parameters[k - 1] == criteria.parameters && outcomes[k - 1] == result.outcome, "a scan is its fits");
        require(memcmp(all_weights + k * (k - 1) / 2, result.weights, k * sizeof(double)) == 0
                    && memcmp(all_atoms + k * (k - 1) / 2 * FEATURES, result.atoms, k * FEATURES * sizeof(double)) == 0, "bit for bit");
        require(criteria.bic < last_bic && criteria.icl >= criteria.bic, "bic falls, and icl is not below it");
        last_bic = criteria.bic;
    }
}

static void kernels(void)
{
    enum { N = 70 };
    double values[N], out[N], same[N], value, sum = 0;
    float single[N], outf[N], valuef;
    smx_sum a, b, all;
    smx_isa isa;
    size_t n, i;
    for (i = 0; i < N; i++) {
        values[i] = 6 * normal();
        single[i] = (float)values[i];
    }
    for (isa = SMX_ISA_AUTO; isa <= SMX_ISA_NEON; isa++) {
        if (smx_exp(values, out, 0, isa) == SMX_UNSUPPORTED)
            continue;
        for (n = 0; n <= N; n++) {
            double top = -INFINITY, direct = 0, error = 0;
            for (i = 0; i < n; i++)
                top = fmax(top, values[i]);
            for (i = 0; i < n; i++)
                direct += exp(values[i] - top);
            direct = n ? top + log(direct) : -INFINITY;
            require(smx_logsumexp(values, n, &value, isa) == SMX_OK && (n ? fabs(value - direct) < 1e-13 : value == direct), "logsumexp");
            require(smx_logsumexpf(single, n, &valuef, isa) == SMX_OK && (n ? fabs(valuef - direct) < 1e-4 : valuef < 0), "logsumexpf");
            require(smx_sum_of(values, n / 2, &a, isa) == SMX_OK && smx_sum_of(values + n / 2, n - n / 2, &b, isa) == SMX_OK, "sums");
            all = smx_sum_merge(a, b);
            require(n ? fabs(smx_sum_log(all) - direct) < 1e-13 : smx_sum_log(all) == -INFINITY, "merge");
            require(smx_exp(values, out, n, isa) == SMX_OK && smx_expf(single, outf, n, isa) == SMX_OK, "exp");
            for (i = 0; i < n; i++) {
                error = fmax(error, fabs(out[i] / exp(values[i]) - 1));
                require(fabs(outf[i] / exp((double)single[i]) - 1) < 1e-6, "expf");
            }
            require(error < 1e-15, "exp is right");
            require(smx_log(out, out, n, isa) == SMX_OK && smx_logf(outf, outf, n, isa) == SMX_OK, "log in place");
            for (i = 0; i < n; i++)
                require(fabs(out[i] - values[i]) < 1e-14, "log undoes exp");
            require(smx_softmax(values, out, n, isa) == SMX_OK && smx_softmaxf(single, outf, n, isa) == SMX_OK, "softmax");
            memcpy(same, values, sizeof values);
            require(smx_softmax(same, same, n, isa) == SMX_OK && memcmp(same, out, n * sizeof *out) == 0, "softmax in place");
            for (sum = 0, i = 0; i < n; i++)
                sum += out[i];
            require(n == 0 || fabs(sum - 1) < 1e-14, "softmax sums to one");
            require(smx_log_softmax(values, same, n, isa) == SMX_OK && smx_log_softmaxf(single, outf, n, isa) == SMX_OK, "log-softmax");
            for (i = 0; i < n; i++)
                require(fabs(same[i] - (values[i] - direct)) < 1e-13, "log-softmax is its logarithm");
        }
        require(smx_logsumexp_columns(values, N / 7, 7, out, isa) == SMX_OK && smx_logsumexp_columnsf(single, N / 7, 7, outf, isa) == SMX_OK, "columns");
        for (i = 0; i < 7; i++) {
            double column[N / 7];
            for (n = 0; n < N / 7; n++)
                column[n] = values[7 * n + i];
            require(smx_logsumexp(column, N / 7, &value, isa) == SMX_OK && fabs(out[i] - value) < 1e-13 && fabs(outf[i] - value) < 1e-4, "a column");
            require(smx_logsumexp_strided(values + i, N / 7, 7, &value, isa) == SMX_OK && fabs(out[i] - value) < 1e-13, "numbers apart");
            require(smx_logsumexp_stridedf(single + i, N / 7, 7, &valuef, isa) == SMX_OK && fabs(outf[i] - valuef) < 1e-4, "floats apart");
        }
        require(smx_sum_of_float(single, N, &all, isa) == SMX_OK && fabs(smx_sum_log(all) - smx_sum_log(smx_sum_merge(a, b))) < 1e-5, "float sums");
        {
            /* Infinities and NaN, as each comment of the header says. */
            const double special[3] = {-INFINITY, 0, INFINITY}, lowest[2] = {-INFINITY, -INFINITY}, broken[2] = {NAN, INFINITY};
            const double half[3] = {-INFINITY, 1, 1}, negative[3] = {0, -1, INFINITY};
            const float specialf[3] = {-INFINITY, 0, INFINITY}, halff[3] = {-INFINITY, 1, 1};
            smx_exp(special, out, 3, isa);
            smx_expf(specialf, outf, 3, isa);
            require(out[0] == 0 && out[1] == 1 && out[2] == INFINITY && outf[0] == 0 && outf[1] == 1 && outf[2] == INFINITY, "exp");
            smx_log(negative, out, 3, isa);
            require(out[0] == -INFINITY && isnan(out[1]) && out[2] == INFINITY, "log");
            smx_softmax(half, out, 3, isa);
            smx_softmaxf(halff, outf, 3, isa);
            require(out[0] == 0 && out[1] == 0.5 && outf[0] == 0 && outf[2] == 0.5f, "softmax of -infinity");
            smx_softmax(lowest, out, 2, isa);
            require(out[0] == 0 && out[1] == 0, "softmax of -infinity alone");
            smx_softmax(special, out, 3, isa);
            require(isnan(out[0]) && isnan(out[1]) && isnan(out[2]), "softmax of infinity");
            smx_log_softmax(half, out, 3, isa);
            require(out[0] == -INFINITY && fabs(out[1] + log(2)) < 1e-15, "log-softmax of -infinity");
            smx_log_softmax(lowest, out, 2, isa);
            require(out[0] == -INFINITY && out[1] == -INFINITY, "log-softmax of -infinity alone");
            smx_log_softmax(broken, out, 2, isa);
            require(isnan(out[0]) && isnan(out[1]), "log-softmax of NaN");
            require(smx_logsumexp(special, 3, &value, isa) == SMX_OK && value == INFINITY, "logsumexp of infinity");
            require(smx_logsumexp(broken, 2, &value, isa) == SMX_OK && isnan(value), "logsumexp of NaN and infinity");
            require(smx_logsumexp(lowest, 2, &value, isa) == SMX_OK && value == -INFINITY, "logsumexp of -infinity alone");
            require(smx_sum_of(NULL, 0, &all, isa) == SMX_OK && smx_sum_log(all) == -INFINITY, "the sum of nothing");
            require(smx_sum_log(smx_sum_merge(all, a)) == smx_sum_log(a) && smx_sum_log(smx_sum_merge(a, all)) == smx_sum_log(a), "adds nothing");
            {
                /* So does any sum of 0, whatever its largest exponent. */
                struct smx_sum zero = {0, 0}, far = {-1e5, 1.5};
                require(smx_sum_log(smx_sum_merge(zero, far)) == smx_sum_log(far) && smx_sum_log(smx_sum_merge(far, zero)) == smx_sum_log(far), "zero");
                zero.max = -INFINITY;
                require(smx_sum_log(smx_sum_merge(zero, zero)) == -INFINITY, "two zeros");
            }
        }
        value = NAN;
        require(smx_exp(&value, &value, 1, isa) == SMX_OK && isnan(value), "NaN passes through");
    }
    require(smx_exp(NULL, out, 3, 0) == SMX_NULL && smx_exp(values, NULL, 3, 0) == SMX_NULL && smx_exp(NULL, NULL, 0, 0) == SMX_OK, "null");
    require(smx_exp(values, values + 1, 3, 0) == SMX_ALIAS && smx_logsumexp(values, 3, values + 2, 0) == SMX_ALIAS, "alias");
    require(smx_softmax(values, out, SIZE_MAX, 0) == SMX_OVERFLOW && smx_logsumexp(values, SIZE_MAX / 4, &value, 0) == SMX_OVERFLOW, "overflow");
    require(smx_logsumexp_columns(values, SIZE_MAX, 2, out, 0) == SMX_OVERFLOW && smx_logsumexp_columns(values, 0, 0, NULL, 0) == SMX_OK, "columns");
    require(smx_logsumexp_strided(values, 3, 0, &value, 0) == SMX_INVALID_OPTION && smx_logsumexp_strided(values, 3, SIZE_MAX, &value, 0) == SMX_OVERFLOW, "stride");
    require(smx_logsumexp_strided(NULL, 0, 5, &value, 0) == SMX_OK && value < 0 && isinf(value), "no numbers apart");
    require(smx_exp((double *)(void *)((char *)values + 1), out, 3, 0) == SMX_ALIGNMENT, "alignment");
    require(smx_exp(values, out, 3, 5) == SMX_INVALID_OPTION && smx_exp(values, out, 3, -1) == SMX_INVALID_OPTION, "isa");
    require(smx_logsumexp(values, 3, NULL, 0) == SMX_NULL, "nowhere to write");
}

int main(int argc, char **argv)
{
    static struct flights f;
    smx_data data, units;
    smx_whitening whitening;
    if (argc != 2)
        return 2;
    draw();
    smx_data_init(&data, sizeof data);
    data.features = x;
    data.rows = P;
    data.columns = L;
    data.counts = counts;
    whiten(&data, &whitening);
    estimators(&data, &whitening);
    latent(&data, &whitening);
    read_flights(argv[1], &f);
    smx_data_init(&units, sizeof units);
    units.features = f.features;
    units.rows = DESTINATIONS;
    units.columns = FEATURES;
    units.choices = SMX_UNITS;
    units.units = GROUPS;
    units.entries = f.indptr[GROUPS];
    units.indptr = f.indptr;
    units.indices = f.indices;
    units.counts = f.group_counts;
    scan(&units);
    kernels();
    printf("%d failures\n", failures);
    return failures != 0;
}
