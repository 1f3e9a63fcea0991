# Fits a straight line through measurements, says how well it fits and what it promises for other places.
handler <- function(event, context) {
  x <- unlist(event$x)
  y <- unlist(event$y)
  stopifnot(length(x) == length(y), length(x) >= 3)
  fit <- lm(y ~ x)
  wanted <- unlist(event$at)
  list(
    slope = round(unname(coef(fit)[2]), 6),
    intercept = round(unname(coef(fit)[1]), 6),
    r_squared = round(summary(fit)$r.squared, 6),
    expected = I(round(unname(predict(fit, data.frame(x = wanted))), 6)) # I(): a list, even of one
  )
}
