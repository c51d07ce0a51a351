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
#     predict(fit)                                # posterior class probabilities
#
# Panels: softmix(x, choices = list(indptr =, indices =, counts =, weights =), sets = , classes = ): unit u chose rows
# indices[(indptr[u] + 1):indptr[u + 1]] of x (rows counted from 1); choice set s holds rows sets[s] + 1 to sets[s + 1].

softmix <- local({
  # The innermost source() is this file's, whatever function called it.
  files <- unlist(lapply(sys.frames(), function(frame) frame$ofile))
  folder <- Sys.getenv("SOFTMIX_R", unset = if (is.null(files)) "." else dirname(files[length(files)]))
  dll <- dyn.load(file.path(folder, paste0("softmix_r", .Platform$dynlib.ext)))
  call_fit <- getNativeSymbolInfo("softmix_fit", dll)
  call_posterior <- getNativeSymbolInfo("softmix_posterior", dll)

  # The arguments that describe data to C. A matrix of counts becomes compressed rows.
  describe <- function(x, counts, choices, sets, offset) {
    x <- as.matrix(x)
    storage.mode(x) <- "double"
    if (is.null(choices) && is.matrix(counts)) {
      stopifnot(ncol(counts) == nrow(x))
      counts <- t(counts)
      at <- which(is.na(counts) | counts != 0, arr.ind = TRUE) # C refuses what is NA
      choices <- list(indptr = c(0, cumsum(tabulate(at[, 2], ncol(counts)))), indices = at[, 1], counts = counts[at])
    }
    double <- function(v) if (is.null(v)) NULL else as.double(v)
    list(x, double(if (is.null(choices)) counts else choices$counts), choices$indptr, choices$indices, double(choices$weights), sets,
         double(offset))
  }

  function(x, counts = NULL, classes, choices = NULL, sets = NULL, offset = NULL, ridge = 0, seed = 0, starts = 0, progress = NULL) {
    data <- describe(x, counts, choices, sets, offset)
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
predict.softmix <- function(object, ...) {
  call_posterior <- get("call_posterior", environment(softmix))
  do.call(.Call, c(list(call_posterior), object$data, list(object$weights, as.double(t(object$atoms)))))
}

print.softmix <- function(x, ...) {
  cat("softmax mixture: log-likelihood", format(x$log_likelihood, digits = 12), "-", x$outcome, "\n")
  print(cbind(weight = x$weights, x$atoms))
  invisible(x)
}
