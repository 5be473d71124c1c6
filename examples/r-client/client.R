# Logistic regression by gradient steps on a site's own table. FL_TASK says what is to be done.
source("safetensors.R")
told <- function(name) Sys.getenv(paste0("FL_", name))

write_numbers <- function(...) {
  numbers <- c(...)
  text <- paste0('{', paste0('"', names(numbers), '": ', format(numbers, digits = 17), collapse = ', '), '}')
  cat(text, file = paste0(told("METRICS"), ".new"))
  file.rename(paste0(told("METRICS"), ".new"), told("METRICS"))
}

if (told("TASK") == "initial") {
  write_arrays(list(beta = rep(0, 5)), told("UPDATE"))
  quit()
}

part <- sub("/.*", "", told("PART"))
table <- read.csv(file.path(told("DATA"), sprintf("site-%s.csv", part)))
x <- cbind(1, table$age / 10, table$parity, table$induced, table$spontaneous)
y <- table$case
risk <- function(beta) as.vector(1 / (1 + exp(-x %*% beta)))
loss <- function(beta) -mean(log(ifelse(y == 1, risk(beta), 1 - risk(beta))))

if (told("TASK") == "count") write_numbers(num_examples = nrow(x))

if (told("TASK") == "evaluate") {
  beta <- read_arrays(told("PARAMETERS"))$beta
  write_numbers(loss = loss(beta), accuracy = mean((risk(beta) > 0.5) == y), num_examples = nrow(x))
}

if (told("TASK") == "train") {
  beta <- read_arrays(told("PARAMETERS"))$beta
  rate <- as.numeric(told("LEARNING_RATE"))
  for (step in seq_len(as.integer(told("EPOCHS")))) {
    beta <- beta - rate * as.vector(crossprod(x, risk(beta) - y)) / nrow(x)
    write_numbers(num_steps = step, num_epochs = step, train_loss = loss(beta))
    write_arrays(list(beta = beta), told("UPDATE"))  # after each pass: when the time is over, the last counts
  }
}
