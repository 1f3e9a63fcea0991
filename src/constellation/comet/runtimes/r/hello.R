handler <- function(event, context) {
  name <- if (is.null(event$name)) "world" else event$name
  list(message = paste0("Hello, ", name, "!"))
}
