/* Calls from many threads at a time on shared data give what one thread gives; and any number of fits leaves memory as it was.
 * Usage: stress DIRECTORY [rounds]; one round, which is for tools whose own memory grows, does not judge memory. */
#define _POSIX_C_SOURCE 200112L
#include "flights.h"
#include "softmix.h"
#include <pthread.h>

enum { THREADS = 8, CLASSES = 2 };

static struct flights f;
static smx_data data;
static int rounds = 3;

struct outcome {
    double log_likelihood, atoms[CLASSES * FEATURES];
    int bad;
};

static void *work(void *argument)
{
    struct outcome *out = argument;
    size_t size = smx_fit_workspace(&data, CLASSES, NULL), needed = smx_evaluate_workspace(&data, CLASSES);
    void *workspace = malloc(size > needed ? size : needed);
    int round;
    for (round = 0; round < rounds; round++) {
        double weights[CLASSES], atoms[CLASSES * FEATURES];
        smx_fit_options options;
        smx_fit_result result;
        smx_evaluation evaluation;
        smx_error error;
        smx_error_init(&error, sizeof error);
        smx_fit_options_init(&options, sizeof options);
        options.starts = 4;
        smx_fit_result_init(&result, sizeof result);
        result.weights = weights;
        result.atoms = atoms;
        smx_evaluation_init(&evaluation, sizeof evaluation);
        if (smx_fit(&data, CLASSES, &options, &result, workspace, smx_fit_workspace(&data, CLASSES, &options), &error) != SMX_OK
            || smx_evaluate(&data, CLASSES, weights, atoms, NULL, &evaluation, workspace, needed, &error) != SMX_OK)
            out->bad = 1;
        /* Errors of one thread are no other's. */
        if (smx_evaluate(&data, 0, weights, atoms, NULL, &evaluation, workspace, needed, &error) != SMX_EMPTY || error.status != SMX_EMPTY)
            out->bad = 1;
        if (round > 0 && (out->log_likelihood != result.log_likelihood || memcmp(out->atoms, atoms, sizeof atoms) != 0))
            out->bad = 1;
        out->log_likelihood = result.log_likelihood;
        memcpy(out->atoms, atoms, sizeof atoms);
    }
    free(workspace);
    return NULL;
}

/* Resident memory in pages, where the system says. */
static long resident(void)
{
    long total, pages = 0;
#ifdef __SANITIZE_ADDRESS__ /* which keeps what was freed */
    FILE *file = NULL;
#else
    FILE *file = fopen("/proc/self/statm", "r");
#endif
    if (file) {
        if (fscanf(file, "%ld %ld", &total, &pages) != 2)
            pages = 0;
        fclose(file);
    }
    return pages;
}

static void together(struct outcome *outcomes)
{
    pthread_t threads[THREADS];
    int i;
    for (i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, work, &outcomes[i]);
    for (i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
    static struct outcome alone, outcomes[THREADS];
    long before, after;
    int i, times = 1, bad = 0;
    if (argc < 2)
        return 2;
    if (argc > 2)
        rounds = atoi(argv[2]);
    read_flights(argv[1], &f);
    smx_data_init(&data, sizeof data);
    data.features = f.features;
    data.rows = DESTINATIONS;
    data.columns = FEATURES;
    data.counts = f.counts;
    work(&alone);
    together(outcomes);
    /* What the allocator keeps for threads grows at times; what leaks grows every time. */
    do {
        before = resident();
        together(outcomes);
        after = resident();
        times++;
    } while (rounds > 1 && after > before + 256 && times < 5);
    for (i = 0; i < THREADS; i++)
        bad |= outcomes[i].bad || outcomes[i].log_likelihood != alone.log_likelihood
            || memcmp(outcomes[i].atoms, alone.atoms, sizeof alone.atoms) != 0;
    printf("%d fits, %s, %ld pages before, %ld after\n", rounds * (times * THREADS + 1), bad ? "different" : "the same", before, after);
    return bad || alone.bad || (rounds > 1 && after > before + 256);
}
