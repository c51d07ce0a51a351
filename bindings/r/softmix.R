# Softmax mixtures for R, over the C library.
#
# Once, in this folder, with the library installed where pkg-config finds it:
#
#     PKG_CPPFLAGS=$(pkg-config --cflags softmix) PKG_LIBS=$(pkg-config --libs softmix) R CMD SHLIB -o softmix_r.so softmix.c
#
# Then `source("softmix.R")`, and
#
#     fit <- softmix(x, counts, classes = 2)      # x: alternatives x features; counts: how often each was chosen,
#     fit$weights; fit$atoms; fit$log_likelihood  # or a matrix with a row for each unit
#     summary(fit); vcov(fit); AIC(fit); BIC(fit) # standard errors, and what lm has: coef, confint, logLik, nobs
#     predict(fit)                                # posterior class probabilities, a row for each unit (for counts: each alternative)
#     predict(fit, newdata, counts)               # those of other data: newdata for x, and counts, choices, sets and offset as above
#     predict(fit, type = "choice")               # choice probabilities of the alternatives; "choice_by_class": in each class
#     predict(fit, type = "class")                # the most probable class of each unit
#     softmix_scan(x, counts, classes = 1:4)      # how many classes? A fit for each number, and criteria
#
# Panels: softmix(x, choices = list(indptr =, indices =, counts =, weights =), sets = , classes = ): unit u chose rows
# indices[(indptr[u] + 1):indptr[u + 1]] of x (rows counted from 1), each as often as counts says (default: once), and has a weight
# (default: 1); choice set s holds rows sets[s] + 1 to sets[s + 1].
#
# offset    added to the logits, a number for each row of x; -Inf: not available
# ridge     penalty, in observations; 0: maximum likelihood
# seed      of the random starts: equal seeds give equal fits
# starts    how many; 0: the library's own rule
# init      the only start to try, a list or an earlier fit with weights and atoms
# max_evaluations, gradient_tolerance  when to stop
# single_phase  whether early steps over one large choice set read x in single precision; the result is that of x as it is
# threads   of one call, in libraries built with them
# progress  called as progress(finished, drawn, best) during the fit: starts finished and drawn, best penalised log-likelihood; FALSE ends
#           the fit. In scans as progress(finished, drawn, best, classes)
#
# A fit has weights (decreasing), atoms (classes x features, in the units of x), log_likelihood (without multinomial coefficients),
# penalized_log_likelihood, outcome ("converged", "cancelled", or with a warning "iteration_limit", "stalled", "diverging"), diverging (of
# each class), unidentified (of each feature), starts (how many were tried), at_best (how many of them reached the best), rank, evaluations,
# parameters and observations (of AIC and BIC), ridge, and data (what predict(fit) and vcov(fit) read).
#
# vcov(fit, variance = "information") is of the weights, then the atoms, class after class; "robust": the sandwich, weights of units being
# frequencies; "sampling": the same, weights being of sampling. NaN where it is not defined, as of classes that run off.
#
# Of counts or weights that are shares of a whole, AIC, BIC and standard errors mean nothing.
#
# A scan has table (a data frame with a row for each number of classes), fits (a list of fits, without unidentified and evaluations),
# best_aic, best_bic and best_icl (numbers of classes), and of counts over one choice set suggested_classes, eigenvalues and noise: what
# second moments say.
#
# Not here, but in C and Python: features in single precision, fits over many machines.

softmix <- local({
  # The innermost source() is this file's, whatever function called it.
  files <- unlist(lapply(sys.frames(), function(frame) frame$ofile))
  folder <- Sys.getenv("SOFTMIX_R", unset = if (is.null(files)) "." else dirname(files[length(files)]))
  dll <- dyn.load(file.path(folder, paste0("softmix_r", .Platform$dynlib.ext)))
  native <- function(name, ...) .Call(getNativeSymbolInfo(paste0("softmix_", name), dll), ...)

  refuse <- function(...) stop("softmix: ", ..., call. = FALSE)
  vanished <- 1e-10 # the weight up to which a class is empty

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

  # The arguments that describe data to C. A matrix of counts becomes compressed rows. `needed`: whether there must be choices.
  describe <- function(x, counts, choices, sets, offset, needed = TRUE) {
    x <- numbers(x, "x")
    x <- as.matrix(x)
    storage.mode(x) <- "double"
    parts <- c("indptr", "indices", "counts", "weights")
    if (is.null(choices)) {
      if (is.null(counts) && needed) refuse("counts: missing, and no choices either")
      if (!is.null(counts)) counts <- numbers(counts, "counts")
    } else {
      if (!is.null(counts)) refuse("counts: not beside choices, which have their own")
      if (!is.list(choices)) refuse("choices: expected a list of ", toString(parts))
      for (name in setdiff(names(choices), parts)) refuse("choices: no part is called ", name, ", but ", toString(parts))
      for (name in parts[1:2]) if (is.null(choices[[name]])) refuse("choices: without ", name)
    }
    matrix <- is.matrix(counts)
    if (matrix) {
      if (ncol(counts) != nrow(x)) refuse("counts: ", ncol(counts), " columns for ", nrow(x), " rows of x")
      counts <- base::t(counts)
      at <- which(is.na(counts) | counts != 0, arr.ind = TRUE) # C refuses what is NA
      choices <- list(indptr = c(0, cumsum(tabulate(at[, 2], ncol(counts)))), indices = at[, 1], counts = counts[at])
    }
    list(x, double(if (is.null(choices)) counts else choices$counts, "counts"), whole(choices$indptr, "indptr"),
         whole(choices$indices, "indices"), double(choices$weights, "weights"), whole(sets, "sets"), double(offset, "offset"), matrix)
  }

  # Observations: of counts every choice is one, of units the sum of their weights.
  observations <- function(data) {
    if (is.null(data[[3]])) sum(data[[2]]) else if (is.null(data[[5]])) length(data[[3]]) - 1 else sum(data[[5]])
  }

  # What progress throws ends the fit, and goes on from here as it was thrown.
  watched <- function(progress, arguments, run) {
    if (is.null(progress)) return(run(NULL))
    if (!is.function(progress)) refuse("progress: expected a function")
    thrown <- NULL
    found <- run(function(...) tryCatch(do.call(progress, list(...)[seq_len(arguments)]), error = function(e) {
      thrown <<- e
      FALSE
    }))
    if (!is.null(thrown)) stop(thrown)
    found
  }

  # The order of C, class after class, and from it.
  by_rows <- function(atoms) as.double(base::t(atoms))
  by_class <- function(atoms, classes) matrix(atoms, classes, byrow = TRUE)

  # Gives a fit what it needs of its data.
  complete <- function(fit, data, features, ridge) {
    dimnames(fit$atoms) <- list(NULL, features)
    structure(c(fit, list(observations = observations(data), ridge = ridge, data = data)), class = "softmix")
  }

  fit <- function(x, counts = NULL, classes, choices = NULL, sets = NULL, offset = NULL, ridge = 0, seed = 0, starts = 0, init = NULL,
                  max_evaluations = 1e6, gradient_tolerance = 1e-8, single_phase = FALSE, threads = 1, progress = NULL) {
    data <- describe(x, counts, choices, sets, offset)
    if (!is.null(init)) {
      if (!is.list(init) || is.null(init$weights) || is.null(init$atoms)) refuse("init: expected a list with weights and atoms")
      atoms <- as.matrix(numbers(init$atoms, "init$atoms"))
      if (ncol(atoms) != ncol(data[[1]])) refuse("init$atoms: ", ncol(atoms), " columns for ", ncol(data[[1]]), " features")
      init <- list(double(init$weights, "init$weights"), by_rows(atoms))
    }
    fit <- watched(progress, 3, function(progress) native("fit", data, classes, init, list(
      ridge, seed, starts, max_evaluations, gradient_tolerance, single_phase, threads, progress)))
    fit$atoms <- by_class(fit$atoms, classes)
    fit$parameters <- classes - 1 + classes * fit$rank
    if (!(fit$outcome %in% c("converged", "cancelled"))) {
      warning("softmix: the fit ended as ", fit$outcome, if (any(fit$diverging)) ": classes run off, try a ridge")
    }
    empty <- which(fit$weights <= vanished)
    if (length(empty)) warning("softmix: classes ", toString(empty), " are empty: fewer say the same")
    if (any(fit$unidentified)) {
      at <- which(fit$unidentified)
      features <- colnames(x)[at]
      if (is.null(features)) features <- at
      features[features == ""] <- at[features == ""]
      warning("softmix: not identified, being constant inside every choice set or collinear: ", toString(features))
    }
    complete(fit, data, colnames(x), ridge)
  }

  scan <- function(x, counts = NULL, classes, choices = NULL, sets = NULL, offset = NULL, ridge = 0, seed = 0, starts = 0,
                   max_evaluations = 1e6, gradient_tolerance = 1e-8, single_phase = FALSE, threads = 1, progress = NULL) {
    data <- describe(x, counts, choices, sets, offset)
    if (!is.numeric(classes) || length(classes) == 0 || !isTRUE(all(diff(classes) == 1))) {
      refuse("classes: expected whole numbers in a row, as 1:4")
    }
    found <- watched(progress, 4, function(progress) native("scan", data, classes[1], classes[length(classes)], list(
      ridge, seed, starts, max_evaluations, gradient_tolerance, single_phase, threads, progress)))
    columns <- c("log_likelihood", "penalized_log_likelihood", "parameters", "aic", "bic", "icl", "outcome", "starts", "at_best")
    n <- length(found$outcome) # fewer where progress ended it
    table <- data.frame(classes = classes[seq_len(n)], lapply(found[columns], `[`, seq_len(n)))
    ends <- cumsum(table$classes)
    features <- ncol(data[[1]])
    fits <- lapply(seq_len(n), function(j) {
      k <- table$classes[j]
      of <- ends[j] - k + seq_len(k)
      of_atoms <- (ends[j] - k) * features + seq_len(k * features)
      kept <- c("log_likelihood", "penalized_log_likelihood", "parameters", "outcome", "starts", "at_best")
      fit <- list(weights = found$weights[of], atoms = by_class(found$atoms[of_atoms], k), diverging = found$diverging[of])
      complete(c(fit, as.list(table[j, kept]), rank = found$rank), data, colnames(x), ridge)
    })
    if (found$rank < features) warning("softmix: ", found$rank, " of ", features, " features are identified")
    ended <- !(table$outcome %in% c("converged", "cancelled"))
    if (any(ended)) {
      warning("softmix: fits of ", toString(table$classes[ended]), " classes ended as ", toString(table$outcome[ended]),
              if (any(found$diverging)) ": classes run off, try a ridge")
    }
    empty <- vapply(fits, function(fit) any(fit$weights <= vanished), TRUE)
    if (any(empty)) warning("softmix: fits of ", toString(table$classes[empty]), " classes have empty classes")
    rest <- found[c("best_aic", "best_bic", "best_icl", "suggested_classes", "noise")]
    eigenvalues <- found$eigenvalues[!is.nan(found$eigenvalues)]
    structure(c(list(table = table, fits = fits), rest, list(eigenvalues = eigenvalues)), class = "softmix_scan")
  }

  fit
})

softmix_scan <- environment(softmix)$scan

# The functions of C are those of this session, whichever one made the fit.
predict.softmix <- function(object, newdata = NULL, counts = NULL, choices = NULL, sets = NULL, offset = NULL,
                            type = c("posterior", "class", "choice", "choice_by_class"), threads = 1) {
  here <- environment(softmix)
  type <- match.arg(type)
  choice <- type %in% c("choice", "choice_by_class")
  if (is.null(newdata)) {
    if (!is.null(c(counts, choices, sets, offset))) here$refuse("newdata: needed where counts, choices, sets or offset are given")
    data <- object$data
  } else {
    data <- here$describe(newdata, counts, choices, sets, offset, needed = !choice)
    fitted <- colnames(object$atoms)
    if (ncol(data[[1]]) != ncol(object$atoms)) here$refuse("newdata: ", ncol(data[[1]]), " columns, fitted with ", ncol(object$atoms))
    if (!is.null(fitted) && !is.null(colnames(data[[1]])) && !identical(colnames(data[[1]]), fitted)) {
      here$refuse("newdata: columns ", toString(colnames(data[[1]])), ", fitted with ", toString(fitted))
    }
  }
  k <- length(object$weights)
  found <- here$native(if (choice) "choice" else "posterior", data, object$weights, here$by_rows(object$atoms), threads)
  switch(type, posterior = matrix(found, ncol = k, byrow = TRUE), class = max.col(matrix(found, ncol = k, byrow = TRUE), "first"),
         choice = found$mixed, choice_by_class = matrix(found$by_class, ncol = k, byrow = TRUE))
}

coef.softmix <- function(object, ...) {
  features <- if (is.null(colnames(object$atoms))) paste0("x", seq_len(ncol(object$atoms))) else colnames(object$atoms)
  classes <- seq_along(object$weights)
  of_atoms <- paste0("class", rep(classes, each = length(features)), ":", features)
  structure(c(object$weights, environment(softmix)$by_rows(object$atoms)), names = c(paste0("weight", classes), of_atoms))
}

vcov.softmix <- function(object, variance = c("information", "robust", "sampling"), threads = 1, ...) {
  here <- environment(softmix)
  number <- match(match.arg(variance), c("information", "robust", "sampling")) - 1
  found <- here$native("covariance", object$data, object$weights, here$by_rows(object$atoms), object$ridge, number, threads)
  undefined <- length(object$weights) + which(rep(object$diverging, each = ncol(object$atoms)))
  found[undefined, ] <- found[, undefined] <- NaN
  names <- names(coef(object))
  structure(found, dimnames = list(names, names))
}

nobs.softmix <- function(object, ...) object$observations

logLik.softmix <- function(object, ...) {
  structure(object$log_likelihood, df = object$parameters, nobs = object$observations, class = "logLik")
}

summary.softmix <- function(object, variance = "information", ...) {
  estimate <- coef(object)
  error <- sqrt(diag(vcov(object, variance)))
  z <- ifelse(seq_along(estimate) > length(object$weights), estimate / error, NA) # a weight is not tested against 0
  table <- cbind(Estimate = estimate, `Std. Error` = error, `z value` = z, `Pr(>|z|)` = 2 * pnorm(-abs(z)))
  structure(list(coefficients = table, log_likelihood = object$log_likelihood, outcome = object$outcome, variance = variance,
                 aic = AIC(object), bic = BIC(object)), class = "summary.softmix")
}

print.summary.softmix <- function(x, ...) {
  cat("softmax mixture: log-likelihood ", format(x$log_likelihood, digits = 12), " - ", x$outcome, ", AIC ", format(x$aic, digits = 12),
      ", BIC ", format(x$bic, digits = 12), ", standard errors: ", x$variance, "\n", sep = "")
  printCoefmat(x$coefficients, na.print = "", ...)
  invisible(x)
}

print.softmix <- function(x, ...) {
  cat("softmax mixture: log-likelihood", format(x$log_likelihood, digits = 12), "-", x$outcome, "\n")
  print(cbind(weight = x$weights, x$atoms))
  invisible(x)
}

print.softmix_scan <- function(x, ...) {
  print(x$table, row.names = FALSE)
  invisible(x)
}
