/* Where the system gives no threads, a call that may use several works alone, and finds the same. Usage: alone. */
#include "softmix.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { P = 20000, L = 10, K = 2 };

static int asked;

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument)
{
    (void)thread, (void)attributes, (void)body, (void)argument;
    asked++;
    return EAGAIN;
}

int main(void)
{
    static double x[P * L], counts[P];
    const double weights[K] = {0.5, 0.5}, atoms[K * L] = {1, 0, 0.5};
    double alone = 0;
    size_t i, size, threads;
    void *workspace;
    smx_data data;
    smx_evaluate_options options;
    smx_evaluation found;
    for (i = 0; i < P * L; i++)
        x[i] = (double)(i * 7919 % 1009) / 1009;
    for (i = 0; i < P; i++)
        counts[i] = (double)(i % 5);
    smx_data_init(&data, sizeof data);
    data.features = x;
    data.rows = P;
    data.columns = L;
    data.counts = counts;
    smx_evaluate_options_init(&options, sizeof options);
    smx_evaluation_init(&found, sizeof found);
    size = smx_evaluate_workspace(&data, K);
    workspace = malloc(size);
    for (threads = 1; threads < 5; threads++) {
        smx_status status;
        options.threads = threads;
        status = smx_evaluate(&data, K, weights, atoms, &options, &found, workspace, size, NULL);
        if (threads == 1)
            alone = found.log_likelihood;
        if (status != SMX_OK || found.log_likelihood < alone || found.log_likelihood > alone) {
            printf("%d with %d threads, of which none was given\n", (int)status, (int)threads);
            return 1;
        }
    }
    free(workspace);
    printf("asked for threads: %s\n", asked ? "yes" : "no");
    return 0;
}
