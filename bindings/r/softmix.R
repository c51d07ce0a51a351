# Softmax mixtures for R, over the C library.
#
# Once, in this folder, with the library installed where pkg-config finds it:
#
#     PKG_CPPFLAGS=$(pkg-config --cflags softmix) PKG_LIBS=$(pkg-config --libs softmix) R CMD SHLIB -o softmix_r.so softmix.c
#
# Then `source("softmix.R")`, and
#
#     fit <- softmix(x, counts, classes = 2)     # x: alternatives x features; counts: how often each was chosen,
#     fit$weights; fit$atoms; fit$log_likelihood  # or a matrix with a row for each unit
#     predict(fit)                                # posterior class probabilities, a row for each unit (for counts: each alternative)
#     predict(fit, newdata, counts)               # those of other data: newdata for x, and counts, choices, sets and offset as above
#
# Panels: softmix(x, choices = list(indptr =, indices =, counts =, weights =), sets = , classes = ): unit u chose rows
# indices[(indptr[u] + 1):indptr[u + 1]] of x (rows counted from 1), each as often as counts says (default: once), and has a weight (default:
# 1); choice set s holds rows sets[s] + 1 to sets[s + 1].
#
# offset    added to the logits, a number for each row of x; -Inf: not available
# ridge     penalty, in observations; 0: maximum likelihood
# seed      of the random starts: equal seeds give equal fits
# starts    how many; 0: the library's own rule
# progress  called as progress(finished, drawn, best) during the fit: starts finished and drawn, best log-likelihood; FALSE ends the fit
#
# A fit has weights (decreasing), atoms (classes x features, in the units of x), log_likelihood (without multinomial coefficients), outcome
# ("converged", "cancelled", or with a warning "iteration_limit", "stalled", "diverging"), diverging (of each class), unidentified (of each
# feature), starts (how many were tried), at_best (how many of them reached the best), and data (what predict(fit) reads).
#
# One thread. Not here, but in C and Python: standard errors, choice probabilities, scans of the number of classes, starts of one's own,
# threads, features in single precision, fits over many machines.

softmix <- local({
  # The innermost source() is this file's, whatever function called it.
  files <- unlist(lapply(sys.frames(), function(frame) frame$ofile))
  folder <- Sys.getenv("SOFTMIX_R", unset = if (is.null(files)) "." else dirname(files[length(files)]))
  dll <- dyn.load(file.path(folder, paste0("softmix_r", .Platform$dynlib.ext)))
  call_fit <- getNativeSymbolInfo("softmix_fit", dll)
  call_posterior <- getNativeSymbolInfo("softmix_posterior", dll)

  refuse <- function(...) stop("softmix: ", ..., call. = FALSE)

  # What holds numbers: as.double would make some of factors and text too.
  numbers <- function(v, name) {
    if (is.data.frame(v) || isS4(v)) v <- as.matrix(v)
    if (!(is.numeric(v) || is.logical(v)) || length(dim(v)) > 2) {
      refuse(name, ": expected numbers, got ", paste(unique(c(typeof(v), class(v)[1])), collapse = " "))
    }
    v
  }
  double <- function(v, name) if (!is.null(v)) as.double(numbers(v, name))
  whole <- function(v, name) if (is.integer(v) && !is.object(v)) v else double(v, name) # C reads integers as they are

  # The arguments that describe data to C. A matrix of counts becomes compressed rows.
  describe <- function(x, counts, choices, sets, offset) {
    x <- numbers(x, "x")
    x <- as.matrix(x)
    storage.mode(x) <- "double"
    parts <- c("indptr", "indices", "counts", "weights")
    if (is.null(choices)) {
      if (is.null(counts)) refuse("counts: missing, and no choices either")
      counts <- numbers(counts, "counts")
    } else {
      if (!is.null(counts)) refuse("counts: not beside choices, which have their own")
      if (!is.list(choices)) refuse("choices: expected a list of ", toString(parts))
      for (name in setdiff(names(choices), parts)) refuse("choices: no part is called ", name, ", but ", toString(parts))
      for (name in parts[1:2]) if (is.null(choices[[name]])) refuse("choices: without ", name)
    }
    matrix <- is.matrix(counts)
    if (matrix) {
      if (ncol(counts) != nrow(x)) refuse("counts: ", ncol(counts), " columns for ", nrow(x), " rows of x")
      counts <- t(counts)
      at <- which(is.na(counts) | counts != 0, arr.ind = TRUE) # C refuses what is NA
      choices <- list(indptr = c(0, cumsum(tabulate(at[, 2], ncol(counts)))), indices = at[, 1], counts = counts[at])
    }
    list(x, double(if (is.null(choices)) counts else choices$counts, "counts"), whole(choices$indptr, "indptr"),
         whole(choices$indices, "indices"), double(choices$weights, "weights"), whole(sets, "sets"), double(offset, "offset"), matrix)
  }

  function(x, counts = NULL, classes, choices = NULL, sets = NULL, offset = NULL, ridge = 0, seed = 0, starts = 0, progress = NULL) {
    data <- describe(x, counts, choices, sets, offset)
    if (!is.null(progress) && !is.function(progress)) refuse("progress: expected a function")
    # What progress throws ends the fit, and goes on from here as it was thrown.
    thrown <- NULL
    watch <- if (!is.null(progress)) function(...) tryCatch(progress(...), error = function(e) {
      thrown <<- e
      FALSE
    })
    fit <- do.call(.Call, c(list(call_fit), data, list(classes, ridge, seed, starts, watch)))
    if (!is.null(thrown)) stop(thrown)
    dimnames(fit$atoms) <- list(NULL, colnames(x))
    fit$data <- data
    if (!(fit$outcome %in% c("converged", "cancelled"))) {
      warning("softmix: the fit ended as ", fit$outcome, if (any(fit$diverging)) ": classes run off, try a ridge")
    }
    structure(fit, class = "softmix")
  }
})

# The function of C is that of this session, whichever one made the fit.
predict.softmix <- function(object, newdata = NULL, counts = NULL, choices = NULL, sets = NULL, offset = NULL) {
  here <- environment(softmix)
  if (is.null(newdata)) {
    if (!is.null(c(counts, choices, sets, offset))) here$refuse("newdata: needed where counts, choices, sets or offset are given")
    data <- object$data
  } else {
    data <- here$describe(newdata, counts, choices, sets, offset)
    fitted <- colnames(object$atoms)
    if (ncol(data[[1]]) != ncol(object$atoms)) here$refuse("newdata: ", ncol(data[[1]]), " columns, fitted with ", ncol(object$atoms))
    if (!is.null(fitted) && !is.null(colnames(data[[1]])) && !identical(colnames(data[[1]]), fitted)) {
      here$refuse("newdata: columns ", toString(colnames(data[[1]])), ", fitted with ", toString(fitted))
    }
  }
  do.call(.Call, c(list(here$call_posterior), data, list(object$weights, as.double(t(object$atoms)))))
}

print.softmix <- function(x, ...) {
  cat("softmax mixture: log-likelihood", format(x$log_likelihood, digits = 12), "-", x$outcome, "\n")
  print(cbind(weight = x$weights, x$atoms))
  invisible(x)
}
