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
rows <- softmix(x[rev(seq_len(nrow(x))), ], rev(colSums(counts)), classes = 1)
stopifnot(abs(rows$log_likelihood + 1501802.268710) < 1e-2)

kept <- list()
softmix(x, counts, classes = 2, progress = function(finished, drawn, best) kept[[length(kept) + 1]] <<- finished)
stopifnot(kept[[1]] == 0, kept[[length(kept)]] > 0)

wrong <- x
wrong[4, 3] <- NaN
message <- tryCatch(softmix(wrong, counts, classes = 2), error = conditionMessage)
stopifnot(message == "softmix: features: not a finite number at row 3, column 2")
missing <- counts
missing[3, which(counts[3, ] == 0)[1]] <- NA
for (n in list(missing, colSums(missing))) stopifnot(grepl("counts: not a finite number", try(softmix(x, n, classes = 1), silent = TRUE)))
stopifnot(softmix(x, counts, classes = 2, progress = function(...) FALSE)$outcome == "cancelled")
mine <- structure(class = c("mine", "error", "condition"), list(message = "of my own", call = NULL))
thrown <- tryCatch(softmix(x, counts, classes = 2, progress = function(...) stop(mine)), error = identity)
stopifnot(inherits(thrown, "mine"), conditionMessage(thrown) == "of my own")
warned <- tryCatch(softmix(x, colSums(counts), classes = 4), warning = conditionMessage)
stopifnot(grepl("try a ridge", warned))
for (wrong in list(list(seed = -1), list(seed = NaN), list(seed = 0.5), list(starts = NA), list(starts = -2), list(starts = c(3, 4)),
                   list(classes = 0), list(classes = NA), list(classes = 2.7), list(classes = c(2, 3)), list(classes = "2"), list(classes = 1e12))) {
  arguments <- modifyList(list(x = x, counts = counts, classes = 2), wrong)
  stopifnot(inherits(try(do.call(softmix, arguments), silent = TRUE), "try-error"))
}
for (wrong in c(1.5, 0, -1, NA, Inf)) {
  choices <- list(indptr = c(0, 2, 3), indices = c(wrong, 2, 3))
  stopifnot(grepl("indices: not an index at position 1", try(softmix(x, choices = choices, classes = 1), silent = TRUE)))
}
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
