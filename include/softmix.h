/* softmix: softmax mixtures (latent-class multinomial logits), fitted in C.
 *
 * This file is made from src/ffi by `SOFTMIX_WRITE_HEADER=1 cargo test --test header`: edit it there.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Sections
 *
 *   How to call             the rules that hold for every function
 *   Versions, statuses and errors
 *   Past one machine
 *   Data
 *   Mixtures and their evaluation
 *   Whitening, and steps of expectation maximisation
 *   Fitting
 *   How many classes
 *   What a fitted mixture says
 *   Latent moments
 *   Estimators from moments
 *   Kernels
 *
 * How to call
 *
 *   A fit in five lines:
 *
 *       smx_data data;                smx_data_init(&data, sizeof data);             fill it
 *       smx_fit_result result;        smx_fit_result_init(&result, sizeof result);   set result.weights and result.atoms
 *       size_t size = smx_fit_workspace(&data, classes, NULL);
 *       void *workspace = malloc(size);
 *       smx_status status = smx_fit(&data, classes, NULL, &result, workspace, size, NULL);
 *
 *   Arguments come in one order: data, whitening, sizes and mixtures; options; results; workspace and its size; the error record.
 *
 *   Memory. The library allocates nothing in any function below, and keeps no pointer after it returned. What it needs to work with it asks
 *   for: a function `smx_f` that takes a workspace has an `smx_f_workspace` (or its comment names another), a pure function of sizes. A
 *   workspace may have any alignment and any contents; it is garbage afterwards, and may serve the next call. One byte less than asked for
 *   is SMX_WORKSPACE. (With more than one thread, in libraries built with the feature "rayon", the thread pool has memory of its own.)
 *
 *   Pointers. All others must be aligned for their type; arrays hold as many elements as their comment says, sizes are size_t and count
 *   elements unless they say bytes. What a call writes (results, workspace, error record) may not overlap anything else that it is given:
 *   that is SMX_ALIAS. What it only reads may overlap, and may be read by others meanwhile; what has strides is read from the first element
 *   to the last, gaps included. NULL where it is not allowed is SMX_NULL. Memory that is not there cannot be detected: lengths that the
 *   program states must be true.
 *
 *   Structs begin with their size, set by their `smx_..._init(&s, sizeof s)`, which also fills in the defaults; fields are added at the end
 *   only, so that programs and libraries of different versions understand each other. A struct that is shorter than its first version, of a
 *   size that no version has (not a multiple of its alignment, or beyond 4096 bytes), or longer than the library knows with something other
 *   than zero there, is SMX_STRUCT_SIZE. Where a comment says that options may be NULL, NULL means the defaults. Fields called `reserved`
 *   are zero.
 *
 *   Choices among names (layouts, instruction sets, ...) are int32_t: a number that names nothing is SMX_INVALID_OPTION, never more.
 *
 *   Errors. On a status other than SMX_OK, results are not written; smx_em_step then leaves its parameters as they were. Only after
 *   SMX_PANIC are they unspecified. If several things are wrong, which one is named is not specified. A NaN, or an infinity other than an
 *   offset of minus infinity, in an array that is read is an error with its place, and in an option SMX_INVALID_OPTION; kernels alone pass
 *   it on. NaN in results is only where their comment says so.
 *
 *   Threads. No function keeps state: any may be called from any number of threads at a time, as long as no two calls write the same
 *   memory. `threads` in options is the number of threads that one call uses at most (libraries built without the feature "rayon" use one);
 *   its results are the same bits for any number.
 *
 *   Platform. The library asks nothing of the system while a call runs (but for the threads it was told to use): no files, no clock, no
 *   locale, no environment, no signals. It needs floating-point arithmetic as programs find it: IEEE 754, rounding to nearest, exceptions
 *   masked (status flags may be raised). A thread that calls needs 96 KiB of stack. A child process after fork may call everything with
 *   `threads` 1; the thread pool that more threads use does not live on in it. An archive that is built without the operating system calls
 *   one function where others return SMX_PANIC: `smx_panic`, which the program defines as
 *   `void (const unsigned char *file, size_t length, uint32_t line)` with C linkage, and which does not return.
 *
 *   Not promised: equal bits on different instruction sets, machines or versions; the order in which arguments are checked; the size of a
 *   workspace from one version to the next (ask again); the number of calls of a progress function; useful numbers under another rounding
 *   mode, or where subnormal numbers are flushed to zero (but a status, and no harm).
 */

#ifndef SOFTMIX_H
#define SOFTMIX_H

#include <stddef.h>
#include <stdint.h>

/** "Not known", for the places in smx_error: the largest size_t. */
#define SMX_NONE SIZE_MAX

#ifdef __cplusplus
extern "C" {
#endif

/* ==============================================================================================================
 * Versions, statuses and errors
 * ==============================================================================================================
 *
 * Every function that can fail returns a status: SMX_OK, or a negative number that will never change its meaning. A fit that did not
 * converge is not an error: see smx_fit_result. Where a function takes an `error`, it may be NULL, or point to a record
 * made by smx_error_init, which then says what was wrong and where: in which argument, at which row, column and class.
 */

/** Major version of this header. */
#define SMX_VERSION_MAJOR 0
/** Minor version of this header. */
#define SMX_VERSION_MINOR 1
/** Patch level of this header. */
#define SMX_VERSION_PATCH 0

/** What a function says about its call: SMX_OK, or one of the negative numbers below. Take unknown ones for failures. */
typedef int32_t smx_status;

/** What went wrong, and where. */
typedef struct smx_error {
  /** sizeof(smx_error), set by smx_error_init. */
  size_t struct_size;
  /** The status that the function returned. */
  smx_status status;
  /** Zero. */
  int32_t reserved;
  /** Row of the features, or position in a one-dimensional array; SMX_NONE when not known. */
  size_t row;
  /** Column of the features; SMX_NONE when not known. */
  size_t column;
  /** Class; SMX_NONE when not known. */
  size_t class_index;
  /** The size or number that is needed; SMX_NONE when not known. */
  size_t needed;
  /** The size or number that was given; SMX_NONE when not known. */
  size_t given;
  /**
   * Name of the argument, field or option at fault (`weights` are mixing weights where `class_index` is known, else those of units), of a
   * quantity that they made no number ("log-likelihood", "logits", "penalty", "gradient", "information", "products", "product", "moments"),
   * or "ranks" where others are at fault; ended by a zero.
   */
  char argument[32];
} smx_error;

/** All is well. */
#define SMX_OK 0
/** A NaN or an infinity where a finite number must stand, or logits that overflow. */
#define SMX_NOT_FINITE (-10)
/** A negative number where a count or a weight must stand. */
#define SMX_NEGATIVE (-20)
/** An empty choice set, a unit without a choice, no rows, no classes, no choices: all counts or all weights of units are 0. */
#define SMX_EMPTY (-30)
/** Two sizes that must agree do not: `needed` and `given`. */
#define SMX_SHAPE (-40)
/** An index or an offset outside its range or out of order; of "features", a column whose squares overflow or underflow: take another unit. */
#define SMX_OUT_OF_RANGE (-50)
/** Sizes whose product no memory holds. */
#define SMX_OVERFLOW (-60)
/** More classes than units with a positive weight: at most `needed`, `given` asked for. */
#define SMX_TOO_MANY_CLASSES (-70)
/** Mixing weights that do not sum to one within 1e-8. */
#define SMX_NOT_ON_SIMPLEX (-80)
/** The workspace is too small: `needed` and `given` bytes. */
#define SMX_WORKSPACE (-90)
/** An option outside its range, or a number that names no member of its list. */
#define SMX_INVALID_OPTION (-100)
/** Not defined for data of this layout, or not there on this machine. */
#define SMX_UNSUPPORTED (-110)
/** The estimating equations have no usable solution at these data. */
#define SMX_ILL_POSED (-120)
/** Every alternative of a choice set is unavailable, or an unavailable alternative was chosen. */
#define SMX_UNAVAILABLE (-130)
/** Another rank of a distributed run reported an error. */
#define SMX_REMOTE (-140)
/** The reduction hook failed: it returned something else than 0. */
#define SMX_REDUCTION (-150)
/** The ranks of a distributed run call different functions, or the same with different arguments. */
#define SMX_DISAGREEMENT (-160)
/** A pointer that may not be NULL is. */
#define SMX_NULL (-200)
/** A pointer is not aligned for its type. (A workspace may have any alignment.) */
#define SMX_ALIGNMENT (-210)

/**
 * Memory to be written overlaps other memory of the call. An error record that does is left as it was; overlap is not looked for where an
 * array would be larger than any memory.
 */
#define SMX_ALIAS (-220)
/** The first field of a struct is not a size this library knows: see "Structs" above. */
#define SMX_STRUCT_SIZE (-230)

/**
 * A defect of the library, caught: outputs are unspecified. Please report it. Only in builds with Rust's standard library;
 * others call smx_panic of the program.
 */
#define SMX_PANIC (-900)

/**
 * Version of the library at hand: major * 1000000 + minor * 1000 + patch.
 *
 * While the major version is 0, a program needs the minor version it was built with; from 1 on, one not older.
 */
uint32_t smx_version(void);

/** Version of the library at hand as text, such as "0.1.0". */
const char *smx_version_string(void);

/** A status in words: static text, never NULL, whatever the number. */
const char *smx_status_message(smx_status status);

/**
 * Fills an error record with "no error", ready for any call.
 *
 * @param error what to fill
 * @param struct_size sizeof(smx_error) as the program knows it
 */
smx_status smx_error_init(struct smx_error *error, size_t struct_size);

/**
 * Writes an error record as one line of text, such as "features: not a finite number at row 3, column 1", ended by a zero
 * and cut where the buffer ends.
 *
 * @return the length of the whole text without the zero, as snprintf does; 0, and an empty text, where the record is NULL or unusable.
 * `buffer` may be NULL when `size` is 0.
 */
size_t smx_error_format(const struct smx_error *error,
                        char *buffer,
                        size_t size);

/* ==============================================================================================================
 * Past one machine
 * ==============================================================================================================
 *
 * Every evaluation is a sum over rows and units. Each rank of an engine (MPI, Dask, threads of one process) describes its own part of the
 * data, and points the description to an smx_shard with a function that reduces an array over all ranks, as MPI_Allreduce does. The
 * functions of this header then work on the whole: sums and maxima are taken over the ranks inside them, and every rank returns the same
 * mixture, log-likelihood and errors. Arrays that run over rows or units are the rank's own.
 *
 * What a rank holds:
 *
 *   SMX_SPLIT_ROWS  one choice set split by its rows: some rows, with their counts. SMX_UNITS: of every unit, in the same order and
 *                   with the same weights on every rank, the choices among this rank's rows, perhaps none; `indices` count this rank's
 *                   rows from 0.
 *   SMX_SPLIT_SETS  whole choice sets and the units that choose in them: a panel split by units, counts over many sets. Or one choice
 *                   set that every rank has whole, and some of its units.
 *
 * A rank may have no choices and no units, but at least one row. A shard that is the whole (`total_rows` rows) is none: its function is
 * called twice, when the data are checked.
 *
 * Rules:
 *
 * - All ranks call the same functions with the same options, whitenings, mixtures and sizes K, in the same order. Every call begins with a
 *   comparison: where they differ all ranks return SMX_DISAGREEMENT. (`threads`, `progress` and `user` are each rank's own.)
 * - The function reduces on the thread that called the library, one call at a time, in the same order with the same `op` and `len` on
 *   every rank. What it leaves in `buffer` must be the same bits on every rank. All ranks run the same build of the library on the same
 *   kind of processor; where their instruction sets differ they get SMX_DISAGREEMENT too.
 * - A rank that finds its own arguments wrong (a NaN in its features, a small workspace) returns that error, and all others SMX_REMOTE; but
 *   where its `data` or `shard` is NULL or has a wrong `struct_size`, or there is no `reduce`, it can tell nobody, and the others wait. A
 *   rank that cannot even call, say because it could not read its file, calls smx_shard_agree in place of the call. Errors found on the
 *   way, such as logits that overflow, are the same on all ranks. After SMX_PANIC on a rank end the job.
 * - When the function returns something else than 0, the call returns SMX_REDUCTION and calls it no more; so should it on the other ranks.
 * - The progress function of smx_fit is called on every rank; the fit is cancelled on all when one of them asks for it.
 * - Latent moments are SMX_UNSUPPORTED. The starts of smx_fit are random atoms, relocations, and where units make several choices random
 *   partitions.
 *
 * What is sent for one evaluation, in doubles: C is K, or K times the starts that run side by side while starts race.
 *
 *   SMX_SPLIT_ROWS             1 + C maxima, and sums of C, 2 C + 1 (a start each while they race) and C L
 *   SMX_SPLIT_ROWS, SMX_UNITS  1 + C maxima, and sums of C, U C, C and C L; smx_evaluate, where any rank wants arrays over units, U C more
 *   SMX_SPLIT_SETS             1 maximum, and sums of 2 C + 1 and C L
 *
 * That is 8 (L + 4) K + 16 bytes for counts, however many rows there are. A call begins with 5 maxima, and with 5 maxima and 7 sums for
 * the data; whitening sums L L; a step of EM sends C L twice and 2 C more a trial, and with Newton's M-step C L L; a Newton step of
 * smx_fit K L L and about (K L)^2, its other steps on counts sums of 2 K + 1 and K L, and at most twice about K^4 / 2; every call of the
 * progress function 1.
 */

/** What is done with the numbers of all ranks, entry by entry. */
typedef int32_t smx_reduce_op;

/**
 * Replaces every entry of `buffer` by the maximum or the sum over all ranks; 0 when that worked. `len` is at least 1, and may be larger
 * than what fits an int. It must return: no longjmp, no C++ exception.
 */
typedef int32_t (*smx_reduce_fn)(void *state, smx_reduce_op op, double *buffer, size_t len);

/** Along what the whole is split. */
typedef int32_t smx_split;

/** One rank of a distributed run. Fill it after smx_shard_init; smx_data points to it. */
typedef struct smx_shard {
  /** sizeof(smx_shard), set by smx_shard_init. */
  size_t struct_size;
  /** The reduction; must be there. */
  smx_reduce_fn reduce;
  /** Handed to `reduce`. */
  void *state;
  /** SMX_SPLIT_ROWS or SMX_SPLIT_SETS. */
  smx_split split;
  /** Zero. */
  int32_t reserved;
  /** A number that other ranks do not have: they draw random numbers for units of their own by it. */
  uint64_t rank;
  /** The sum of `rows` over all ranks. */
  size_t total_rows;
  /**
   * The sum of U over all ranks: of `rows` for SMX_COUNTS, of `entries` for SMX_SPARSE_COUNTS, of `units` for SMX_UNITS; but `units`
   * itself where a choice set of SMX_UNITS is split by rows.
   */
  size_t total_units;
} smx_shard;

/** The largest. Never asked of a NaN; minus infinity occurs. */
#define SMX_REDUCE_MAX 1
/** The sum. NaN and infinities must go through. */
#define SMX_REDUCE_SUM 2
/** One choice set by its rows. */
#define SMX_SPLIT_ROWS 1
/** By choice sets, or by the units of one that every rank has whole. */
#define SMX_SPLIT_SETS 2

/** Fills a shard with zeros and its size. */
smx_status smx_shard_init(struct smx_shard *shard, size_t struct_size);

/**
 * Agrees on the success of something that every rank did on its own, before it calls a function of this library together with the others.
 *
 * @param shard of which only `reduce` and `state` count
 * @param status SMX_OK, or a negative status: what went wrong here
 * @param error may be NULL
 * @return SMX_OK when all ranks said so; else `status` on those that did not, and SMX_REMOTE on the others
 */
smx_status smx_shard_agree(const struct smx_shard *shard,
                           smx_status status,
                           smx_error *error);

/* ==============================================================================================================
 * Data
 * ==============================================================================================================
 *
 * Alternatives with features, grouped in choice sets, and who chose what. In all of this header p is the number of rows (alternatives),
 * L of columns (features), K of classes, and U of units (draws, persons): those who choose.
 *
 * One description serves three layouts: counts over one large choice set, units with counts over one choice set, and panels
 * of many small sets. It points to the program's memory and nothing is copied.
 */

/** Type of the features; all else is double. Arithmetic on float features is in double too, where it matters. */
typedef int32_t smx_dtype;

/** Layout of the choices. */
typedef int32_t smx_choices;

/** The data of a fit. Fill it after smx_data_init; fields that are not mentioned for a layout stay zero, or `choices` is refused. */
typedef struct smx_data {
  /** sizeof(smx_data), set by smx_data_init. */
  size_t struct_size;
  /** Features: feature l of alternative i is `features[i * row_stride + l * column_stride]`. Finite. */
  const void *features;
  /** Type of the features: SMX_F64 (default) or SMX_F32. */
  smx_dtype dtype;
  /** Layout of the choices: SMX_COUNTS (default), SMX_SPARSE_COUNTS or SMX_UNITS. */
  smx_choices choices;
  /** Alternatives p, over all choice sets; at least 1. */
  size_t rows;
  /** Features L; at least 1. */
  size_t columns;
  /** Elements, not bytes, from one row to the next; 0: `columns`, rows side by side. */
  size_t row_stride;
  /** Elements from one column to the next; 0: 1. For columns side by side `row_stride` is 1 and `column_stride` is `rows`. */
  size_t column_stride;
  /** p numbers added to the logits; minus infinity marks an alternative as not available. NULL: zeros. */
  const double *offset;
  /**
   * Choice set s holds the rows `set_offsets[s]` <= i < `set_offsets[s + 1]`: `sets` + 1 numbers from 0 to p, increasing. NULL,
   * with `sets` 0 or 1: one choice set of all rows.
   */
  const size_t *set_offsets;
  /** Choice sets; at least 1 where `set_offsets` is not NULL. */
  size_t sets;
  /** SMX_UNITS: units U. */
  size_t units;
  /** SMX_SPARSE_COUNTS, SMX_UNITS: length of `indices`. */
  size_t entries;
  /** SMX_UNITS: U + 1 numbers from 0 to `entries`, not decreasing. */
  const size_t *indptr;
  /** SMX_SPARSE_COUNTS, SMX_UNITS: rows, each below p. */
  const size_t *indices;
  /**
   * SMX_COUNTS: p numbers; SMX_SPARSE_COUNTS: `entries` numbers; SMX_UNITS: `entries` numbers, or NULL for ones. Not negative;
   * zeros and fractions are allowed.
   */
  const double *counts;
  /** SMX_UNITS: weights of the units, U numbers, not negative; NULL: ones. */
  const double *weights;
  /** This description is one rank's part of a larger whole: see "Past one machine"; NULL: it is the whole. */
  const smx_shard *shard;
} smx_data;

/** What data amount to. */
typedef struct smx_summary {
  /** sizeof(smx_summary), set by smx_summary_init. */
  size_t struct_size;
  /** Units U, of this rank: numbers in `unit_log_likelihoods`, rows in `responsibilities`. */
  size_t units;
  /** Units with a positive weight, over all ranks as are the two below: there may not be more classes. */
  size_t observed_units;
  /** Choice sets, of this rank. */
  size_t sets;
  /** Weights of the units, summed. */
  double total_weight;
  /** Choices: counts times weights, summed. */
  double total_choices;
} smx_summary;

/** double */
#define SMX_F64 0
/** float */
#define SMX_F32 1
/** `counts[i]` (p numbers) says how often alternative i was chosen: it is the weight of a unit that chose i once. U is p. */
#define SMX_COUNTS 0
/** The same for some alternatives only: `indices[e]` was chosen `counts[e]` times, e < `entries`; U is `entries`. */
#define SMX_SPARSE_COUNTS 1
/** Units in compressed rows: unit u chose `indices[e]` for `indptr[u]` <= e < `indptr[u + 1]`, `counts[e]` times each. */
#define SMX_UNITS 2

/** Fills a description with zeros and its size. */
smx_status smx_data_init(struct smx_data *data, size_t struct_size);

/** Fills a summary with zeros and its size. */
smx_status smx_summary_init(struct smx_summary *summary, size_t struct_size);

/**
 * Checks data, all of them: the status names the first thing wrong, and the record its place. Every function that takes data does this
 * first, except that smx_evaluate tells features that are not finite by what comes out, unless the data are a shard or have offsets and
 * several choice sets. Cost: one read of the features. What an operation makes of them, variances and logits, may still be beyond the
 * range of doubles.
 *
 * @param data the data
 * @param summary what they amount to; may be NULL
 * @param error may be NULL
 */
smx_status smx_data_check(const struct smx_data *data,
                          struct smx_summary *summary,
                          smx_error *error);

/* ==============================================================================================================
 * Mixtures and their evaluation
 * ==============================================================================================================
 *
 * A mixture of K classes is two arrays: K mixing weights, which are not negative and sum to one within 1e-8, and K x L atoms, class
 * after class: feature l of class k is `atoms[k * L + l]`. Within its choice set, class k chooses alternative i with probability
 * proportional to exp(offset_i + x_i . atom_k). The log-likelihood is that of all units, without multinomial coefficients.
 */

/** Instruction set of a call. Results are the same bits for the same set, whatever the number of threads. */
typedef int32_t smx_isa;

/** Options of functions that have no others. NULL in place of them: the defaults. */
typedef struct smx_run_options {
  /** sizeof(smx_run_options), set by smx_run_options_init. */
  size_t struct_size;
  /** Threads, at least 1 (default); more than one only in libraries built with the feature "rayon". */
  size_t threads;
  /** Instruction set; default SMX_ISA_AUTO, and SMX_UNSUPPORTED for one that this machine lacks. */
  smx_isa isa;
  /** Zero. */
  int32_t reserved;
} smx_run_options;

/** Options of smx_evaluate and smx_information. NULL in place of them: the defaults. */
typedef struct smx_evaluate_options {
  /** sizeof(smx_evaluate_options), set by smx_evaluate_options_init. */
  size_t struct_size;
  /** Threads, at least 1 (default); more than one only in libraries built with the feature "rayon". */
  size_t threads;
  /** Instruction set; default SMX_ISA_AUTO, and SMX_UNSUPPORTED for one that this machine lacks. */
  smx_isa isa;
  /** Zero. */
  int32_t reserved;
  /** Ridge lambda >= 0 of the penalty `lambda / 2 * sum_k atom_k' S atom_k`, in observations; default 0. */
  double ridge;
  /** S, L x L: `covariance` of smx_whiten. May be NULL when `ridge` is 0. */
  const double *covariance;
} smx_evaluate_options;

/** What smx_evaluate finds. The arrays are the program's; NULL for what is not wanted. */
typedef struct smx_evaluation {
  /** sizeof(smx_evaluation), set by smx_evaluation_init. */
  size_t struct_size;
  /**
   * To be filled: log-likelihood of every unit, its weight (of counts, how often) not counted in, U numbers; minus infinity of an
   * alternative that is not available, whose responsibilities are 0.
   */
  double *unit_log_likelihoods;
  /** To be filled: posterior probabilities of the classes, U x K, unit after unit. */
  double *responsibilities;
  /** To be filled: gradient of the log-likelihood in the log-odds of the weights, K numbers. */
  double *weight_gradient;
  /** To be filled: gradient of the penalised log-likelihood in the atoms, K x L. */
  double *atom_gradient;
  /** Log-likelihood. */
  double log_likelihood;
  /** Log-likelihood less the penalty. */
  double penalized_log_likelihood;
} smx_evaluation;

/** The best one of this machine. */
#define SMX_ISA_AUTO 0
/** Plain code, everywhere. */
#define SMX_ISA_SCALAR 1
/** x86-64 with AVX2 and FMA. */
#define SMX_ISA_AVX2 2
/** x86-64 with AVX-512 F, BW, CD, DQ and VL. */
#define SMX_ISA_AVX512 3
/** AArch64. */
#define SMX_ISA_NEON 4

/** Fills options with the defaults. */
smx_status smx_run_options_init(struct smx_run_options *options, size_t struct_size);

/** Fills options with the defaults. */
smx_status smx_evaluate_options_init(struct smx_evaluate_options *options, size_t struct_size);

/** Fills a result with zeros and its size: no array wanted. */
smx_status smx_evaluation_init(struct smx_evaluation *out, size_t struct_size);

/**
 * Bytes of workspace that smx_evaluate needs.
 *
 * @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
 * @param classes K
 * @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
 */
size_t smx_evaluate_workspace(const smx_data *data, size_t classes);

/**
 * Log-likelihood, posterior class probabilities and gradient at a mixture. Two reads of the features, or one where atom_gradient
 * is NULL; over ranks two. One more checks them over ranks, and where there are choice sets with offsets.
 *
 * @param data the data
 * @param classes K
 * @param weights K mixing weights
 * @param atoms K x L
 * @param options may be NULL
 * @param out made by smx_evaluation_init; its arrays and numbers are written only when all is well
 * @param workspace smx_evaluate_workspace bytes, of any alignment
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_evaluate(const smx_data *data,
                        size_t classes,
                        const double *weights,
                        const double *atoms,
                        const struct smx_evaluate_options *options,
                        struct smx_evaluation *out,
                        void *workspace,
                        size_t workspace_size,
                        smx_error *error);

/* ==============================================================================================================
 * Whitening, and steps of expectation maximisation
 * ==============================================================================================================
 *
 * Steps are taken in features that are centred and whitened inside choice sets, whatever their units; smx_whiten finds the maps once,
 * any number of steps use them. The features themselves are neither copied nor changed.
 */

/** Features whitened inside choice sets: where the results are to go, then the rank. The arrays are the program's and stay in use. */
typedef struct smx_whitening {
  /** sizeof(smx_whitening), set by smx_whitening_init. */
  size_t struct_size;
  /** Features L. */
  size_t columns;
  /** Rank r of the features inside choice sets; L unless features are collinear or constant. */
  size_t rank;
  /**
   * To be filled: S, the covariance inside choice sets: the sum of (x - m)(x - m)' over all alternatives that are available, m their
   * mean in the same choice set, divided by how many they are. L x L.
   */
  double *covariance;
  /** To be filled: r x L in an array of L x L: an atom is `sum_j b_j to_atoms[j]`, b its whitened coordinates. */
  double *to_atoms;
  /** To be filled: r x L in an array of L x L: `b = from_atoms . atom`. */
  double *from_atoms;
  /**
   * To be filled: L flags: whether a feature is not identified, being constant inside every choice set or collinear: of its standard
   * deviation other features leave less than 3e-7 sqrt(L), or than eight times the rounding of its largest value.
   */
  uint8_t *unidentified;
} smx_whitening;

/** How the M-step moves the atoms. */
typedef int32_t smx_m_step;

/** Options of smx_em_step. NULL in place of them: the defaults. */
typedef struct smx_em_options {
  /** sizeof(smx_em_options), set by smx_em_options_init. */
  size_t struct_size;
  /** Threads, at least 1 (default). */
  size_t threads;
  /** Instruction set; default SMX_ISA_AUTO. */
  smx_isa isa;
  /** The form of the M-step; default SMX_M_STEP_NEWTON. */
  smx_m_step m_step;
  /** Ridge lambda >= 0, in observations; default 0. */
  double ridge;
} smx_em_options;

/** One step along the gradient in whitened features. */
#define SMX_M_STEP_GRADIENT 0
/** One Newton step; p L^2 / 2 operations a class. */
#define SMX_M_STEP_NEWTON 1
/** Newton steps to convergence. */
#define SMX_M_STEP_CONVERGED 2

/** Fills a whitening with zeros and its size. */
smx_status smx_whitening_init(struct smx_whitening *whitening, size_t struct_size);

/** Fills options with the defaults. */
smx_status smx_em_options_init(struct smx_em_options *options, size_t struct_size);

/**
 * Bytes of workspace that smx_whiten needs.
 *
 * @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
 * @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
 */
size_t smx_whiten_workspace(const smx_data *data);

/**
 * Whitens the features inside choice sets. p L^2 / 2 and L^3 operations.
 *
 * @param data the data
 * @param options may be NULL
 * @param whitening made by smx_whitening_init, its four arrays set; they, `columns` and `rank` are written when all is well
 * @param workspace smx_whiten_workspace bytes, of any alignment; free to use again afterwards
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_whiten(const smx_data *data,
                      const smx_run_options *options,
                      struct smx_whitening *whitening,
                      void *workspace,
                      size_t workspace_size,
                      smx_error *error);

/**
 * Bytes of workspace that smx_em_step needs.
 *
 * @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
 * @param classes K
 * @param options may be NULL
 * @return the bytes; SIZE_MAX where a description is unusable or sizes overflow
 */
size_t smx_em_step_workspace(const smx_data *data, size_t classes, const struct smx_em_options *options);

/**
 * One safeguarded step of expectation maximisation: weights and atoms become the next ones, whose penalised log-likelihood is not
 * lower beyond rounding.
 *
 * @param data the data
 * @param whitening what smx_whiten found for these data
 * @param classes K
 * @param options may be NULL
 * @param weights K mixing weights, before and after; kept on errors
 * @param atoms K x L, before and after; kept on errors
 * @param log_likelihood log-likelihood where the step began; may be NULL
 * @param penalized_log_likelihood the same less the penalty; may be NULL
 * @param workspace smx_em_step_workspace bytes, of any alignment
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_em_step(const smx_data *data,
                       const struct smx_whitening *whitening,
                       size_t classes,
                       const struct smx_em_options *options,
                       double *weights,
                       double *atoms,
                       double *log_likelihood,
                       double *penalized_log_likelihood,
                       void *workspace,
                       size_t workspace_size,
                       smx_error *error);

/* ==============================================================================================================
 * Fitting
 * ==============================================================================================================
 *
 * smx_fit looks for the mixture of K classes of highest (penalised) log-likelihood: many starts, a race of a few steps each, and the
 * best of them finished on the observed likelihood. It reports how it ended, how many starts reached the best, which
 * classes run off to infinity and which features are not identified. Classes come back by decreasing weight.
 */

/** Where a fit stands. Lives only while the progress function runs. */
typedef struct smx_progress {
  /** Size of this struct in the library: fields beyond it are not there. */
  size_t struct_size;
  /** Starts finished. */
  size_t finished;
  /** Starts drawn so far. */
  size_t drawn;
  /** The start being finished, in the order drawn: `current` over its calls is its path. */
  size_t start;
  /** Evaluations so far, over all starts. */
  uint64_t evaluations;
  /** Best penalised log-likelihood so far; minus infinity before the first. */
  double best;
  /** Penalised log-likelihood of the start at hand (of the best of those racing). */
  double current;
  /** 1 while starts are racing, or the winner is tried with fewer classes; 0 while one is being finished. */
  int32_t racing;
  /** Zero. */
  int32_t reserved;
  /** Starts still racing; 0 while one is being finished. */
  size_t running;
  /** Classes K of the fit at hand. */
  size_t classes;
} smx_progress;

/**
 * Called by smx_fit and smx_scan after every step, on the thread that called them: 0 to go on, anything else to cancel, and then not
 * again. It must return: no longjmp, no C++ exception. It may call any function, with memory other than that of the call it belongs to.
 */
typedef int32_t (*smx_progress_fn)(const struct smx_progress *progress, void *user);

/** Options of smx_fit and smx_scan. NULL in place of them: the defaults. */
typedef struct smx_fit_options {
  /** sizeof(smx_fit_options), set by smx_fit_options_init. */
  size_t struct_size;
  /** Threads, at least 1 (default); more than one only in libraries built with the feature "rayon". */
  size_t threads;
  /** Instruction set; default SMX_ISA_AUTO. */
  smx_isa isa;
  /** Zero. */
  int32_t reserved;
  /**
   * Ridge lambda >= 0 of the penalty `lambda / 2 * sum_k atom_k' S atom_k`, in observations, S the mean covariance of the
   * features inside choice sets, over the alternatives that are available; default 0, which is maximum likelihood. A class of weight 0 and
   * atom 0 costs nothing: superfluous classes tend to end so.
   */
  double ridge;
  /** Seed of the random starts; default 0. Equal seeds give equal fits. */
  uint64_t seed;
  /**
   * Starts to try: so many, fewer if max_evaluations is spent first, and one for one class; default 0: the library's own rule, and more
   * when they do not agree.
   */
  size_t starts;
  /**
   * The only start to try, K mixing weights; default NULL: none given. Atoms that coincide are moved apart: between classes of one atom the
   * likelihood has a saddle.
   */
  const double *start_weights;
  /** Its atoms, K x L. */
  const double *start_atoms;
  /** A fit of K - 1 classes, at least one, that some of the first starts grow from; default NULL: none. */
  const double *grow_weights;
  /** Its atoms, (K - 1) x L. */
  const double *grow_atoms;
  /** Evaluations over all starts after which the fit ends, what is under way being finished first; at least 1, default 1000000. */
  uint64_t max_evaluations;
  /**
   * Converged when the largest entry of the gradient, in log-odds and whitened atoms, over the number of choices, is at most this;
   * above 0, default 1e-8. Above 1e-4 a fit may end so far from a maximum that SMX_DIVERGING says little.
   */
  double gradient_tolerance;
  /** Called after every step; default NULL: nobody. */
  smx_progress_fn progress;
  /** Handed to `progress`; default NULL. */
  void *user;
  /**
   * 1: on one choice set, starts race and L-BFGS takes its first steps on a copy of the features in float, which the workspace holds:
   * half the memory to read. The last steps are taken on the features as they are given. Without effect on data that are a rank's part
   * of a whole; default 0.
   */
  int32_t single_phase;
  /** Zero. */
  int32_t reserved_end;
} smx_fit_options;

/** How a start was made. Later versions may know more kinds. */
typedef int32_t smx_start_kind;

/** How a fit ended. None of these is an error; take unknown ones for "not converged". */
typedef int32_t smx_outcome;

/** Which rule stopped the start that won, or SMX_STOP_PROGRESS where the progress function ended the fit. */
typedef int32_t smx_stop;

/** What smx_fit finds. The arrays are the program's; `weights` and `atoms` must be there, the others may be NULL. */
typedef struct smx_fit_result {
  /** sizeof(smx_fit_result), set by smx_fit_result_init. */
  size_t struct_size;
  /** To be filled: K mixing weights, decreasing. A class of 1e-10 or less is empty: its atom means nothing. */
  double *weights;
  /** To be filled: K x L atoms. */
  double *atoms;
  /** To be filled: K flags: whether a class runs off. */
  uint8_t *diverging;
  /** To be filled: L flags: whether a feature is not identified: see smx_whitening. */
  uint8_t *unidentified;
  /**
   * To be filled: penalised log-likelihood at the end of every start, in the order drawn. Of those that were given up, where they stood,
   * minus infinity where that is no number or they were never evaluated; of those that raced on a sample of the alternatives, as on
   * large choice sets, an estimate.
   */
  double *start_values;
  /** To be filled: kind of every start. */
  smx_start_kind *start_kinds;
  /** Room in `start_values` and `start_kinds`: at least smx_fit_max_starts where one of them is there. */
  size_t starts_capacity;
  /** Starts drawn: as many entries of `start_values` and `start_kinds` are written. */
  size_t starts;
  /**
   * Starts that ended within 1e-8 |f| of the best, f the penalised log-likelihood. Without a ridge, where classes run off or are more than
   * the data tell of, many may agree a few units below what others would reach.
   */
  size_t at_best;
  /** The start that won, in the order drawn: the first of those that ended equally high, up to rounding. */
  size_t best_start;
  /** Rank of the features inside choice sets. */
  size_t rank;
  /** Log-likelihood, without multinomial coefficients. */
  double log_likelihood;
  /** Log-likelihood less the penalty. */
  double penalized_log_likelihood;
  /** Largest entry of the penalised gradient in log-odds and whitened atoms, over the number of choices. */
  double gradient_norm;
  /** Evaluations of value and gradient, over all starts. */
  uint64_t evaluations;
  /** Reads of the features, of a shard by its own rank; those of a sample of them count as that share. */
  uint64_t passes;
  /** How the fit ended: SMX_CONVERGED, or why not. */
  smx_outcome outcome;
  /** Which rule stopped the start that won, or SMX_STOP_PROGRESS. */
  smx_stop stop;
} smx_fit_result;

/**
 * The gradient is within the tolerance, or the gain still to be had is below rounding, and no class runs off. Other mixtures may fit as
 * well where there are more parameters than the data tell of: smx_standard_errors, all NaN, show it.
 */
#define SMX_CONVERGED 1
/** The budget of evaluations is spent. */
#define SMX_ITERATION_LIMIT 2

/**
 * No step ascends by more than rounding although the gradient is far above the tolerance, or a thousand steps of Newton's method did not
 * reach it.
 */
#define SMX_STALLED 3
/** A class runs off to infinity: the likelihood has no finite maximum there. A ridge penalty gives one. */
#define SMX_DIVERGING 4
/** The progress function asked for an end; the best so far is the result. */
#define SMX_CANCELLED 5
/** The gradient tolerance. */
#define SMX_STOP_GRADIENT 1
/** A predicted gain below the rounding of the log-likelihood. */
#define SMX_STOP_ROUNDING 2
/** No step ascends, or steps ascend without converging. */
#define SMX_STOP_NO_ASCENT 3
/** The budget of evaluations. */
#define SMX_STOP_EVALUATIONS 4
/** The progress function. */
#define SMX_STOP_PROGRESS 5
/** By the program. */
#define SMX_START_GIVEN 1
/** The fit of one class, from atoms at zero. */
#define SMX_START_ZERO 2
/** Random atoms in whitened features. */
#define SMX_START_RANDOM 3
/** A random partition of the units. */
#define SMX_START_PARTITION 4
/** A clustering of the units by their estimates, or of the alternatives that were chosen. */
#define SMX_START_CLUSTER 5
/** The best fit so far, with one class taken away and put elsewhere, or with a few units moved. */
#define SMX_START_RELOCATE 6
/** A fit of one class less, with a class put somewhere. */
#define SMX_START_GROW 7
/** Latent moments of order 3, by tensor. */
#define SMX_START_MOMENTS 8
/** Latent moments corrected by the design. */
#define SMX_START_CORRECTED_MOMENTS 9

/**
 * In the subspace of the atoms: random atoms where second moments suggest it; where units make several choices, a clustering of the units
 * by their estimates, projected on the leading eigenvectors of the scores.
 */
#define SMX_START_SUBSPACE 10

/** Fills options with the defaults. */
smx_status smx_fit_options_init(struct smx_fit_options *options, size_t struct_size);

/** Fills a result with zeros and its size. */
smx_status smx_fit_result_init(struct smx_fit_result *result, size_t struct_size);

/**
 * The most starts that smx_fit may draw: room that `start_values` and `start_kinds` need.
 *
 * @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
 * @param classes K
 * @param options may be NULL
 * @return the number; SIZE_MAX where a description is unusable or sizes overflow
 */
size_t smx_fit_max_starts(const smx_data *data, size_t classes, const struct smx_fit_options *options);

/**
 * Bytes of workspace that smx_fit needs.
 *
 * @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
 * @param classes K
 * @param options may be NULL
 * @return the bytes; SIZE_MAX where a description is unusable or sizes overflow
 */
size_t smx_fit_workspace(const smx_data *data, size_t classes, const struct smx_fit_options *options);

/**
 * Fits a mixture.
 *
 * @param data the data
 * @param classes K, from 1 to the number of units with a positive weight
 * @param options may be NULL
 * @param result made by smx_fit_result_init, at least `weights` and `atoms` set; written only when all is well
 * @param workspace smx_fit_workspace bytes, of any alignment
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_fit(const smx_data *data,
                   size_t classes,
                   const struct smx_fit_options *options,
                   struct smx_fit_result *result,
                   void *workspace,
                   size_t workspace_size,
                   smx_error *error);

/* ==============================================================================================================
 * How many classes
 * ==============================================================================================================
 *
 * smx_scan fits every number of classes from `first` to `last`, each growing from the one before, with the criteria that weigh likelihood
 * against parameters. Entry j of an array belongs to K = first + j; mixtures stand side by side: the weights of K classes begin after
 * those of fewer, at `(K (K - 1) - first (first - 1)) / 2`, and their atoms at L times that. All of them are
 * `(last (last + 1) - first (first - 1)) / 2` classes.
 */

/** The most numbers of classes that one scan takes: `last - first + 1`. */
#define SMX_SCAN_MAX 4096

/** What smx_scan finds. The arrays are the program's; `weights` and `atoms` must be there, the others may be NULL. n = last - first + 1. */
typedef struct smx_scan_result {
  /** sizeof(smx_scan_result), set by smx_scan_result_init. */
  size_t struct_size;
  /** To be filled: mixing weights of all fits, those of each decreasing. */
  double *weights;
  /** To be filled: atoms of all fits, L numbers a class. */
  double *atoms;
  /** To be filled: flags of the classes of all fits: whether a class runs off. */
  uint8_t *diverging;
  /** To be filled: how each fit ended, n entries. */
  smx_outcome *outcomes;
  /** To be filled: log-likelihood of each fit, n numbers. */
  double *log_likelihoods;
  /** To be filled: the same less the penalty, n numbers. */
  double *penalized_log_likelihoods;
  /** To be filled: parameters d = K - 1 + K r of each fit, n numbers; r is `rank`. */
  size_t *parameters;
  /** To be filled: -2 log-likelihood + 2 d, n numbers. */
  double *aic;
  /**
   * To be filled: -2 log-likelihood + d ln(weights of the units, summed), n numbers; where they are shares of a whole the criteria mean
   * nothing.
   */
  double *bic;
  /** To be filled: bic plus twice the entropy of the posterior class probabilities, n numbers. */
  double *icl;
  /** To be filled: starts drawn by each fit, n numbers. */
  size_t *starts;
  /** To be filled: starts that reached the best of their fit, n numbers. */
  size_t *at_best;
  /** Fits found: n, or fewer after a cancellation, of which the last is then SMX_CANCELLED. As many entries are written. */
  size_t fits;
  /** Number of classes where aic is smallest, the first of equals. */
  size_t best_aic;
  /** Number of classes where bic is smallest, the first of equals. */
  size_t best_bic;
  /** Number of classes where icl is smallest, the first of equals. */
  size_t best_icl;
  /** Rank r of the features inside choice sets. */
  size_t rank;
  /** Evaluations of value and gradient, over all fits. */
  uint64_t evaluations;
  /**
   * To be filled: eigenvalues of the covariance of the atoms that second moments suggest, decreasing, r of them in an array of L, NaN
   * beyond: those of smx_subspace with a tilt of 1/2, for which one class is fitted and the features are read about ten times more. All
   * are NaN where smx_subspace has none: where choices are not counts over one choice set, no feature is identified, or the data are a
   * part of a whole; and after a cancellation.
   */
  double *eigenvalues;
  /** 1 + the eigenvalues above the noise; 0 where `eigenvalues` is NULL or all NaN. */
  size_t suggested_classes;
  /** The noise; NaN there. */
  double noise;
} smx_scan_result;

/** Fills a result with zeros and its size. */
smx_status smx_scan_result_init(struct smx_scan_result *result, size_t struct_size);

/**
 * Bytes of workspace that smx_scan needs.
 *
 * @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
 * @param first smallest K, at least 1
 * @param last largest K
 * @param options may be NULL
 * @return the bytes; SIZE_MAX where a description is unusable, there are more than SMX_SCAN_MAX fits, or sizes overflow
 */
size_t smx_scan_workspace(const smx_data *data,
                          size_t first,
                          size_t last,
                          const smx_fit_options *options);

/**
 * Fits every number of classes from `first` to `last`.
 *
 * @param data the data
 * @param first smallest K, at least 1
 * @param last largest K, at most the number of units with a positive weight
 * @param options may be NULL; `start_weights` and `start_atoms` must be; `starts`, `max_evaluations` and `gradient_tolerance` hold for
 * each fit; the fit of `first` classes grows from `grow_weights` and `grow_atoms`, if they are there; smx_progress tells the
 * number of classes
 * @param result made by smx_scan_result_init, at least `weights` and `atoms` set; written only when all is well
 * @param workspace smx_scan_workspace bytes, of any alignment
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_scan(const smx_data *data,
                    size_t first,
                    size_t last,
                    const smx_fit_options *options,
                    struct smx_scan_result *result,
                    void *workspace,
                    size_t workspace_size,
                    smx_error *error);

/* ==============================================================================================================
 * What a fitted mixture says
 * ==============================================================================================================
 *
 * Choice probabilities, standard errors, and the second-order quantities behind them. Posterior probabilities of the classes, unit by
 * unit, are the `responsibilities` of smx_evaluate. Matrices over all parameters have D = K - 1 + K * L rows: the log-odds of the
 * weights against the last class, then the atoms, class after class; but for that of smx_covariance, which is of the weights themselves.
 */

/** Where the variance of standard errors comes from. */
typedef int32_t smx_variance;

/** Options of smx_standard_errors and smx_covariance. NULL in place of them: the defaults. */
typedef struct smx_inference_options {
  /** sizeof(smx_inference_options), set by smx_inference_options_init. */
  size_t struct_size;
  /** Threads, at least 1 (default). */
  size_t threads;
  /** Instruction set; default SMX_ISA_AUTO. */
  smx_isa isa;
  /** Where the variance comes from; default SMX_VARIANCE_INFORMATION. */
  smx_variance variance;
  /** The ridge that the mixture was fitted with; default 0. */
  double ridge;
} smx_inference_options;

/** What weighs likelihood against the number of parameters; smaller is better. */
typedef struct smx_criteria_result {
  /** sizeof(smx_criteria_result), set by smx_criteria_result_init. */
  size_t struct_size;
  /** Parameters d = K - 1 + K r, r the rank of the features inside choice sets. */
  size_t parameters;
  /** Observations n: weights of the units, summed; where they are shares of a whole the criteria mean nothing. */
  double observations;
  /** -2 log-likelihood + 2 d. */
  double aic;
  /** -2 log-likelihood + d ln n. */
  double bic;
  /** bic, plus twice the entropy of the posterior class probabilities: classes that overlap cost. */
  double icl;
} smx_criteria_result;

/** The inverse of the observed information: right when the model is. */
#define SMX_VARIANCE_INFORMATION 0
/** The sandwich, weights of units being frequencies: w equal units stand behind a unit of weight w. */
#define SMX_VARIANCE_ROBUST 1

/**
 * The sandwich, weights of units being sampling weights: one unit stands behind each. It means nothing for counts (and is not
 * refused there), where one draw would stand behind each alternative.
 */
#define SMX_VARIANCE_ROBUST_SAMPLING 2

/** Fills options with the defaults. */
smx_status smx_inference_options_init(struct smx_inference_options *options, size_t struct_size);

/**
 * Bytes of workspace that smx_choice_probabilities needs.
 *
 * @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
 * @param classes K
 * @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
 */
size_t smx_choice_probabilities_workspace(const smx_data *data, size_t classes);

/**
 * Choice probabilities of every alternative inside its choice set. One read of the features.
 *
 * @param data the data, checked as everywhere; their choices do not matter. Where there are none: SMX_COUNTS with `counts` NULL, choice sets
 *             or not, but not of a shard
 * @param classes K
 * @param weights K mixing weights
 * @param atoms K x L
 * @param options may be NULL
 * @param by_class to be filled: probability of each alternative in each class, p x K, row after row; may be NULL
 * @param mixed to be filled: the same mixed over the classes, p numbers; may be NULL
 * @param workspace smx_choice_probabilities_workspace bytes, of any alignment
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_choice_probabilities(const smx_data *data,
                                    size_t classes,
                                    const double *weights,
                                    const double *atoms,
                                    const smx_run_options *options,
                                    double *by_class,
                                    double *mixed,
                                    void *workspace,
                                    size_t workspace_size,
                                    smx_error *error);

/** Fills a result with zeros and its size. */
smx_status smx_criteria_result_init(struct smx_criteria_result *result, size_t struct_size);

/**
 * Bytes of workspace that smx_criteria needs.
 *
 * @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
 * @param classes K
 * @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
 */
size_t smx_criteria_workspace(const smx_data *data, size_t classes);

/**
 * Criteria of a mixture, to choose the number of classes by: fit with K = 1, 2, ... (smx_fit_options.grow_weights makes each begin at the
 * one before) and take the smallest. One evaluation.
 *
 * @param data the data
 * @param classes K
 * @param weights K mixing weights
 * @param atoms K x L
 * @param rank r, at most L: of smx_fit_result or smx_whitening
 * @param options may be NULL
 * @param result made by smx_criteria_result_init
 * @param workspace smx_criteria_workspace bytes, of any alignment
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_criteria(const smx_data *data,
                        size_t classes,
                        const double *weights,
                        const double *atoms,
                        size_t rank,
                        const smx_run_options *options,
                        struct smx_criteria_result *result,
                        void *workspace,
                        size_t workspace_size,
                        smx_error *error);

/**
 * Bytes of workspace that smx_standard_errors needs.
 *
 * @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
 * @param classes K
 * @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
 */
size_t smx_standard_errors_workspace(const smx_data *data, size_t classes);

/**
 * Standard errors at a fitted mixture, by the observed information or the sandwich; for the weights by the delta method.
 *
 * NaN where they are not defined: of features that are not identified, of empty classes, beyond the range of doubles, or of everything
 * where the information is not positive definite, or is so by rounding alone. Those of classes that run off (`diverging` of a fit) are
 * numbers without a meaning: large ones from the information, small ones where they are robust. p L^2 K / 2 + U (K L)^2 / 2 + D^3
 * operations, p L^2 K (K + 1) / 4 + D^3 for counts over one choice set, and 3 U D^2 / 2 more where they are robust.
 *
 * @param data the data
 * @param whitening what smx_whiten found for these data
 * @param classes K
 * @param weights K mixing weights
 * @param atoms K x L
 * @param options may be NULL
 * @param weight_errors to be filled: K numbers
 * @param atom_errors to be filled: K x L
 * @param workspace smx_standard_errors_workspace bytes, of any alignment
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_standard_errors(const smx_data *data,
                               const smx_whitening *whitening,
                               size_t classes,
                               const double *weights,
                               const double *atoms,
                               const struct smx_inference_options *options,
                               double *weight_errors,
                               double *atom_errors,
                               void *workspace,
                               size_t workspace_size,
                               smx_error *error);

/**
 * Bytes of workspace that smx_covariance needs.
 *
 * @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
 * @param classes K
 * @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
 */
size_t smx_covariance_workspace(const smx_data *data, size_t classes);

/**
 * The covariance matrix of the estimates, of P = K + K L parameters: the weights, then the atoms, class after class. A function of them
 * with gradient g has variance g' V g; so the ratio of two features of an atom, a willingness to pay where one of them is a price.
 *
 * NaN where smx_standard_errors has NaN, which are the roots of the diagonal. Operations: those of smx_standard_errors.
 *
 * @param data the data
 * @param whitening what smx_whiten found for these data
 * @param classes K
 * @param weights K mixing weights
 * @param atoms K x L
 * @param options may be NULL
 * @param covariance to be filled: P x P
 * @param workspace smx_covariance_workspace bytes, of any alignment
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_covariance(const smx_data *data,
                          const smx_whitening *whitening,
                          size_t classes,
                          const double *weights,
                          const double *atoms,
                          const struct smx_inference_options *options,
                          double *covariance,
                          void *workspace,
                          size_t workspace_size,
                          smx_error *error);

/**
 * Bytes of workspace that smx_information and smx_score_products need.
 *
 * @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
 * @param classes K
 * @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
 */
size_t smx_information_workspace(const smx_data *data, size_t classes);

/**
 * The observed information: minus the Hessian of the penalised log-likelihood. p L^2 K / 2 + U (K L)^2 / 2 operations, p L^2 K (K + 1) / 4
 * for counts over one choice set.
 *
 * @param data the data
 * @param classes K
 * @param weights K mixing weights
 * @param atoms K x L
 * @param options may be NULL
 * @param information to be filled: D x D
 * @param workspace smx_information_workspace bytes, of any alignment
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_information(const smx_data *data,
                           size_t classes,
                           const double *weights,
                           const double *atoms,
                           const smx_evaluate_options *options,
                           double *information,
                           void *workspace,
                           size_t workspace_size,
                           smx_error *error);

/**
 * The middle of the sandwich: sum over the units of w^q s s', with unit scores s.
 *
 * @param data the data
 * @param classes K
 * @param weights K mixing weights
 * @param atoms K x L
 * @param sampling 0: weights of units are frequencies, q = 1; 1: they are sampling weights, q = 2
 * @param options may be NULL
 * @param products to be filled: D x D
 * @param workspace smx_information_workspace bytes, of any alignment
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_score_products(const smx_data *data,
                              size_t classes,
                              const double *weights,
                              const double *atoms,
                              int32_t sampling,
                              const smx_run_options *options,
                              double *products,
                              void *workspace,
                              size_t workspace_size,
                              smx_error *error);

/**
 * Bytes of workspace that smx_hessian_vector needs.
 *
 * @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
 * @param classes K
 * @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
 */
size_t smx_hessian_vector_workspace(const smx_data *data, size_t classes);

/**
 * The Hessian of the log-likelihood, without penalty, times a vector: the passes of two evaluations, and no matrix.
 *
 * @param data the data
 * @param classes K
 * @param weights K mixing weights
 * @param atoms K x L
 * @param vector D numbers
 * @param options may be NULL
 * @param product to be filled: D numbers
 * @param workspace smx_hessian_vector_workspace bytes, of any alignment
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_hessian_vector(const smx_data *data,
                              size_t classes,
                              const double *weights,
                              const double *atoms,
                              const double *vector,
                              const smx_run_options *options,
                              double *product,
                              void *workspace,
                              size_t workspace_size,
                              smx_error *error);

/* ==============================================================================================================
 * Latent moments
 * ==============================================================================================================
 *
 * For counts over one choice set (SMX_COUNTS or SMX_SPARSE_COUNTS; else SMX_UNSUPPORTED): moments of the atoms from the chosen rows. In
 * whitened features y = to_atoms (x - mean), a choice of class k is as if drawn from a normal law around the atom d_k, as nearly as the
 * rows look normal: Hermite polynomials of y then estimate sum_k weight_k (v . d_k)^r.
 */

/** What smx_subspace finds. `mean_atom`, `eigenvalues` and `directions` are the program's. */
typedef struct smx_subspace_result {
  /** sizeof(smx_subspace_result), set by smx_subspace_result_init. */
  size_t struct_size;
  /** To be filled: the mean atom, L numbers. */
  double *mean_atom;
  /** To be filled: r eigenvalues, decreasing. */
  double *eigenvalues;
  /** To be filled: r x L: atoms are about `mean_atom + sum_j c_j directions[j]`, c_j of variance `eigenvalues[j]`, j below K - 1. */
  double *directions;
  /** 1 + the eigenvalues above the noise. */
  size_t suggested_classes;
  /** The noise. */
  double noise;
  /** Effective number of draws. */
  double draws;
} smx_subspace_result;

/**
 * Latent tensors; the arrays are the program's, NULL for what is not wanted. What is beyond a double is infinite or NaN, and its standard
 * error infinite. Third moments are packed: entry (a, b, c), a >= b >= c, is
 * `third[a (a + 1) (a + 2) / 6 + b (b + 1) / 2 + c]`, of r (r + 1) (r + 2) / 6.
 */
typedef struct smx_tensors {
  /** sizeof(smx_tensors), set by smx_tensors_init. */
  size_t struct_size;
  /** To be filled: sum_k weight_k d_k, r numbers. */
  double *first;
  /** To be filled: sum_k weight_k d_k d_k', r x r. */
  double *second;
  /** To be filled: the same of order 3, packed. */
  double *third;
  /** To be filled: standard errors of `first`, which must be there too; so with the others. */
  double *first_errors;
  /** To be filled: standard errors of `second`. */
  double *second_errors;
  /** To be filled: standard errors of `third`. */
  double *third_errors;
} smx_tensors;

/** Fills a result with zeros and its size. */
smx_status smx_subspace_result_init(struct smx_subspace_result *result, size_t struct_size);

/** Fills tensors with zeros and their size: none wanted. */
smx_status smx_tensors_init(struct smx_tensors *tensors, size_t struct_size);

/**
 * Bytes of workspace that smx_subspace needs.
 *
 * @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
 * @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
 */
size_t smx_subspace_workspace(const smx_data *data);

/**
 * Where the atoms lie: their mean and the directions in which they differ, from second moments; and how many classes these suggest.
 * Offsets enter as weights of the alternatives.
 *
 * @param data counts over one choice set
 * @param whitening what smx_whiten found for these data; where its rank is 0, SMX_ILL_POSED
 * @param tilt at least 0; 0: the moments as they are; above 0, rows far from the one-class fit count less, which is clearer for far atoms
 * @param options may be NULL
 * @param result made by smx_subspace_result_init, its three arrays set
 * @param workspace smx_subspace_workspace bytes, of any alignment
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_subspace(const smx_data *data,
                        const smx_whitening *whitening,
                        double tilt,
                        const smx_run_options *options,
                        struct smx_subspace_result *result,
                        void *workspace,
                        size_t workspace_size,
                        smx_error *error);

/**
 * Bytes of workspace that smx_latent_moments needs.
 *
 * @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
 * @param number V
 * @param order R
 * @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
 */
size_t smx_latent_moments_workspace(const smx_data *data, size_t number, size_t order);

/**
 * Moments sum_k weight_k (v . d_k)^r, r = 0 to R, along V directions v, from Hermite polynomials. Finite offsets do not enter. One read of
 * the chosen rows.
 *
 * @param data counts over one choice set
 * @param whitening what smx_whiten found for these data, of rank r; where that is 0, SMX_ILL_POSED
 * @param number V
 * @param directions V x r numbers, each direction of norm 1 (to 1e-6, or SMX_INVALID_OPTION) in whitened features
 * @param order R
 * @param options may be NULL
 * @param moments to be filled: V x (R + 1); of high orders they may be beyond a double, infinite or NaN, with infinite errors
 * @param errors to be filled: standard errors of `moments`; may be NULL
 * @param workspace smx_latent_moments_workspace bytes, of any alignment
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_latent_moments(const smx_data *data,
                              const smx_whitening *whitening,
                              size_t number,
                              const double *directions,
                              size_t order,
                              const smx_run_options *options,
                              double *moments,
                              double *errors,
                              void *workspace,
                              size_t workspace_size,
                              smx_error *error);

/**
 * Bytes of workspace that smx_latent_tensors needs.
 *
 * @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
 * @param errors 1 where any standard errors are wanted, else 0
 * @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
 */
size_t smx_latent_tensors_workspace(const smx_data *data, int32_t errors);

/**
 * Latent tensors of order 1 to 3 and their standard errors. Finite offsets do not enter. One read of the chosen rows.
 *
 * @param data counts over one choice set
 * @param whitening what smx_whiten found for these data
 * @param options may be NULL
 * @param tensors made by smx_tensors_init, the arrays that are wanted set
 * @param workspace smx_latent_tensors_workspace bytes, of any alignment
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_latent_tensors(const smx_data *data,
                              const smx_whitening *whitening,
                              const smx_run_options *options,
                              const struct smx_tensors *tensors,
                              void *workspace,
                              size_t workspace_size,
                              smx_error *error);

/**
 * Bytes of workspace that smx_cross_moments needs.
 *
 * @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
 * @param order R
 * @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
 */
size_t smx_cross_moments_workspace(const smx_data *data, size_t order);

/**
 * Cross moments sum_k weight_k (v . d_k)^r d_k, r = 0 to R, along one direction v. Finite offsets do not enter. One read of the chosen
 * rows.
 *
 * @param data counts over one choice set
 * @param whitening what smx_whiten found for these data, of rank r; where that is 0, SMX_ILL_POSED
 * @param direction v: r numbers, of norm 1 (to 1e-6, or SMX_INVALID_OPTION) in whitened features
 * @param order R
 * @param options may be NULL
 * @param moments to be filled: (R + 1) x r, order after order; of high orders as those of smx_latent_moments
 * @param errors to be filled: standard errors of `moments`; may be NULL
 * @param workspace smx_cross_moments_workspace bytes, of any alignment
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_cross_moments(const smx_data *data,
                             const smx_whitening *whitening,
                             const double *direction,
                             size_t order,
                             const smx_run_options *options,
                             double *moments,
                             double *errors,
                             void *workspace,
                             size_t workspace_size,
                             smx_error *error);

/**
 * Bytes of workspace that smx_third_projected and smx_third_slices need.
 *
 * @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
 * @param number C
 * @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
 */
size_t smx_third_moments_workspace(const smx_data *data, size_t number);

/**
 * Third moments seen through C vectors: entry (a, b, c) is sum_k weight_k (w_a + v_a . d_k) (w_b + v_b . d_k) (w_c + v_c . d_k), without
 * the r x r x r tensor. One read of the chosen rows, L C + C^3 / 6 operations a row.
 *
 * @param data counts over one choice set
 * @param whitening what smx_whiten found for these data, of rank r; where that is 0, SMX_ILL_POSED
 * @param number C
 * @param vectors C x r numbers v, in whitened features
 * @param constants C numbers w; NULL: zeros
 * @param options may be NULL
 * @param third to be filled: C (C + 1) (C + 2) / 6 numbers, packed as in smx_tensors; infinite or NaN where they are beyond a double
 * @param workspace smx_third_moments_workspace bytes, of any alignment
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_third_projected(const smx_data *data,
                               const smx_whitening *whitening,
                               size_t number,
                               const double *vectors,
                               const double *constants,
                               const smx_run_options *options,
                               double *third,
                               void *workspace,
                               size_t workspace_size,
                               smx_error *error);

/**
 * Third moments contracted with C vectors v: slice i is sum_k weight_k (v_i . d_k) d_k d_k'. One read of the chosen rows, L r + C r^2 / 2
 * operations a row.
 *
 * @param data counts over one choice set
 * @param whitening what smx_whiten found for these data, of rank r; where that is 0, SMX_ILL_POSED
 * @param number C
 * @param vectors C x r numbers, in whitened features
 * @param options may be NULL
 * @param slices to be filled: C x r x r; infinite or NaN where they are beyond a double
 * @param workspace smx_third_moments_workspace bytes, of any alignment
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_third_slices(const smx_data *data,
                            const smx_whitening *whitening,
                            size_t number,
                            const double *vectors,
                            const smx_run_options *options,
                            double *slices,
                            void *workspace,
                            size_t workspace_size,
                            smx_error *error);

/* ==============================================================================================================
 * Estimators from moments
 * ==============================================================================================================
 *
 * Mixtures from latent moments alone, for counts over one choice set (SMX_COUNTS or SMX_SPARSE_COUNTS; else SMX_UNSUPPORTED): no search
 * over many starts. smx_fit uses them among its own starts.
 */

/** Estimators. */
typedef int32_t smx_method;

/** Options of smx_estimate. NULL in place of them: the defaults. Numbers are checked whatever the method, arrays where it uses them. */
typedef struct smx_estimate_options {
  /** sizeof(smx_estimate_options), set by smx_estimate_options_init. */
  size_t struct_size;
  /** Threads, at least 1 (default). */
  size_t threads;
  /** Instruction set; default SMX_ISA_AUTO. */
  smx_isa isa;
  /** The estimator; default SMX_METHOD_CORRECTED. */
  smx_method method;
  /**
   * SMX_METHOD_TENSOR, SMX_METHOD_DIRECTION: where the moments are those of no mixture, 1 (default) answers with one nearby, 0 with
   * SMX_ILL_POSED.
   */
  int32_t project;
  /** SMX_METHOD_CORRECTED: order of the moments, 3 to 9; default 0: the library's own rule. */
  int32_t order;
  /** SMX_METHOD_CORRECTED: the tilt to begin with, at least 0; default -1: the library's own rule. */
  double tilt;
  /** SMX_METHOD_CORRECTED: evaluations of the moment equations at most, 1 or more; default 96. */
  size_t max_evaluations;
  /** SMX_METHOD_CORRECTED: a mixture to start from, K weights; default NULL: the library's own. */
  const double *start_weights;
  /** Its atoms, K x L. */
  const double *start_atoms;
  /** SMX_METHOD_DIRECTION: a direction of norm 1 (to 1e-6) in whitened features, r numbers; default NULL: where the atoms differ most. */
  const double *direction;
} smx_estimate_options;

/** What smx_estimate finds beside the mixture. */
typedef struct smx_estimate_report {
  /** sizeof(smx_estimate_report), set by smx_estimate_report_init. */
  size_t struct_size;
  /** SMX_METHOD_CORRECTED: log-likelihood of the mixture; else NaN. */
  double log_likelihood;
  /** SMX_METHOD_CORRECTED: the tilt that it went on with; else 0. */
  double tilt;
  /** SMX_METHOD_DIRECTION: share of the normal law mixed into the moments, 0 where they are those of K points; else 0. */
  double shrinkage;
  /** SMX_METHOD_CORRECTED: evaluations of the moment equations; else 0. */
  uint64_t evaluations;
  /** SMX_METHOD_CORRECTED: reads of the features; else 0. */
  uint64_t passes;
} smx_estimate_report;

/** Moments corrected by the design: a mixture whose moments over the actual rows are the observed ones as nearly as can be. */
#define SMX_METHOD_CORRECTED 0
/** Moments of order 3, diagonalised jointly; at most r + 1 classes. Biased where features are not normal or atoms far. */
#define SMX_METHOD_TENSOR 1
/** Moments along one direction (Lindsay and Basak); any number of classes, of which it is good for few. */
#define SMX_METHOD_DIRECTION 2

/** Fills options with the defaults. */
smx_status smx_estimate_options_init(struct smx_estimate_options *options, size_t struct_size);

/** Fills a report with its size and nothing found. */
smx_status smx_estimate_report_init(struct smx_estimate_report *report, size_t struct_size);

/**
 * Bytes of workspace that smx_estimate needs.
 *
 * @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
 * @param classes K
 * @param options may be NULL
 * @return the bytes; SIZE_MAX where a description is unusable or sizes overflow
 */
size_t smx_estimate_workspace(const smx_data *data,
                              size_t classes,
                              const struct smx_estimate_options *options);

/**
 * A mixture from moments alone: no iteration over starts. A start for smx_fit, or an estimate by itself. Classes come in no order.
 *
 * @param data counts over one choice set
 * @param whitening what smx_whiten found for these data; SMX_METHOD_CORRECTED: where its rank is 0, SMX_ILL_POSED
 * @param classes K
 * @param options may be NULL
 * @param weights to be filled: K mixing weights
 * @param atoms to be filled: K x L
 * @param report may be NULL
 * @param workspace smx_estimate_workspace bytes, of any alignment
 * @param workspace_size bytes that there are
 * @param error may be NULL
 */
smx_status smx_estimate(const smx_data *data,
                        const smx_whitening *whitening,
                        size_t classes,
                        const struct smx_estimate_options *options,
                        double *weights,
                        double *atoms,
                        struct smx_estimate_report *report,
                        void *workspace,
                        size_t workspace_size,
                        smx_error *error);

/* ==============================================================================================================
 * Kernels
 * ==============================================================================================================
 *
 * Exponentials, logarithms of sums and softmax over arrays, in double and (the names with `f` or `float` at the end) in float. They need
 * no workspace. NaN is no error here: it passes through as each comment says. In exp, log, softmax and log_softmax `out` may be `x`
 * itself; else it may not overlap it. Arrays are aligned for their type, no more. `isa` is SMX_ISA_AUTO as a rule.
 */

/**
 * A sum of exponentials, `exp(max) * sum`, kept apart so that it neither overflows nor vanishes: what parts of a sum hand over to be
 * merged. The sum of nothing is that of n = 0.
 */
typedef struct smx_sum {
  /** The largest exponent, clamped to the finite numbers. */
  double max;
  /** Sum of exp(x - max). */
  double sum;
} smx_sum;

/** `out[i] = exp(x[i])`, within 1.05 units in the last place. exp(-infinity) is 0, exp(infinity) infinity, and NaN gives NaN. */
smx_status smx_exp(const double *x,
                   double *out,
                   size_t n,
                   smx_isa isa);

/** smx_exp in float. */
smx_status smx_expf(const float *x, float *out, size_t n, smx_isa isa);

/** `out[i] = ln(x[i])`, within 1 unit in the last place. ln(0) is -infinity, ln(infinity) infinity; negative numbers and NaN give NaN. */
smx_status smx_log(const double *x,
                   double *out,
                   size_t n,
                   smx_isa isa);

/** smx_log in float. */
smx_status smx_logf(const float *x, float *out, size_t n, smx_isa isa);

/**
 * `out[i] = exp(x[i]) / sum_j exp(x[j])`. -infinity gives 0; where all are -infinity, so are all results 0. NaN or infinity anywhere
 * makes every result NaN.
 */
smx_status smx_softmax(const double *x,
                       double *out,
                       size_t n,
                       smx_isa isa);

/** smx_softmax in float. */
smx_status smx_softmaxf(const float *x, float *out, size_t n, smx_isa isa);

/** `out[i] = x[i] - ln sum_j exp(x[j])`. -infinity gives -infinity, also where all are. NaN or infinity anywhere makes every result NaN. */
smx_status smx_log_softmax(const double *x,
                           double *out,
                           size_t n,
                           smx_isa isa);

/** smx_log_softmax in float. */
smx_status smx_log_softmaxf(const float *x, float *out, size_t n, smx_isa isa);

/**
 * `*out = ln sum_i exp(x[i])`, reading `x` once. NaN anywhere gives NaN; otherwise infinity anywhere gives infinity; no number, or
 * -infinity alone, give -infinity.
 */
smx_status smx_logsumexp(const double *x,
                         size_t n,
                         double *out,
                         smx_isa isa);

/** smx_logsumexp in float; its sums are in double. */
smx_status smx_logsumexpf(const float *x, size_t n, float *out, smx_isa isa);

/** smx_logsumexp of `x[0]`, `x[stride]`, ..., `x[(n - 1) * stride]`; `stride` is at least 1. */
smx_status smx_logsumexp_strided(const double *x, size_t n, size_t stride, double *out, smx_isa isa);

/** smx_logsumexp_strided in float. */
smx_status smx_logsumexp_stridedf(const float *x, size_t n, size_t stride, float *out, smx_isa isa);

/** smx_logsumexp of every column of a matrix of `rows` x `columns`, row after row: `out` has `columns` numbers. `x` is read once. */
smx_status smx_logsumexp_columns(const double *x,
                                 size_t rows,
                                 size_t columns,
                                 double *out,
                                 smx_isa isa);

/** smx_logsumexp_columns in float. */
smx_status smx_logsumexp_columnsf(const float *x, size_t rows, size_t columns, float *out, smx_isa isa);

/** `*out` becomes the sum of the exponentials of `x`, for smx_sum_merge. */
smx_status smx_sum_of(const double *x, size_t n, struct smx_sum *out, smx_isa isa);

/** smx_sum_of in float. */
smx_status smx_sum_of_float(const float *x, size_t n, struct smx_sum *out, smx_isa isa);

/** The sum of both. Commutative; the order of several merges changes the last digits only. */
struct smx_sum smx_sum_merge(struct smx_sum a, struct smx_sum b);

/** The logarithm of a sum. */
double smx_sum_log(struct smx_sum a);

#ifdef __cplusplus
} // extern "C"
#endif

#endif /* SOFTMIX_H */
