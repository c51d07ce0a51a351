/* Fits the shipped flights: usage flights DIRECTORY. A line for each fit: layout, classes, log-likelihood, outcome. */
#include "flights.h"
#include "softmix.h"

static int calls;

static int32_t count_calls(const smx_progress *progress, void *user)
{
    (void)progress;
    ++*(int *)user;
    return 0;
}

static void check(smx_status status, const smx_error *error)
{
    if (status != SMX_OK) {
        char text[200];
        smx_error_format(error, text, sizeof text);
        fprintf(stderr, "error %d: %s\n", (int)status, text);
        exit(1);
    }
}

static void fit(const char *layout, const smx_data *data, size_t classes)
{
    double weights[8], atoms[8 * FEATURES];
    smx_fit_options options;
    smx_fit_result result;
    smx_evaluation evaluation;
    smx_error error;
    size_t size, needed;
    void *workspace;

    smx_error_init(&error, sizeof error);
    smx_fit_options_init(&options, sizeof options);
    options.progress = count_calls;
    options.user = &calls;
    smx_fit_result_init(&result, sizeof result);
    result.weights = weights;
    result.atoms = atoms;

    size = smx_fit_workspace(data, classes, &options);
    needed = smx_evaluate_workspace(data, classes);
    workspace = malloc(size > needed ? size : needed);
    check(smx_fit(data, classes, &options, &result, workspace, size, &error), &error);

    /* The mixture found has the log-likelihood reported. */
    smx_evaluation_init(&evaluation, sizeof evaluation);
    check(smx_evaluate(data, classes, weights, atoms, NULL, &evaluation, workspace, needed, &error), &error);
    printf("%s %lu %.17g %.17g %d\n", layout, (unsigned long)classes, result.log_likelihood, evaluation.log_likelihood,
           (int)result.outcome);
    free(workspace);
}

/* Ten steps of expectation maximisation from two made-up classes: the likelihood never falls. */
static void em(const smx_data *data)
{
    double weights[2] = {0.5, 0.5}, atoms[2 * FEATURES] = {0}, before = -1e300, now;
    double covariance[FEATURES * FEATURES], to_atoms[FEATURES * FEATURES], from_atoms[FEATURES * FEATURES];
    unsigned char unidentified[FEATURES];
    smx_whitening whitening;
    smx_error error;
    size_t size = smx_em_step_workspace(data, 2, NULL), needed = smx_whiten_workspace(data);
    void *workspace = malloc(size > needed ? size : needed);
    int i;

    smx_error_init(&error, sizeof error);
    smx_whitening_init(&whitening, sizeof whitening);
    whitening.covariance = covariance;
    whitening.to_atoms = to_atoms;
    whitening.from_atoms = from_atoms;
    whitening.unidentified = unidentified;
    check(smx_whiten(data, NULL, &whitening, workspace, needed, &error), &error);
    for (i = 0; i < FEATURES; i++)
        atoms[i] = to_atoms[i];     /* one unit along the first whitened direction */
    for (i = 0; i < 10; i++) {
        check(smx_em_step(data, &whitening, 2, NULL, weights, atoms, &now, NULL, workspace, size, &error), &error);
        if (now < before - 1e-9 * -before) {
            fprintf(stderr, "EM lowered the likelihood\n");
            exit(1);
        }
        before = now;
    }
    printf("em %lu %.17g\n", (unsigned long)whitening.rank, now);
    free(workspace);
}

int main(int argc, char **argv)
{
    static struct flights f;
    static float single[DESTINATIONS * FEATURES];
    smx_data data;
    size_t i;

    if (argc != 2 || smx_version() / 1000 != SMX_VERSION_MAJOR * 1000 + SMX_VERSION_MINOR)
        return 2;
    read_flights(argv[1], &f);
    smx_data_init(&data, sizeof data);
    data.features = f.features;
    data.rows = DESTINATIONS;
    data.columns = FEATURES;

    data.choices = SMX_COUNTS;
    data.counts = f.counts;
    fit("counts", &data, 1);
    fit("counts", &data, 2);
    em(&data);

    for (i = 0; i < DESTINATIONS * FEATURES; i++)
        single[i] = (float)f.features[i];
    data.dtype = SMX_F32;
    data.features = single;
    fit("counts_f32", &data, 2);
    data.dtype = SMX_F64;
    data.features = f.features;

    data.choices = SMX_UNITS;
    data.units = GROUPS;
    data.entries = f.indptr[GROUPS];
    data.indptr = f.indptr;
    data.indices = f.indices;
    data.counts = f.group_counts;
    fit("units", &data, 2);
    return calls > 0 ? 0 : 1;
}
