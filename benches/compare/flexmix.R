# flexmix at a panel: EM from a start. Arguments: a CSV with columns id, sit, chosen, x0, x1, ...; a CSV with the starting posterior of every row
# of it, a column a class; the number of classes. Prints the seconds, the log-likelihood and the iterations.
suppressMessages(library(flexmix))
a <- commandArgs(TRUE)
d <- read.csv(a[1])
start <- as.matrix(read.csv(a[2]))
features <- grep("^x", names(d), value = TRUE)
f <- as.formula(paste("chosen ~", paste(features, collapse = " + "), "| id"))
seconds <- system.time(
  m <- flexmix(f, data = d, k = as.integer(a[3]), cluster = start, model = FLXMRcondlogit(strata = ~ sit),
               control = list(iter.max = 5000, tolerance = 1e-13, minprior = 0))
)[["user.self"]]
cat(sprintf("%.6f %.9f %d\n", seconds, as.numeric(logLik(m)), m@iter))
