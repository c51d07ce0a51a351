/* softmix: softmax mixtures (latent-class multinomial logits), fitted in C.
 *
 * This file is made from src/ffi by `SOFTMIX_WRITE_HEADER=1 cargo test --test header`: edit it there.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Sections
 *
 *   How to call             the rules that hold for every function
@SECTIONS@
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
