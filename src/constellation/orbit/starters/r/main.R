# @name@: called with the request's JSON; what it returns becomes the answer's `output`.

handler <- function(event, context) {
  name <- if (is.null(event$name)) "world" else event$name
  cat("greeting", name, "\n") # shown by `orbit logs @name@`
  list(message = paste0("Hello, ", name, "!"))
}
