# The flights in R: `Rscript test.R`, after softmix_r.so is built (see softmix.R).
source("softmix.R")
items <- read.csv("../../data/flights_items.csv")
long <- read.csv("../../data/flights_counts.csv")
x <- as.matrix(items[, c("lat", "lon", "alt", "tz", "distance")])
counts <- unclass(xtabs(n ~ factor(paste(carrier, origin)) + factor(dest, levels = items$dest), long))
counts <- matrix(counts, nrow(counts))

calls <- 0
fit <- softmix(x, colSums(counts), classes = 2, progress = function(finished, drawn, best) calls <<- calls + 1)
stopifnot(abs(fit$log_likelihood + 1479194.617) < 1e-2, fit$outcome == "converged", calls > 3)
stopifnot(abs(rowSums(predict(fit)) - 1) < 1e-12)
print(fit)

units <- softmix(x, counts, classes = 2)
stopifnot(abs(units$log_likelihood + 1437052.191213) < 1e-2, dim(predict(units)) == c(35, 2))
stopifnot(identical(predict(units, type = "class"), apply(predict(units), 1, which.max)), nobs(units) == 35)
rows <- softmix(x[rev(seq_len(nrow(x))), ], rev(colSums(counts)), classes = 1)
stopifnot(abs(rows$log_likelihood + 1501802.268710) < 1e-2)

kept <- list()
softmix(x, counts, classes = 2, progress = function(finished, drawn, best) kept[[length(kept) + 1]] <<- finished)
stopifnot(kept[[1]] == 0, kept[[length(kept)]] > 0)

wrong <- x
wrong[4, 3] <- NaN
message <- tryCatch(softmix(wrong, counts, classes = 2), error = conditionMessage)
stopifnot(message == "softmix: x: not a finite number at row 4, column 3")
missing <- counts
missing[3, which(counts[3, ] == 0)[1]] <- NA
for (n in list(missing, colSums(missing))) stopifnot(grepl("counts: not a finite number", try(softmix(x, n, classes = 1), silent = TRUE)))
stopifnot(softmix(x, counts, classes = 2, progress = function(...) FALSE)$outcome == "cancelled")
mine <- structure(class = c("mine", "error", "condition"), list(message = "of my own", call = NULL))
thrown <- tryCatch(softmix(x, counts, classes = 2, progress = function(...) stop(mine)), error = identity)
stopifnot(inherits(thrown, "mine"), conditionMessage(thrown) == "of my own")
twice <- tryCatch(softmix(cbind(x, km = 1.6 * x[, "distance"]), colSums(counts), classes = 1), warning = conditionMessage)
stopifnot(grepl("not identified.*(distance|km)", twice))
scanned <- tryCatch(softmix_scan(cbind(x, 1.6 * x[, "distance"]), colSums(counts), classes = 1), warning = conditionMessage)
stopifnot(grepl("5 of 6 features are identified", scanned))
constant <- tryCatch(softmix(cbind(x, 1), colSums(counts), classes = 1), warning = conditionMessage)
stopifnot(grepl("collinear: 6$", constant))
warned <- tryCatch(softmix(x, colSums(counts), classes = 4), warning = conditionMessage)
stopifnot(grepl("try a ridge", warned))
runs_off <- suppressWarnings(softmix(x, colSums(counts), classes = 4))
for (variance in c("information", "robust")) {
  of_atoms <- 4 + which(rep(runs_off$diverging, each = ncol(x)))
  stopifnot(length(of_atoms) > 0, is.nan(vcov(runs_off, variance)[of_atoms, ]), is.nan(vcov(runs_off, variance)[, of_atoms]))
}
empty <- tryCatch(softmix(cbind(c(0, 1, 2, 3), c(1, 0, 0, 1)), rep(100, 4), classes = 3, ridge = 10), warning = conditionMessage)
stopifnot(grepl("empty", empty))
for (wrong in list(list(seed = -1), list(seed = NaN), list(seed = 0.5), list(starts = NA), list(starts = -2), list(starts = c(3, 4)),
                   list(classes = 0), list(classes = NA), list(classes = 2.7), list(classes = c(2, 3)), list(classes = "2"), list(classes = 1e12))) {
  arguments <- modifyList(list(x = x, counts = counts, classes = 2), wrong)
  stopifnot(inherits(try(do.call(softmix, arguments), silent = TRUE), "try-error"))
}
for (wrong in c(1.5, 0, -1, NA, Inf)) {
  choices <- list(indptr = c(0, 2, 3), indices = c(wrong, 2, 3))
  stopifnot(grepl("indices: not an index at position 1", try(softmix(x, choices = choices, classes = 1), silent = TRUE)))
}

# What is wrong is said of R's arguments, and counted from 1.
refused <- function(message, ..., call = softmix) {
  arguments <- modifyList(list(x = x, counts = counts, classes = 1), list(...), keep.null = FALSE)
  if (identical(call, predict)) arguments <- list(...)
  found <- tryCatch(do.call(call, arguments), error = conditionMessage)
  if (!identical(found, paste0("softmix: ", message))) stop("expected: ", message, "; got: ", toString(found))
}
put <- function(array, ..., value) {
  array[...] <- value
  array
}
n <- colSums(counts)
three <- rbind(n, n, n)
units <- list(indptr = c(0, 2, 3), indices = 1:3)
without <- function(...) refused(..., counts = NULL)
refused("counts: not a finite number at row 3, column 7", counts = put(three, 3, 7, value = NA))
refused("counts: negative at row 3, column 7", counts = put(three, 3, 7, value = -1))
refused("counts: empty at position 3", counts = put(three, 3, , value = 0))
refused("counts: alternative not available at row 3, column 7", counts = put(three, 1:2, 7, value = 0),
        offset = put(0 * n, 7, value = -Inf))
refused("counts: negative at position 5", counts = put(n, 5, value = -1))
refused("counts: 100 columns for 101 rows of x", counts = counts[, -1])
refused("counts: expected 101 numbers, got 100", counts = n[-1])
refused("counts: expected numbers, got integer factor", counts = factor(n))
refused("x: expected numbers, got character matrix", x = data.frame(letters))
refused("x: expected numbers, got double array", x = array(0, c(101, 5, 1)))
refused("x: squares beyond the range of numbers at column 4", x = put(x, 8, 4, value = 1e200))
refused("x: empty", x = x[, 0])
refused("offset: expected numbers, got character", offset = "0")
refused("offset: not a finite number at row 2", offset = put(n, 2, value = NaN))
refused("sets: wrong size at position 3 (needed 101, given 100)", sets = c(0, 50, 100))
refused("sets: empty at position 2", sets = c(0, 50, 50, 101))
refused("sets: expected numbers, got character", sets = "a")
refused("counts: not beside choices, which have their own", choices = units)
without("counts: missing, and no choices either")
without("choices: no part is called count, but indptr, indices, counts, weights", choices = c(units, list(count = 1:3)))
without("choices: without indices", choices = units["indptr"])
without("choices: without indptr", choices = unname(units))
without("choices: expected a list of indptr, indices, counts, weights", choices = 1:3)
without("indices: out of range or out of order at position 2", choices = list(indptr = c(0, 2), indices = c(101, 102)))
without("indices: expected numbers, got integer factor", choices = list(indptr = c(0, 2), indices = factor(1:2)))
without("indptr: empty at position 2", choices = list(indptr = c(0, 2, 2, 3), indices = 1:3))
without("weights: negative at position 2", choices = c(units, list(weights = c(1, -1))))
for (ridge in list(NA, c(1, 2), "1", -1, Inf)) refused("ridge: expected a number, at least 0", ridge = ridge)
refused("seed: expected a whole number from 0 to 9000000000000000", seed = 1:2)
refused("progress: expected a function", progress = 5)

# predict is of the data of the fit, or of others.
stopifnot(all.equal(predict(fit, x, 2 * n), predict(fit)), dim(predict(fit, as.data.frame(x), counts)) == c(35, 2))
chosen <- list(indptr = 0:1, indices = 1)
stopifnot(all.equal(predict(fit, x, choices = chosen, sets = c(0, 50, 101)), predict(fit, x[1:50, ], choices = chosen)))
refused("counts: missing, and no choices either", fit, x, call = predict)
refused("newdata: needed where counts, choices, sets or offset are given", fit, counts = n, call = predict)
refused("newdata: 4 columns, fitted with 5", fit, x[, -1], n, call = predict)
refused("newdata: columns distance, tz, alt, lon, lat, fitted with lat, lon, alt, tz, distance", fit, x[, 5:1], n, call = predict)
stopifnot(grepl("unused argument", try(predict(fit, kind = "class"), silent = TRUE)))
shares <- predict(fit, x, type = "choice")
each <- predict(fit, type = "choice_by_class")
stopifnot(abs(sum(shares) - 1) < 1e-12, dim(each) == c(101, 2), all.equal(as.vector(each %*% fit$weights), shares))
own <- x %*% fit$atoms[2, ]
own <- exp(own - max(own))
stopifnot(all.equal(each[, 2], as.vector(own / sum(own))), abs(sum(n * log(shares)) / fit$log_likelihood - 1) < 1e-12)

# What R has for models: AIC, BIC, confint, summary.
stopifnot(fit$parameters == 11, nobs(fit) == sum(n), AIC(fit) == 22 - 2 * fit$log_likelihood, names(coef(fit))[4] == "class1:lon")
stopifnot(all.equal(BIC(fit), 11 * log(sum(n)) - 2 * fit$log_likelihood))
stopifnot(is.nan(vcov(fit)[1, 1])) # a flat valley: nothing is known of its classes
ridge <- softmix(x, n, classes = 2, ridge = 1)
for (variance in c("information", "robust")) {
  v <- vcov(ridge, variance)
  stopifnot(dim(v) == 12, isSymmetric(v), diag(v) > 0, abs(sum(v[1:2, 1:2])) < 1e-12, rownames(v) == names(coef(ridge)))
}
one <- softmix(x, n, classes = 1)
centred <- x - rep(colSums(n * x) / sum(n), each = nrow(x)) # at the maximum the mean of the model is that of the choices
information <- sum(n) * crossprod(centred * sqrt(predict(one, type = "choice")))
stopifnot(all.equal(unname(vcov(one)[-1, -1]), unname(solve(information)), tolerance = 1e-5))
stopifnot(all.equal(as.vector(confint(ridge)[1, ]), ridge$weights[1] + qnorm(c(0.025, 0.975)) * sqrt(vcov(ridge)[1, 1])))
print(summary(ridge))

# A panel: choices, their counts, weights of units, an offset and a ridge, all together and as what they are.
set.seed(1)
panel <- matrix(rnorm(60), 20)
of <- list(indptr = c(0, 2, 4, 6, 8, 10), indices = c(1, 6, 2, 7, 3, 8, 4, 9, 5, 10) * 2, counts = rep(c(2, 1), 5), weights = c(1, 2, 1, 3, 1))
away <- rnorm(20)
ends <- c(0, 10, 20)
ridged <- softmix(panel, choices = of, sets = ends, classes = 2, offset = away, ridge = 1, starts = 12, seed = 3)
of_class <- sapply(1:2, function(k) {
  logits <- as.vector(panel %*% ridged$atoms[k, ]) + away
  log_shares <- logits - log(rep(c(sum(exp(logits[1:10])), sum(exp(logits[11:20]))), each = 10))
  colSums(matrix(of$counts * log_shares[of$indices], 2))
})
joint <- exp(of_class) * rep(ridged$weights, each = 5)
stopifnot(all.equal(sum(of$weights * log(rowSums(joint))), ridged$log_likelihood), nobs(ridged) == 8, ridged$starts == 12)
stopifnot(all.equal(joint / rowSums(joint), predict(ridged)), ridged$penalized_log_likelihood < ridged$log_likelihood)
unridged <- softmix(panel, choices = of, sets = ends, classes = 1, offset = away, ridge = 1e6)
stopifnot(max(abs(unridged$atoms)) < 1e-3)

# Options: starts of one's own, budgets, and what is wrong with them.
again <- softmix(x, n, classes = 2, init = fit, threads = 2)
stopifnot(again$starts == 1, all.equal(again$log_likelihood, fit$log_likelihood, tolerance = 1e-10), again$evaluations < 20)
short <- suppressWarnings(softmix(x, n, classes = 2, init = list(weights = c(0.5, 0.5), atoms = rbind(0, 0 * x[1, ] + 1e-3)), max_evaluations = 3))
stopifnot(short$outcome == "iteration_limit", short$evaluations <= 4)
loose <- softmix(x, n, classes = 2, gradient_tolerance = 1e-2)
single <- softmix(x, n, classes = 2, single_phase = TRUE)
stopifnot(loose$evaluations < fit$evaluations, abs(single$log_likelihood - fit$log_likelihood) < 1e-2)
refused("init: expected a list with weights and atoms", init = 1:3)
refused("init$atoms: 4 columns for 5 features", init = list(weights = 1, atoms = fit$atoms[, -1]))
refused("init$weights: expected 1 numbers, got 2", init = fit)
refused("init$weights: mixing weights do not sum to one", init = list(weights = 0.5, atoms = fit$atoms[1, , drop = FALSE]))
refused("single_phase: expected TRUE or FALSE", single_phase = NA)
refused("threads: expected a whole number from 1 to 2147483647", threads = 0)

# A scan is the fits one by one.
told <- NULL
found <- softmix_scan(x, n, classes = 1:3, ridge = 1, progress = function(finished, drawn, best, classes) told <<- c(told, classes))
stopifnot(found$table$classes == 1:3, sort(unique(told)) == 1:3, found$best_bic == 3, length(found$eigenvalues) == 5)
second <- found$fits[[2]]
alone <- softmix(x, n, classes = 2, ridge = 1)
stopifnot(all.equal(second$atoms, alone$atoms, tolerance = 1e-4), all.equal(AIC(second), found$table$aic[2]), all.equal(BIC(second), found$table$bic[2]))
stopifnot(all.equal(vcov(second), vcov(alone), tolerance = 1e-3), dim(predict(found$fits[[3]])) == c(101, 3))
print(found)
stopifnot(nrow(softmix_scan(x, counts, classes = 1:2, progress = function(...) FALSE)$table) == 1)
stopifnot(is.nan(softmix_scan(x, counts, classes = 2)$noise))
for (wrong in list(c(1, 3), c(1, NA), "1")) refused("classes: expected whole numbers in a row, as 1:4", classes = wrong, call = softmix_scan)
refused("classes: more classes than units with a positive weight (needed 35, given 36)", classes = 35:36, call = softmix_scan)
refused("classes: more classes than units with a positive weight (needed 101, given 1000000000)", counts = n, classes = 1e9)
refused("counts: empty", counts = 0 * n)
broken <- fit
broken$atoms[2, 1] <- NaN
refused("atoms: not a finite number at column 1, class 2", broken, call = predict)

file <- tempfile(fileext = ".rds")
saveRDS(fit, file)
again <- system2(file.path(R.home("bin"), "Rscript"), c("-e", shQuote(sprintf("source('softmix.R'); cat(sum(predict(readRDS('%s'))))", file))), stdout = TRUE)
stopifnot(as.numeric(again) == nrow(x))

here <- normalizePath(".")
local({
  old <- setwd(tempdir())
  on.exit(setwd(old))
  elsewhere <- function() source(file.path(here, "softmix.R"), local = TRUE)
  elsewhere()
})
cat("r: ok\n")
