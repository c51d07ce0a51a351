/* Exponentials of SLEEF and of glibc's libmvec, a vector at a time, and a clock around any of these kernels.
 *
 * Python calls `time_calls` once a batch, so that its own call costs nothing that counts. A kernel that this machine or its libraries
 * have not is a null pointer from `find_kernel`. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

/* `out[i] = f(x[i])`, i < n. */
typedef void (*map_fn)(const void *x, void *out, size_t n);

#if defined(__x86_64__) && defined(__GLIBC__)
#include <immintrin.h>

/* glibc's vector functions, by the names of the vector function ABI. */
__m256d _ZGVdN4v_exp(__m256d);
__m512d _ZGVeN8v_exp(__m512d);
__m256 _ZGVdN8v_expf(__m256);
__m512 _ZGVeN16v_expf(__m512);

static __m256d (*sleef_d4)(__m256d);
static __m512d (*sleef_d8)(__m512d);
static __m256 (*sleef_f8)(__m256);
static __m512 (*sleef_f16)(__m512);

/* A map over whole vectors; the rest goes through one that is filled up. */
#define MAP(name, features, type, vector, lanes, load, store, function)                                                                       \
    __attribute__((target(features))) static void name(const void *from, void *to, size_t n) {                                                \
        const type *x = from;                                                                                                                 \
        type *out = to;                                                                                                                       \
        size_t i = 0;                                                                                                                         \
        for (; i + lanes <= n; i += lanes) store(out + i, function(load(x + i)));                                                             \
        if (i < n) {                                                                                                                          \
            type rest[lanes] = {0};                                                                                                           \
            memcpy(rest, x + i, (n - i) * sizeof(type));                                                                                      \
            store(rest, function(load(rest)));                                                                                                \
            memcpy(out + i, rest, (n - i) * sizeof(type));                                                                                    \
        }                                                                                                                                     \
    }

MAP(mvec_d4, "avx2,fma", double, __m256d, 4, _mm256_loadu_pd, _mm256_storeu_pd, _ZGVdN4v_exp)
MAP(mvec_d8, "avx512f", double, __m512d, 8, _mm512_loadu_pd, _mm512_storeu_pd, _ZGVeN8v_exp)
MAP(mvec_f8, "avx2,fma", float, __m256, 8, _mm256_loadu_ps, _mm256_storeu_ps, _ZGVdN8v_expf)
MAP(mvec_f16, "avx512f", float, __m512, 16, _mm512_loadu_ps, _mm512_storeu_ps, _ZGVeN16v_expf)
MAP(map_sleef_d4, "avx2,fma", double, __m256d, 4, _mm256_loadu_pd, _mm256_storeu_pd, sleef_d4)
MAP(map_sleef_d8, "avx512f", double, __m512d, 8, _mm512_loadu_pd, _mm512_storeu_pd, sleef_d8)
MAP(map_sleef_f8, "avx2,fma", float, __m256, 8, _mm256_loadu_ps, _mm256_storeu_ps, sleef_f8)
MAP(map_sleef_f16, "avx512f", float, __m512, 16, _mm512_loadu_ps, _mm512_storeu_ps, sleef_f16)

/* The kernel of a library ("sleef" at a path, or "mvec") for vectors of `bits` and numbers of `bytes`. */
map_fn find_kernel(const char *library, const char *path, int bits, int bytes) {
    __builtin_cpu_init();
    if (bits == 512 ? !__builtin_cpu_supports("avx512f") : !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))) return NULL;
    if (strcmp(library, "mvec") == 0) return bits == 512 ? (bytes == 8 ? mvec_d8 : mvec_f16) : (bytes == 8 ? mvec_d4 : mvec_f8);
    void *handle = dlopen(path, RTLD_NOW);
    if (!handle) return NULL;
    if (bits == 512 && bytes == 8) return (sleef_d8 = (__m512d(*)(__m512d))dlsym(handle, "Sleef_expd8_u10avx512f")) ? map_sleef_d8 : NULL;
    if (bits == 512) return (sleef_f16 = (__m512(*)(__m512))dlsym(handle, "Sleef_expf16_u10avx512f")) ? map_sleef_f16 : NULL;
    if (bytes == 8) return (sleef_d4 = (__m256d(*)(__m256d))dlsym(handle, "Sleef_expd4_u10avx2")) ? map_sleef_d4 : NULL;
    return (sleef_f8 = (__m256(*)(__m256))dlsym(handle, "Sleef_expf8_u10avx2")) ? map_sleef_f8 : NULL;
}
#else
map_fn find_kernel(const char *library, const char *path, int bits, int bytes) {
    (void)library, (void)path, (void)bits, (void)bytes;
    return NULL;
}
#endif

/* Seconds that this process has computed: what other programs take of the machine does not count. */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of `repeats` calls of a kernel of one of three shapes: f(x, out, n), f(x, out, n, isa), f(x, n, out, isa). */
double time_calls(void *f, int shape, const void *x, void *out, size_t n, int32_t isa, size_t repeats) {
    double start = now();
    for (size_t r = 0; r < repeats; r++) {
        if (shape == 0) ((map_fn)f)(x, out, n);
        if (shape == 1) ((int32_t(*)(const void *, void *, size_t, int32_t))f)(x, out, n, isa);
        if (shape == 2) ((int32_t(*)(const void *, size_t, void *, int32_t))f)(x, n, out, isa);
    }
    return now() - start;
}

/* Seconds of reading `n` numbers at `x` once, as their sum, which is added to `sum`. */
#define LANES 32
double time_read(const double *x, size_t n, double *sum) {
    double s[LANES] = {0};
    double start = now();
    for (size_t i = 0; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) s[j] += x[i + j];
    double seconds = now() - start;
    for (size_t j = 0; j < LANES; j++) *sum += s[j];
    return seconds;
}

/* Operations per second of `repeats` rounds of as many independent vector multiply-adds; each counts as two operations a number. */
#define CHAINS 12
#if defined(__x86_64__)
__attribute__((target("avx512f"))) static double fma_512(size_t repeats, double *sink) {
    __m512d a[CHAINS], m = _mm512_set1_pd(0.999999), c = _mm512_set1_pd(1e-9);
    for (int j = 0; j < CHAINS; j++) a[j] = _mm512_set1_pd(1.0 + j);
    double start = now();
    for (size_t r = 0; r < repeats; r++) {
        for (int j = 0; j < CHAINS; j++) a[j] = _mm512_fmadd_pd(a[j], m, c);
    }
    double seconds = now() - start;
    for (int j = 0; j < CHAINS; j++) *sink += _mm512_reduce_add_pd(a[j]);
    return 16.0 * CHAINS * (double)repeats / seconds;
}
__attribute__((target("avx2,fma"))) static double fma_256(size_t repeats, double *sink) {
    __m256d a[CHAINS], m = _mm256_set1_pd(0.999999), c = _mm256_set1_pd(1e-9);
    for (int j = 0; j < CHAINS; j++) a[j] = _mm256_set1_pd(1.0 + j);
    double start = now();
    for (size_t r = 0; r < repeats; r++) {
        for (int j = 0; j < CHAINS; j++) a[j] = _mm256_fmadd_pd(a[j], m, c);
    }
    double seconds = now() - start;
    for (int j = 0; j < CHAINS; j++) *sink += a[j][0];
    return 8.0 * CHAINS * (double)repeats / seconds;
}
#endif
/* Floating-point operations per second of multiply-adds in registers; 0 where unknown. */
double peak_flops(size_t repeats, double *sink) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) return fma_512(repeats, sink);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return fma_256(repeats, sink);
#endif
    (void)repeats, (void)sink;
    return 0;
}
