/* softmix.h for C++17: views of your arrays, options with defaults, results that own their memory, statuses as exceptions.
 *
 *     std::vector<double> x = ..., n = ...;                                  // p x L features, p counts
 *     softmix::data data(softmix::features::row_major(x, p, L), softmix::counts(n));
 *     softmix::fitted fit = softmix::fit(data, 3);                           // fit.weights, fit.atom(0), fit.log_likelihood, ...
 *
 * Nothing is copied from your arrays, which must live as long as the `data` that look at them: temporary containers of the standard library
 * do not compile; of other types that hold values (known by `allocator_type` alone) they do, and dangle. Everything of softmix.h holds here
 * too; objects of this header hold no state but what they show, so that different ones may be used by different threads. A progress
 * function may throw: the fit ends, and the exception reaches whoever called `fit` or `scan`. What is missing here (moments, information,
 * criteria of one fit, the ridge in an evaluation, kernels, options of few uses) is called by its C name, with `data::raw()`.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef SOFTMIX_HPP
#define SOFTMIX_HPP

#include "softmix.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace softmix {

namespace detail {

/// Whether a type holds its values, so that a view of a temporary would dangle: a container with an allocator, or std::array. Spans are
/// none.
template <class C, class = void> struct holds : std::false_type {};
template <class C> struct holds<C, std::void_t<typename C::allocator_type>> : std::true_type {};
template <class T, std::size_t N> struct holds<std::array<T, N>, void> : std::true_type {};
template <class T, std::size_t N> struct holds<const std::array<T, N>, void> : std::true_type {};

} // namespace detail

/// A view of n values side by side: made from a pointer and a length, or from anything with data() and size() but a temporary that
/// holds its values.
template <class T> class view {
public:
    constexpr view() noexcept = default;
    /// The pointer is none of the number 0: `{0, 3}` is no view.
    template <class P, class = std::enable_if_t<std::is_convertible_v<P, T *>>>
    constexpr view(P first, std::size_t n) noexcept : first_(first), n_(n) {}
    template <class C, class = std::enable_if_t<std::is_convertible_v<decltype(std::declval<C &>().data()), T *> && !detail::holds<C>::value>>
    constexpr view(C &&values) noexcept : first_(values.data()), n_(values.size()) {}

    constexpr T *data() const noexcept { return first_; }
    constexpr std::size_t size() const noexcept { return n_; }
    constexpr bool empty() const noexcept { return n_ == 0; }
    constexpr T *begin() const noexcept { return first_; }
    constexpr T *end() const noexcept { return first_ + n_; }
    constexpr T &operator[](std::size_t i) const noexcept { return first_[i]; }

private:
    T *first_ = nullptr;
    std::size_t n_ = 0;
};

/// A status other than SMX_OK, in words, with its place as far as one is known.
class error : public std::runtime_error {
public:
    explicit error(const smx_error &record) : std::runtime_error(words(record)), record_(record) {}

    smx_status status() const noexcept { return record_.status; }
    const char *argument() const noexcept { return record_.argument; }
    std::optional<std::size_t> row() const noexcept { return place(record_.row); }
    std::optional<std::size_t> column() const noexcept { return place(record_.column); }
    std::optional<std::size_t> class_index() const noexcept { return place(record_.class_index); }

private:
    static std::optional<std::size_t> place(std::size_t i) noexcept
    {
        return i == SMX_NONE ? std::nullopt : std::optional<std::size_t>(i);
    }

    static std::string words(const smx_error &record)
    {
        std::string text(smx_error_format(&record, nullptr, 0), '\0');
        smx_error_format(&record, text.data(), text.size() + 1);
        return text;
    }

    smx_error record_;
};

namespace detail {

/// Runs `call(record)` and throws what it reports.
template <class F> void check(F &&call)
{
    smx_error record;
    smx_error_init(&record, sizeof record);
    if (call(&record) != SMX_OK)
        throw error(record);
}

[[noreturn]] inline void fail(smx_status status, const char *argument, std::size_t needed = SMX_NONE, std::size_t given = SMX_NONE)
{
    smx_error record;
    smx_error_init(&record, sizeof record);
    record.status = status;
    std::string(argument).copy(record.argument, sizeof record.argument - 1);
    record.needed = needed;
    record.given = given;
    throw error(record);
}

inline void same_size(const char *argument, std::size_t needed, std::size_t given)
{
    if (needed != given)
        fail(SMX_SHAPE, argument, needed, given);
}

/// Memory for one call. A size larger than any memory is left to the call, which says what is wrong.
class workspace {
public:
    explicit workspace(std::size_t size)
        : memory_(size == SMX_NONE ? nullptr : new unsigned char[size]), size_(size == SMX_NONE ? 0 : size)
    {
    }
    void *data() const noexcept { return memory_.get(); }
    std::size_t size() const noexcept { return size_; }

private:
    std::unique_ptr<unsigned char[]> memory_;
    std::size_t size_;
};

inline std::size_t product(std::size_t a, std::size_t b)
{
    if (b != 0 && a > (std::numeric_limits<std::size_t>::max)() / b / sizeof(double))
        fail(SMX_OVERFLOW, "data");
    return a * b;
}

} // namespace detail

/// A p x L view of features, float or double, in what has data() and size(), but is no temporary that holds its values.
class features {
public:
    template <class C, class = std::enable_if_t<detail::holds<C>::value>>
    static features row_major(const C &&, std::size_t, std::size_t) = delete;
    template <class C, class = std::enable_if_t<detail::holds<C>::value>>
    static features column_major(const C &&, std::size_t, std::size_t) = delete;
    template <class C, class = std::enable_if_t<detail::holds<C>::value>>
    static features strided(const C &&, std::size_t, std::size_t, std::size_t, std::size_t) = delete;

    /// Rows side by side.
    template <class C> static features row_major(const C &values, std::size_t rows, std::size_t columns)
    {
        return strided(values, rows, columns, columns, 1);
    }

    /// Columns side by side.
    template <class C> static features column_major(const C &values, std::size_t rows, std::size_t columns)
    {
        return strided(values, rows, columns, 1, rows);
    }

    /// `values[i * row_stride + l * column_stride]`. A stride of 0, which is a default in C, is an error here.
    template <class C>
    static features strided(const C &values, std::size_t rows, std::size_t columns, std::size_t row_stride, std::size_t column_stride)
    {
        using T = std::remove_cv_t<std::remove_pointer_t<decltype(values.data())>>;
        static_assert(std::is_same_v<T, double> || std::is_same_v<T, float>, "features are float or double");
        if (rows > 0 && columns > 0) {
            if (row_stride == 0 || column_stride == 0)
                detail::fail(SMX_INVALID_OPTION, row_stride == 0 ? "row_stride" : "column_stride");
            const std::size_t last = detail::product(rows - 1, row_stride) + detail::product(columns - 1, column_stride);
            if (values.size() <= last)
                detail::fail(SMX_SHAPE, "features", last + 1, values.size());
        }
        features f;
        f.values_ = values.data();
        f.dtype_ = std::is_same_v<T, float> ? SMX_F32 : SMX_F64;
        f.rows_ = rows;
        f.columns_ = columns;
        f.row_stride_ = row_stride;
        f.column_stride_ = column_stride;
        return f;
    }

private:
    friend class data;
    const void *values_ = nullptr;
    smx_dtype dtype_ = SMX_F64;
    std::size_t rows_ = 0, columns_ = 0, row_stride_ = 0, column_stride_ = 0;
};

/// How often each alternative was chosen: p numbers.
struct counts {
    explicit counts(view<const double> n) : values(n) {}
    view<const double> values;
};

/// The same for the alternatives of `indices` alone.
struct sparse_counts {
    sparse_counts(view<const std::size_t> i, view<const double> n) : indices(i), values(n) {}
    view<const std::size_t> indices;
    view<const double> values;
};

/// Units in compressed rows: unit u chose `indices[e]` for `indptr[u]` <= e < `indptr[u + 1]`, `values[e]` times (once, if empty).
struct units {
    units(view<const std::size_t> p, view<const std::size_t> i, view<const double> n = {}, view<const double> w = {})
        : indptr(p), indices(i), values(n), weights(w)
    {
    }
    view<const std::size_t> indptr, indices;
    view<const double> values, weights;
};

/// The data of a fit: views of features and choices.
class data {
public:
    /// Features without choices, for `choice_probabilities`.
    explicit data(const features &x)
    {
        smx_data_init(&raw_, sizeof raw_);
        raw_.features = x.values_;
        raw_.dtype = x.dtype_;
        raw_.rows = x.rows_;
        raw_.columns = x.columns_;
        raw_.row_stride = x.row_stride_;
        raw_.column_stride = x.column_stride_;
    }

    data(const features &x, const counts &n) : data(x)
    {
        detail::same_size("counts", raw_.rows, n.values.size());
        raw_.choices = SMX_COUNTS;
        raw_.counts = n.values.data();
    }

    data(const features &x, const sparse_counts &n) : data(x)
    {
        detail::same_size("counts", n.indices.size(), n.values.size());
        raw_.choices = SMX_SPARSE_COUNTS;
        raw_.entries = n.indices.size();
        raw_.indices = n.indices.data();
        raw_.counts = n.values.data();
    }

    data(const features &x, const units &u) : data(x)
    {
        const std::size_t number = u.indptr.empty() ? 0 : u.indptr.size() - 1;
        if (!u.values.empty())
            detail::same_size("counts", u.indices.size(), u.values.size());
        if (!u.weights.empty())
            detail::same_size("weights", number, u.weights.size());
        raw_.choices = SMX_UNITS;
        raw_.units = number;
        raw_.entries = u.indices.size();
        // An empty container may well have a pointer, which C would follow for as many numbers as there should be.
        raw_.indptr = u.indptr.empty() ? nullptr : u.indptr.data();
        raw_.indices = u.indices.data();
        raw_.counts = u.values.empty() ? nullptr : u.values.data();
        raw_.weights = u.weights.empty() ? nullptr : u.weights.data();
    }

    /// Choice sets: set s holds the rows from `offsets[s]` to below `offsets[s + 1]`.
    data &choice_sets(view<const std::size_t> offsets)
    {
        // No offsets are an error, which the first call with these data throws, and not one set of all rows.
        static const std::size_t none = 0;
        raw_.set_offsets = offsets.empty() ? &none : offsets.data();
        raw_.sets = offsets.empty() ? 0 : offsets.size() - 1;
        return *this;
    }

    /// p numbers added to the logits; minus infinity marks an alternative as not available.
    data &offset(view<const double> values)
    {
        detail::same_size("offset", raw_.rows, values.size());
        raw_.offset = values.data();
        return *this;
    }

    /// Makes the data one rank's part of a larger whole: see smx_shard, which must live as long.
    data &shard(const smx_shard &whole)
    {
        raw_.shard = &whole;
        return *this;
    }
    data &shard(const smx_shard &&) = delete;

    /// Checks everything; throws what is wrong, with its place.
    smx_summary check() const
    {
        smx_summary summary;
        smx_summary_init(&summary, sizeof summary);
        detail::check([&](smx_error *e) { return smx_data_check(&raw_, &summary, e); });
        return summary;
    }

    std::size_t rows() const noexcept { return raw_.rows; }
    std::size_t columns() const noexcept { return raw_.columns; }
    std::size_t number_of_units() const noexcept
    {
        return raw_.choices == SMX_COUNTS ? raw_.rows : raw_.choices == SMX_SPARSE_COUNTS ? raw_.entries : raw_.units;
    }
    /// Units of all ranks: more classes no fit takes.
    std::size_t most_classes() const noexcept
    {
        const std::size_t here = number_of_units();
        return raw_.shard && raw_.shard->total_units > here ? raw_.shard->total_units : here;
    }
    const smx_data *raw() const noexcept { return &raw_; }

private:
    smx_data raw_{};
};

/// A mixture: K weights, and K atoms of L numbers, class after class.
struct mixture {
    std::vector<double> weights, atoms;

    mixture() = default;
    mixture(std::vector<double> w, std::vector<double> a) : weights(std::move(w)), atoms(std::move(a)) {}

    std::size_t classes() const noexcept { return weights.size(); }
    std::size_t columns() const noexcept { return weights.empty() ? 0 : atoms.size() / weights.size(); }
    /// Of a mixture that has a name: of a temporary one the view would dangle.
    view<const double> atom(std::size_t k) const & { return {atoms.data() + k * columns(), columns()}; }
    view<const double> atom(std::size_t k) const && = delete;
};

namespace detail {
inline void check(const data &d, const mixture &m)
{
    same_size("atoms", product(m.classes(), d.columns()), m.atoms.size());
}
} // namespace detail

/// Instruction set and threads of a call.
struct run_options {
    std::size_t threads = 1;
    smx_isa isa = SMX_ISA_AUTO;

    smx_run_options raw() const
    {
        smx_run_options o;
        smx_run_options_init(&o, sizeof o);
        o.threads = threads;
        o.isa = isa;
        return o;
    }
};

/// Options of a fit: see smx_fit_options for ranges and meaning.
struct fit_options {
    double ridge = 0;
    std::uint64_t seed = 0;
    std::size_t starts = 0;
    std::optional<mixture> start;
    std::uint64_t max_evaluations = 1000000;
    double gradient_tolerance = 1e-8;
    /// Whether features are read in single precision until the last steps.
    bool single_phase = false;
    /// A fit of one class less, which some of the first starts grow from; of a scan: of one less than its first.
    std::optional<mixture> grow;
    run_options run;
    /// Answers whether to go on.
    std::function<bool(const smx_progress &)> progress;
};

/// What a fit found.
struct fitted : mixture {
    double log_likelihood = 0, penalized_log_likelihood = 0, gradient_norm = 0;
    smx_outcome outcome = 0;
    smx_stop stop = 0;
    std::uint64_t evaluations = 0, passes = 0;
    std::size_t at_best = 0, best_start = 0, rank = 0;
    /// K and L flags: classes that run off, features that are not identified.
    std::vector<std::uint8_t> diverging, unidentified;
    /// The end of every start, in the order drawn, and its kind.
    std::vector<double> start_values;
    std::vector<smx_start_kind> start_kinds;

    bool converged() const noexcept { return outcome == SMX_CONVERGED; }
};

namespace detail {

/// The C progress function over one that may throw: the exception waits until C has returned.
struct watcher {
    const std::function<bool(const smx_progress &)> &progress;
    std::exception_ptr thrown;

    static std::int32_t call(const smx_progress *now, void *user) noexcept
    {
        auto &self = *static_cast<watcher *>(user);
        try {
            return self.progress(*now) ? 0 : 1;
        } catch (...) {
            self.thrown = std::current_exception();
            return 1;
        }
    }

    void rethrow() const
    {
        if (thrown)
            std::rethrow_exception(thrown);
    }
};

/// The options but for the start, of a fit of `classes` classes.
inline smx_fit_options raw(const fit_options &options, const data &d, std::size_t classes, watcher &watch)
{
    smx_fit_options o;
    smx_fit_options_init(&o, sizeof o);
    o.threads = options.run.threads;
    o.isa = options.run.isa;
    o.ridge = options.ridge;
    o.seed = options.seed;
    o.starts = options.starts;
    o.max_evaluations = options.max_evaluations;
    o.gradient_tolerance = options.gradient_tolerance;
    o.single_phase = options.single_phase ? 1 : 0;
    if (options.grow && classes > 0) {
        same_size("grow", classes - 1, options.grow->classes());
        check(d, *options.grow);
        o.grow_weights = options.grow->weights.data();
        o.grow_atoms = options.grow->atoms.data();
    }
    if (options.progress) {
        o.progress = watcher::call;
        o.user = &watch;
    }
    return o;
}

} // namespace detail

/// Fits a mixture of `classes` classes.
inline fitted fit(const data &d, std::size_t classes, const fit_options &options = {})
{
    detail::watcher watch{options.progress, nullptr};
    smx_fit_options o = detail::raw(options, d, classes, watch);
    if (options.start) {
        detail::same_size("start", classes, options.start->classes());
        detail::check(d, *options.start);
        o.start_weights = options.start->weights.data();
        o.start_atoms = options.start->atoms.data();
    }
    fitted f;
    // More classes than units are left to the call, which says so.
    const std::size_t k = classes <= d.most_classes() ? classes : 0;
    f.weights.resize(k);
    f.atoms.resize(detail::product(k, d.columns()));
    f.diverging.resize(k);
    f.unidentified.resize(d.columns());
    const std::size_t starts = k == 0 ? 0 : smx_fit_max_starts(d.raw(), classes, &o);
    if (starts != SMX_NONE && starts > f.start_values.max_size())
        detail::fail(SMX_OVERFLOW, "starts");
    f.start_values.resize(starts == SMX_NONE ? 0 : starts);
    f.start_kinds.resize(f.start_values.size());

    smx_fit_result r;
    smx_fit_result_init(&r, sizeof r);
    r.weights = f.weights.data();
    r.atoms = f.atoms.data();
    r.diverging = f.diverging.data();
    r.unidentified = f.unidentified.data();
    r.start_values = f.start_values.data();
    r.start_kinds = f.start_kinds.data();
    r.starts_capacity = f.start_values.size();
    const detail::workspace ws(k == 0 ? 0 : smx_fit_workspace(d.raw(), classes, &o));
    detail::check([&](smx_error *e) { return smx_fit(d.raw(), classes, &o, &r, ws.data(), ws.size(), e); });
    watch.rethrow();
    f.start_values.resize(r.starts);
    f.start_kinds.resize(r.starts);
    f.log_likelihood = r.log_likelihood;
    f.penalized_log_likelihood = r.penalized_log_likelihood;
    f.gradient_norm = r.gradient_norm;
    f.outcome = r.outcome;
    f.stop = r.stop;
    f.evaluations = r.evaluations;
    f.passes = r.passes;
    f.at_best = r.at_best;
    f.best_start = r.best_start;
    f.rank = r.rank;
    return f;
}

/// What a scan found: entry j belongs to `first + j` classes.
struct scanned {
    std::size_t first = 0;
    std::vector<mixture> mixtures;
    std::vector<smx_outcome> outcomes;
    /// Flags of the classes that run off.
    std::vector<std::vector<std::uint8_t>> diverging;
    std::vector<double> log_likelihoods, penalized_log_likelihoods, aic, bic, icl;
    std::vector<std::size_t> parameters, starts, at_best;
    /// Numbers of classes where the criteria are smallest.
    std::size_t best_aic = 0, best_bic = 0, best_icl = 0;
    std::size_t rank = 0;
    std::uint64_t evaluations = 0;
    /// The profile of the atoms that second moments suggest: eigenvalues, decreasing, and 1 + those above the noise. Empty, 0 and NaN where
    /// choices are not counts over one choice set, no feature is identified, the data are a shard, or the scan was cancelled.
    std::vector<double> eigenvalues;
    std::size_t suggested_classes = 0;
    double noise = 0;

    /// The mixture of `classes` classes; std::out_of_range where the scan has none.
    const mixture &of(std::size_t classes) const &
    {
        if (classes < first || classes - first >= mixtures.size())
            throw std::out_of_range("softmix: the scan has no mixture of " + std::to_string(classes) + " classes");
        return mixtures[classes - first];
    }
    mixture of(std::size_t classes) && { return std::as_const(*this).of(classes); }
};

/// Fits every number of classes from `first` to `last`, each growing from the one before. `options.start` must be empty.
inline scanned scan(const data &d, std::size_t first, std::size_t last, const fit_options &options = {})
{
    if (options.start)
        detail::fail(SMX_INVALID_OPTION, "start_weights");
    detail::watcher watch{options.progress, nullptr};
    const smx_fit_options o = detail::raw(options, d, first, watch);
    const std::size_t l = d.columns();
    // Sizes that are not sane are left to the call, which says what is wrong.
    const bool sane = first > 0 && first <= last && last - first < SMX_SCAN_MAX && last <= d.most_classes();
    const std::size_t n = sane ? last - first + 1 : 0, all = sane ? detail::product(n, first + last) / 2 : 0;
    std::vector<double> weights(all), atoms(detail::product(all, l));
    std::vector<std::uint8_t> diverging(all);
    scanned s;
    s.first = first;
    s.outcomes.resize(n);
    for (auto *v : {&s.log_likelihoods, &s.penalized_log_likelihoods, &s.aic, &s.bic, &s.icl})
        v->resize(n);
    for (auto *v : {&s.parameters, &s.starts, &s.at_best})
        v->resize(n);
    smx_scan_result r;
    smx_scan_result_init(&r, sizeof r);
    r.weights = weights.data();
    r.atoms = atoms.data();
    r.diverging = diverging.data();
    r.outcomes = s.outcomes.data();
    r.log_likelihoods = s.log_likelihoods.data();
    r.penalized_log_likelihoods = s.penalized_log_likelihoods.data();
    r.aic = s.aic.data();
    r.bic = s.bic.data();
    r.icl = s.icl.data();
    r.parameters = s.parameters.data();
    r.starts = s.starts.data();
    r.at_best = s.at_best.data();
    s.eigenvalues.resize(l);
    r.eigenvalues = s.eigenvalues.data();
    const detail::workspace ws(sane ? smx_scan_workspace(d.raw(), first, last, &o) : 0);
    detail::check([&](smx_error *e) { return smx_scan(d.raw(), first, last, &o, &r, ws.data(), ws.size(), e); });
    watch.rethrow();
    s.outcomes.resize(r.fits);
    for (auto *v : {&s.log_likelihoods, &s.penalized_log_likelihoods, &s.aic, &s.bic, &s.icl})
        v->resize(r.fits);
    for (auto *v : {&s.parameters, &s.starts, &s.at_best})
        v->resize(r.fits);
    const double *w = weights.data(), *a = atoms.data();
    const std::uint8_t *off = diverging.data();
    for (std::size_t k = first; k < first + r.fits; w += k, a += k * l, off += k, ++k) {
        s.mixtures.emplace_back(std::vector<double>(w, w + k), std::vector<double>(a, a + k * l));
        s.diverging.emplace_back(off, off + k);
    }
    s.best_aic = r.best_aic;
    s.best_bic = r.best_bic;
    s.best_icl = r.best_icl;
    s.rank = r.rank;
    s.evaluations = r.evaluations;
    s.eigenvalues.resize(r.suggested_classes > 0 ? r.rank : 0);
    s.suggested_classes = r.suggested_classes;
    s.noise = r.noise;
    return s;
}

/// What an evaluation found.
struct evaluation {
    double log_likelihood = 0;
    /// U numbers; U x K posterior class probabilities, unit after unit; K numbers; K x L.
    std::vector<double> unit_log_likelihoods, responsibilities, weight_gradient, atom_gradient;
};

/// Log-likelihood, posterior class probabilities and gradient at a mixture.
inline evaluation evaluate(const data &d, const mixture &m, const run_options &run = {})
{
    detail::check(d, m);
    const std::size_t k = m.classes(), u = d.number_of_units();
    evaluation found;
    found.unit_log_likelihoods.resize(u);
    found.responsibilities.resize(detail::product(u, k));
    found.weight_gradient.resize(k);
    found.atom_gradient.resize(m.atoms.size());
    smx_evaluate_options o;
    smx_evaluate_options_init(&o, sizeof o);
    o.threads = run.threads;
    o.isa = run.isa;
    smx_evaluation out;
    smx_evaluation_init(&out, sizeof out);
    out.unit_log_likelihoods = found.unit_log_likelihoods.data();
    out.responsibilities = found.responsibilities.data();
    out.weight_gradient = found.weight_gradient.data();
    out.atom_gradient = found.atom_gradient.data();
    const detail::workspace ws(smx_evaluate_workspace(d.raw(), k));
    detail::check([&](smx_error *e) {
        return smx_evaluate(d.raw(), k, m.weights.data(), m.atoms.data(), &o, &out, ws.data(), ws.size(), e);
    });
    found.log_likelihood = out.log_likelihood;
    return found;
}

/// Posterior class probabilities of the units, U x K, unit after unit.
inline std::vector<double> posterior(const data &d, const mixture &m, const run_options &run = {})
{
    return evaluate(d, m, run).responsibilities;
}

/// Choice probabilities of every alternative inside its choice set: p x K by class, row after row, and mixed over the classes.
struct probabilities {
    std::vector<double> by_class, mixed;
};

inline probabilities choice_probabilities(const data &d, const mixture &m, const run_options &run = {})
{
    detail::check(d, m);
    probabilities found;
    found.by_class.resize(detail::product(d.rows(), m.classes()));
    found.mixed.resize(d.rows());
    const smx_run_options o = run.raw();
    const detail::workspace ws(smx_choice_probabilities_workspace(d.raw(), m.classes()));
    detail::check([&](smx_error *e) {
        return smx_choice_probabilities(d.raw(), m.classes(), m.weights.data(), m.atoms.data(),
                                        &o, found.by_class.data(), found.mixed.data(), ws.data(), ws.size(), e);
    });
    return found;
}

/// Features whitened inside choice sets: what EM steps and standard errors need beside the data.
class whitening {
public:
    explicit whitening(const data &d, const run_options &run = {})
    {
        const std::size_t l = d.columns();
        const std::size_t square = detail::product(l, l);
        numbers_.resize(detail::product(square, 3));
        flags_.resize(l);
        smx_whitening_init(&raw_, sizeof raw_);
        raw_.covariance = numbers_.data();
        raw_.to_atoms = numbers_.data() + square;
        raw_.from_atoms = numbers_.data() + 2 * square;
        raw_.unidentified = flags_.data();
        const smx_run_options o = run.raw();
        const detail::workspace ws(smx_whiten_workspace(d.raw()));
        detail::check([&](smx_error *e) { return smx_whiten(d.raw(), &o, &raw_, ws.data(), ws.size(), e); });
    }

    whitening(const whitening &) = delete;
    whitening &operator=(const whitening &) = delete;

    std::size_t rank() const noexcept { return raw_.rank; }
    view<const double> covariance() const & noexcept { return {raw_.covariance, raw_.columns * raw_.columns}; }
    view<const std::uint8_t> unidentified() const & noexcept { return {flags_.data(), flags_.size()}; }
    view<const double> covariance() const && = delete;
    view<const std::uint8_t> unidentified() const && = delete;
    const smx_whitening *raw() const noexcept { return &raw_; }

private:
    std::vector<double> numbers_;
    std::vector<std::uint8_t> flags_;
    smx_whitening raw_;
};

/// The form of the M-step: see smx_m_step. A type of its own, which no ridge is taken for.
enum class m_step : smx_m_step { gradient = SMX_M_STEP_GRADIENT, newton = SMX_M_STEP_NEWTON, converged = SMX_M_STEP_CONVERGED };

/// One safeguarded step of EM; returns the log-likelihood where it began.
inline double em_step(const data &d, const whitening &w, mixture &m, double ridge = 0, m_step form = m_step::newton,
                      const run_options &run = {})
{
    detail::check(d, m);
    smx_em_options o;
    smx_em_options_init(&o, sizeof o);
    o.threads = run.threads;
    o.isa = run.isa;
    o.ridge = ridge;
    o.m_step = static_cast<smx_m_step>(form);
    double before = 0;
    const detail::workspace ws(smx_em_step_workspace(d.raw(), m.classes(), &o));
    detail::check([&](smx_error *e) {
        return smx_em_step(d.raw(), w.raw(), m.classes(), &o, m.weights.data(), m.atoms.data(), &before, nullptr, ws.data(), ws.size(), e);
    });
    return before;
}

/// What standard errors are by: see smx_variance. A type of its own, which no ridge is taken for.
enum class variance : smx_variance {
    information = SMX_VARIANCE_INFORMATION,
    robust = SMX_VARIANCE_ROBUST,
    sampling = SMX_VARIANCE_ROBUST_SAMPLING
};

namespace detail {
inline smx_inference_options inference(variance by, double ridge, const run_options &run)
{
    smx_inference_options o;
    smx_inference_options_init(&o, sizeof o);
    o.threads = run.threads;
    o.isa = run.isa;
    o.variance = static_cast<smx_variance>(by);
    o.ridge = ridge;
    return o;
}
} // namespace detail

/// Standard errors of weights and atoms; NaN where they are not defined.
inline mixture standard_errors(const data &d, const whitening &w, const mixture &m, variance by = variance::information,
                               double ridge = 0, const run_options &run = {})
{
    detail::check(d, m);
    const smx_inference_options o = detail::inference(by, ridge, run);
    mixture errors;
    errors.weights.resize(m.weights.size());
    errors.atoms.resize(m.atoms.size());
    const detail::workspace ws(smx_standard_errors_workspace(d.raw(), m.classes()));
    detail::check([&](smx_error *e) {
        return smx_standard_errors(d.raw(), w.raw(), m.classes(), m.weights.data(), m.atoms.data(), &o, errors.weights.data(),
                                   errors.atoms.data(), ws.data(), ws.size(), e);
    });
    return errors;
}

/// The covariance matrix of the estimates, P x P with P = K + K L: the weights, then the atoms, class after class. NaN where it is not
/// defined.
inline std::vector<double> covariance(const data &d, const whitening &w, const mixture &m, variance by = variance::information,
                                      double ridge = 0, const run_options &run = {})
{
    detail::check(d, m);
    const smx_inference_options o = detail::inference(by, ridge, run);
    const std::size_t p = m.weights.size() + m.atoms.size();
    std::vector<double> covariance(p * p);
    const detail::workspace ws(smx_covariance_workspace(d.raw(), m.classes()));
    detail::check([&](smx_error *e) {
        return smx_covariance(d.raw(), w.raw(), m.classes(), m.weights.data(), m.atoms.data(), &o, covariance.data(), ws.data(), ws.size(),
                              e);
    });
    return covariance;
}

} // namespace softmix

#endif // SOFTMIX_HPP
