/* The flights in C++: a fit with progress, a scan, posterior classes, standard errors, an error with its place, and an exception out of a
 * progress function. Usage: flights DIRECTORY. */
#include "flights.h"
#include "softmix.hpp"
#include <array>
#include <cmath>
#include <cstring>
#include <type_traits>
#if __cplusplus >= 202002L
#include <span>
#endif

static void require(bool ok, const char *what)
{
    if (!ok) {
        std::fprintf(stderr, "not so: %s\n", what);
        std::exit(1);
    }
}

/* What lives on may be looked at; temporaries that hold their values, and the number 0 for a pointer, do not compile. */
using numbers = std::vector<double>;
using softmix::view;
static_assert(std::is_constructible_v<softmix::counts, numbers &> && std::is_constructible_v<softmix::counts, const numbers &>);
static_assert(std::is_constructible_v<softmix::counts, std::array<double, 3> &> && std::is_constructible_v<softmix::counts, view<double>>);
static_assert(!std::is_constructible_v<softmix::counts, numbers> && !std::is_constructible_v<softmix::counts, const numbers>);
static_assert(!std::is_constructible_v<softmix::counts, std::array<double, 3>>);
static_assert(std::is_constructible_v<view<const double>, double *, int> && std::is_constructible_v<view<const double>, std::nullptr_t, int>);
static_assert(!std::is_constructible_v<view<const double>, int, int>);

template <class C, class = void> struct takes : std::false_type {};
template <class C>
struct takes<C, std::void_t<decltype(softmix::features::row_major(std::declval<C>(), 4, 1)), decltype(softmix::features::column_major(std::declval<C>(), 4, 1)),
                            decltype(softmix::features::strided(std::declval<C>(), 4, 1, 1, 1))>> : std::true_type {};
static_assert(takes<numbers &>::value && takes<const numbers &>::value && takes<view<const double>>::value && takes<view<float>>::value);
static_assert(takes<std::array<float, 4> &>::value && takes<const view<double> &>::value);
static_assert(!takes<numbers>::value && !takes<const numbers>::value && !takes<std::array<double, 4>>::value);
#if __cplusplus >= 202002L
static_assert(takes<std::span<const double>>::value && takes<std::span<float>>::value && std::is_constructible_v<softmix::counts, std::span<double>>);
template <class C> concept braces_for_counts = requires { C({0, 3}); };
static_assert(!braces_for_counts<softmix::counts>);
#endif

/* The status, and the argument, of what must throw. */
template <class F> static void refused(smx_status status, const char *argument, F &&call)
{
    try {
        call();
        require(false, argument);
    } catch (const softmix::error &e) {
        require(e.status() == status && std::strcmp(e.argument(), argument) == 0, e.what());
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    static flights f;
    read_flights(argv[1], &f);
    const std::vector<double> x(f.features, f.features + DESTINATIONS * FEATURES);
    const softmix::view<const std::size_t> indptr(f.indptr, GROUPS + 1), indices(f.indices, f.indptr[GROUPS]);
    const softmix::view<const double> counts(f.group_counts, f.indptr[GROUPS]);
    const softmix::data data(softmix::features::row_major(x, DESTINATIONS, FEATURES), softmix::units(indptr, indices, counts));
    require(data.check().total_choices == 329174, "329174 flights");

    softmix::fit_options options;
    std::size_t calls = 0;
    options.progress = [&](const smx_progress &now) {
        if (calls++ % 100 == 0)
            std::fprintf(stderr, "%zu of %zu starts, best %.2f\n", now.finished, now.drawn, now.best);
        return true;
    };
    const softmix::fitted fit = softmix::fit(data, 2, options);
    require(fit.converged() && calls > 0, "converged");
    require(fit.start_values.size() == fit.start_kinds.size() && fit.at_best >= 1, "starts");
    std::printf("units 2 %.17g\n", fit.log_likelihood);

    const std::vector<double> posterior = softmix::posterior(data, fit);
    for (std::size_t u = 0; u < GROUPS; u++)
        require(std::fabs(posterior[2 * u] + posterior[2 * u + 1] - 1) < 1e-12, "posterior classes sum to one");
    const softmix::probabilities p = softmix::choice_probabilities(data, fit);
    double sum = 0;
    for (double mixed : p.mixed)
        sum += mixed;
    require(std::fabs(sum - 1) < 1e-12, "choice probabilities sum to one");
    require(softmix::choice_probabilities(softmix::data(softmix::features::row_major(x, DESTINATIONS, FEATURES)), fit).mixed == p.mixed, "and need no choices");
    const softmix::whitening whitening(data);
    const softmix::mixture errors = softmix::standard_errors(data, whitening, fit);
    for (double e : errors.atoms)
        require(e > 0 && e < 1, "standard errors");
    const std::vector<double> covariance = softmix::covariance(data, whitening, fit);
    const std::size_t estimates = 2 + 2 * FEATURES;
    require(covariance.size() == estimates * estimates, "weights and atoms");
    require(std::fabs(covariance[1] + covariance[0]) < 1e-9 * covariance[0], "one weight moves against the other");
    for (std::size_t j = 2; j < estimates; j++)
        require(std::fabs(std::sqrt(covariance[j * estimates + j]) / errors.atoms[j - 2] - 1) < 1e-9, "roots of the diagonal");
    const softmix::mixture robust = softmix::standard_errors(data, whitening, fit, softmix::variance::robust);
    require(robust.atoms[0] > 0 && robust.atoms[0] != errors.atoms[0], "by the sandwich");

    smx_shard whole;
    smx_shard_init(&whole, sizeof whole);
    whole.reduce = [](void *, smx_reduce_op, double *, std::size_t) -> std::int32_t { return 0; };
    whole.split = SMX_SPLIT_SETS;
    whole.total_rows = DESTINATIONS;
    whole.total_units = GROUPS;
    softmix::data part = data;
    part.shard(whole);
    softmix::fit_options one;
    one.start = fit;
    require(std::fabs(softmix::fit(part, 2, one).log_likelihood - fit.log_likelihood) < 1e-6, "the only rank has it all");
    whole.total_units = 0;
    refused(SMX_SHAPE, "total_units", [&] { softmix::fit(part, 2, one); });

    softmix::mixture next = fit;
    require(std::fabs(softmix::em_step(data, whitening, next) - fit.log_likelihood) < 1e-6, "a step begins where the fit ended");
    require(std::fabs(next.atoms[0] - fit.atoms[0]) < 1e-5, "and goes nowhere");

    options.progress = nullptr;
    const softmix::scanned scan = softmix::scan(data, 1, 3, options);
    require(scan.mixtures.size() == 3 && scan.best_bic == 3, "a scan of three");
    require(std::fabs(scan.of(2).weights[0] - fit.weights[0]) < 1e-8 && std::fabs(scan.of(2).atoms[0] - fit.atoms[0]) < 1e-7, "a scan is its fits");
    bool thrown = false;
    try {
        scan.of(4);
    } catch (const std::out_of_range &) {
        thrown = true;
    }
    require(thrown, "a scan has no more than it was asked for");
    softmix::fit_options growing = options;
    growing.grow = scan.of(2);
    growing.starts = 2;
    const softmix::fitted grown = softmix::fit(data, 3, growing);
    require(grown.start_kinds[0] == SMX_START_GROW && grown.log_likelihood > fit.log_likelihood, "a fit grows from one of a class less");
    try {
        softmix::fit(data, 2, growing);
        require(false, "from no other");
    } catch (const softmix::error &e) {
        require(std::string(e.argument()) == "grow", "and says what is wrong");
    }
    require(std::fabs(scan.log_likelihoods[1] - fit.log_likelihood) < 1e-6 && scan.parameters[2] == 2 + 3 * FEATURES, "and says so");
    require(scan.diverging.size() == 3 && scan.diverging[2] == std::vector<std::uint8_t>(3), "no class runs off");
    require(scan.suggested_classes == 0 && scan.eigenvalues.empty(), "units have no profile");
    const softmix::counts all(softmix::view<const double>(f.counts, DESTINATIONS));
    const softmix::scanned profiled = softmix::scan(softmix::data(softmix::features::row_major(x, DESTINATIONS, FEATURES), all), 1, 1);
    require(profiled.eigenvalues.size() == FEATURES && profiled.suggested_classes > 1 && profiled.eigenvalues[0] > profiled.noise, "counts have one");

    try {
        softmix::scan(data, 3, 2);
        require(false, "a scan of nothing is an error");
    } catch (const softmix::error &e) {
        require(e.status() == SMX_EMPTY, e.what());
    }
    try {
        std::vector<double> wrong = x;
        wrong[7] = NAN;
        softmix::fit(softmix::data(softmix::features::row_major(wrong, DESTINATIONS, FEATURES), softmix::units(indptr, indices, counts)), 2);
        require(false, "a NaN is an error");
    } catch (const softmix::error &e) {
        require(e.status() == SMX_NOT_FINITE && e.row() == 1 && e.column() == 2 && !e.class_index(), "with its place");
        require(std::string(e.what()) == "features: not a finite number at row 1, column 2", e.what());
    }
    try {
        softmix::data sets(softmix::features::row_major(x, DESTINATIONS, FEATURES), all);
        const std::vector<std::size_t> none;
        softmix::fit(sets.choice_sets(none), 1);
        require(false, "no choice sets are an error");
    } catch (const softmix::error &e) {
        require(e.status() == SMX_EMPTY, e.what());
    }
    try {
        softmix::features::row_major(x, DESTINATIONS + 1, FEATURES);
        require(false, "too few numbers are an error");
    } catch (const softmix::error &e) {
        require(e.status() == SMX_SHAPE, "of shape");
    }
    const auto strided = [&](std::size_t row, std::size_t column) { softmix::features::strided(x, DESTINATIONS, FEATURES, row, column); };
    refused(SMX_INVALID_OPTION, "row_stride", [&] { strided(0, 1); });
    refused(SMX_INVALID_OPTION, "column_stride", [&] { strided(FEATURES, 0); });
    refused(SMX_SHAPE, "features", [&] { strided(FEATURES, 2); });
    options.progress = nullptr;
    for (std::size_t classes : {std::size_t(GROUPS) + 1, std::size_t(1) << 31, ~std::size_t(0) / 16, ~std::size_t(0)}) {
        refused(SMX_TOO_MANY_CLASSES, "classes", [&] { softmix::fit(data, classes, options); });
        refused(SMX_TOO_MANY_CLASSES, "last", [&] { softmix::scan(data, classes, classes, options); });
    }
    refused(SMX_EMPTY, "classes", [&] { softmix::fit(data, 0); });
    const std::vector<std::size_t> nobody{0};
    refused(SMX_EMPTY, "choices", [&] {
        softmix::fit(softmix::data(softmix::features::row_major(x, DESTINATIONS, FEATURES), softmix::units(nobody, {})), ~std::size_t(0));
    });
    refused(SMX_EMPTY, "last", [&] { softmix::scan(data, 3, 1); });
    {
        /* What is empty is not there, wherever its pointer leads. */
        std::vector<double> ones(f.indptr[GROUPS], 1.0), reserved;
        reserved.reserve(ones.size());
        reserved.push_back(NAN);
        reserved.clear();
        require(reserved.data() != nullptr, "a pointer to nothing");
        const softmix::features every = softmix::features::row_major(x, DESTINATIONS, FEATURES);
        const double choices = softmix::data(every, softmix::units(indptr, indices, ones)).check().total_choices;
        require(softmix::data(every, softmix::units(indptr, indices, reserved)).check().total_choices == choices, "no counts are ones");
        require(softmix::data(every, softmix::units(indptr, indices, counts, reserved)).check().total_weight == double(GROUPS), "no weights are ones");
        const view<const std::size_t> nothing(f.indptr + GROUPS + 1, 0);
        refused(SMX_NULL, "indptr", [&] { softmix::data(every, softmix::units(nothing, indices)).check(); });
    }
    try {
        std::vector<double> far = x;
        far[7] = 1e200;
        softmix::fit(softmix::data(softmix::features::row_major(far, DESTINATIONS, FEATURES), softmix::units(indptr, indices, counts)), 2);
        require(false, "squares that overflow are an error");
    } catch (const softmix::error &e) {
        require(e.status() == SMX_OUT_OF_RANGE && std::string(e.what()) == "features: squares beyond the range of numbers at column 2", e.what());
    }
    try {
        options.progress = [](const smx_progress &) -> bool { throw std::logic_error("mine"); };
        softmix::fit(data, 2, options);
        require(false, "an exception passes");
    } catch (const std::logic_error &e) {
        require(std::string(e.what()) == "mine", "as it was thrown");
    }
    return 0;
}
