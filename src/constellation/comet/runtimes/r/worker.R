# The R worker: reads the frames of proto/agent.proto, calls the handler, answers each exec frame with exactly one result
# or error frame. Calls come one after the other.
#
# R reads no descriptor but standard input and writes bytes to files and pipes alone, so a library of ours reads and writes the
# channel. Where it is not there (the recipe says where), the channel is standard input, and what is sent goes through cat.
# What a handler prints is the process's own output, which the host gives to the call in hand.

local({
  HELLO <- 1L; INIT <- 2L; READY <- 3L; EXEC <- 4L; RESULT <- 5L; ERROR <- 6L; CHUNK <- 7L; CANCEL <- 9L; PING <- 10L
  PONG <- 11L; STOP <- 12L
  PROTOCOL <- 1L
  HEADER_BYTES <- 12L
  EXEC_HEAD_BYTES <- 48L
  MAX_BODY_BYTES <- 6 * 2^20 # of an event and of an output; the platform's limit for a synchronous call
  MAX_MESSAGE_CHARS <- 8192L
  MAX_STACK_CHARS <- 32768L
  MAX_STACK_FRAMES <- 64L
  CHUNK_BYTES <- 2^20
  MAX_DEPTH <- 100L

  CHANNEL <- 3L
  LIBRARY <- "/run/runtime/ct_r.so"

  init <- NULL
  handler <- NULL

  # --- frames

  big_endian <- function(value) as.raw(value %/% 256^(3:0) %% 256)
  number_of <- function(bytes) sum(as.integer(bytes) * 256^((length(bytes) - 1):0))

  leave <- function(status) quit(save = "no", status = status, runLast = FALSE)

  # `call_id` stays as it came: R's integers have a sign.
  send <- function(kind, call_id, body = raw(0)) {
    write_bytes(c(big_endian(length(body)), as.raw(c(kind, 0L, 0L, 0L)), call_id, body))
  }

  read_bytes <- function(count) {
    if (count == 0) return(raw(0))
    data <- read_most(count)
    if (length(data) < count) leave(0L) # the host is gone
    data
  }

  if (file.exists(LIBRARY)) {
    dyn.load(LIBRARY)
    read <- getNativeSymbolInfo("ct_r_read", "ct_r")$address
    write <- getNativeSymbolInfo("ct_r_write", "ct_r")$address
    read_most <- function(count) {
      done <- .C(read, CHANNEL, data = raw(count), as.integer(count), got = 0L)
      if (done$got < count) done$data[seq_len(done$got)] else done$data
    }
    write_bytes <- function(data) if (.C(write, CHANNEL, data, length(data), sent = 0L)$sent < length(data)) leave(1L)
  } else {
    from_host <- file("stdin", "rb")
    to_host <- pipe("exec cat >&3", "wb")
    read_most <- function(count) readBin(from_host, "raw", count)
    write_bytes <- function(data) {
      writeBin(data, to_host)
      flush(to_host)
    }
  }

  receive <- function() {
    header <- read_bytes(HEADER_BYTES)
    size <- number_of(header[1:4])
    if (size > MAX_BODY_BYTES + EXEC_HEAD_BYTES) leave(1L)
    list(kind = as.integer(header[5]), call_id = header[9:12], body = read_bytes(size))
  }

  # --- protobuf's wire format, as much of it as Hello, Init and Ready need

  varint <- function(value) {
    out <- raw(0)
    while (value > 127) {
      out <- c(out, as.raw(value %% 128 + 128))
      value <- value %/% 128
    }
    c(out, as.raw(value))
  }

  field <- function(number, value) {
    if (is.numeric(value)) return(c(varint(number * 8), varint(value)))
    bytes <- if (is.raw(value)) value else charToRaw(value)
    c(varint(number * 8 + 2), varint(length(bytes)), bytes)
  }

  fields <- function(data, each) {
    at <- 1
    number <- function() {
      value <- 0
      scale <- 1
      repeat {
        byte <- as.integer(data[at])
        at <<- at + 1
        value <- value + byte %% 128 * scale
        if (byte < 128) return(value)
        scale <- scale * 128
      }
    }
    while (at <= length(data)) {
      tag <- number()
      if (tag %% 8 == 0) {
        value <- number() # read here, whether it is looked at or not: R's arguments wait until they are used
        each(tag %/% 8, value)
      } else if (tag %% 8 == 2) {
        size <- number()
        each(tag %/% 8, data[seq_len(size) + at - 1])
        at <- at + size
      } else {
        stop("unexpected protobuf wire type ", tag %% 8)
      }
    }
  }

  text_of <- function(bytes) {
    text <- rawToChar(bytes)
    Encoding(text) <- "UTF-8"
    text
  }

  parse_init <- function(data) {
    out <- list(
      handler = "", function_name = "", function_version = "", tenant = "", namespace = "", memory_limit_mb = 0,
      concurrency = 1, code_dir = "/code", log_limit_bytes = 65536, env = list()
    )
    names <- c(
      "handler", "function_name", "function_version", "tenant", "namespace", "memory_limit_mb", "concurrency", "env",
      "code_dir", "log_limit_bytes"
    )
    fields(data, function(number, value) {
      if (number == 8) {
        entry <- c("", "")
        fields(value, function(key, text) entry[key] <<- text_of(text))
        out$env[[entry[1]]] <<- entry[2]
      } else if (number <= length(names)) {
        out[[names[number]]] <<- if (is.raw(value)) text_of(value) else value
      }
    })
    out
  }

  # --- what handlers get and give

  failure <- function(type, message) structure(class = c(type, "error", "condition"), list(message = message, call = NULL))

  # jsonlite alone would write the source of a function, and nothing of an environment: silent damage.
  misfit <- function(value, place, depth) {
    if (depth >= MAX_DEPTH) return(paste(substr(place, 1, 200), "is nested too deeply"))
    if (is.function(value) || is.environment(value) || is.language(value)) return(paste(place, "is a", class(value)[1]))
    if (is.list(value)) {
      names <- names(value)
      for (at in seq_along(value)) {
        step <- if (is.null(names) || names[at] == "") paste0("[", at, "]") else paste0("$", names[at])
        found <- misfit(value[[at]], paste0(place, step), depth + 1L)
        if (!is.null(found)) return(found)
      }
    }
    NULL
  }

  encode_output <- function(value) {
    wrong <- misfit(value, "output", 0L)
    if (!is.null(wrong)) stop(failure("TypeError", paste("the output is not JSON:", wrong)))
    text <- jsonlite::toJSON(value, auto_unbox = TRUE, null = "null", na = "null", digits = NA, POSIXt = "ISO8601")
    body <- charToRaw(enc2utf8(as.character(text)))
    if (length(body) > MAX_BODY_BYTES) {
      stop(failure("OutputTooLarge", sprintf("the output has %d bytes; at most %d are carried", length(body), MAX_BODY_BYTES)))
    }
    body
  }

  encode_error <- function(error, calls) {
    message <- substr(enc2utf8(conditionMessage(error)), 1, MAX_MESSAGE_CHARS)
    type <- class(error)[1]
    frames <- vapply(tail(calls, MAX_STACK_FRAMES), function(call) {
      source <- attr(call, "srcref")
      shown <- deparse(call, nlines = 1L)[1]
      if (is.null(source)) return(paste0("    in ", shown))
      paste0("    in ", shown, ", at ", attr(source, "srcfile")$filename, ":", source[1])
    }, "")
    stack <- substr(paste(c(paste0(type, ": ", message), rev(frames)), collapse = "\n"), 1, MAX_STACK_CHARS)
    charToRaw(enc2utf8(as.character(jsonlite::toJSON(list(type = type, message = message, stack = stack), auto_unbox = TRUE))))
  }

  # Run `work`, and return its value, or the error frame's body of class "failed".
  attempt <- function(work) {
    calls <- list()
    tryCatch(
      withCallingHandlers(work(), error = function(error) {
        stack <- sys.calls()
        is_ours <- vapply(stack, function(call) {
          source <- attr(call, "srcref")
          !is.null(source) && startsWith(attr(source, "srcfile")$filename, init$code_dir)
        }, TRUE)
        calls <<- stack[is_ours]
      }),
      error = function(error) structure(encode_error(error, calls), class = "failed")
    )
  }

  logger <- lapply(c(debug = "DEBUG", info = "INFO", warn = "WARN", error = "ERROR"), function(level) {
    function(...) cat(level, " ", ..., "\n", sep = "", file = stderr())
  })

  context_of <- function(head) {
    digits <- paste(format(as.hexmode(as.integer(head[1:40])), width = 2), collapse = "")
    part <- function(first, last) substr(digits, first, last)
    trace <- list(trace_id = part(33, 64), span_id = part(65, 80))
    trace$traceparent <- paste("00", trace$trace_id, trace$span_id, "01", sep = "-")
    deadline <- as.numeric(Sys.time()) + number_of(head[41:44]) / 1000
    list(
      request_id = paste(part(1, 8), part(9, 12), part(13, 16), part(17, 20), part(21, 32), sep = "-"),
      function_name = init$function_name,
      function_version = init$function_version,
      tenant = init$tenant,
      namespace = init$namespace,
      memory_limit_mb = init$memory_limit_mb,
      deadline = deadline,
      trace = trace,
      logger = logger,
      remaining_ms = function() max(0, floor((deadline - as.numeric(Sys.time())) * 1000))
    )
  }

  # --- calls

  find_handler <- function() {
    parts <- regmatches(init$handler, regexec("^(.+)[.]([^.]+)$", init$handler))[[1]]
    if (length(parts) == 0) stop("the handler '", init$handler, "' must look like \"file.function\"", call. = FALSE)
    path <- paste0(init$code_dir, "/", gsub(".", "/", parts[2], fixed = TRUE), ".R")
    if (!file.exists(path)) stop("there is no ", path, call. = FALSE)
    libraries <- c(file.path(init$code_dir, c("vendor", "deps")), "/opt/R") # the last is of layers
    .libPaths(c(libraries[dir.exists(libraries)], .libPaths()))
    setwd(init$code_dir)
    options(keep.source = TRUE)
    source(path, local = globalenv(), keep.source = TRUE, encoding = "UTF-8")
    if (!exists(parts[3], envir = globalenv(), mode = "function", inherits = FALSE)) {
      stop(basename(path), " defines no function ", parts[3], call. = FALSE)
    }
    get(parts[3], envir = globalenv(), mode = "function")
  }

  load_function <- function(body) {
    init <<- parse_init(body)
    if (length(init$env) > 0) do.call(Sys.setenv, init$env)
    found <- attempt(find_handler)
    if (inherits(found, "failed")) {
      send(READY, raw(4), field(2, unclass(found)))
      leave(1L)
    }
    handler <<- found
    send(READY, raw(4), field(1, 1))
  }

  send_piece <- function(call_id, piece) {
    body <- if (is.raw(piece)) piece else if (is.character(piece) && length(piece) == 1) charToRaw(enc2utf8(piece)) else encode_output(piece)
    for (at in seq(1, by = CHUNK_BYTES, length.out = ceiling(length(body) / CHUNK_BYTES))) {
      send(CHUNK, call_id, body[at:min(length(body), at + CHUNK_BYTES - 1)])
    }
  }

  outcome <- function(call_id, body) {
    event <- NULL
    if (length(body) > EXEC_HEAD_BYTES) {
      event <- jsonlite::parse_json(text_of(body[-seq_len(EXEC_HEAD_BYTES)]), simplifyVector = FALSE)
    }
    is_streamed <- as.integer(body[48]) %% 2 == 1
    value <- handler(event, context_of(body))
    if (is.function(value)) { # an iterator: called until it has nothing more
      pieces <- list()
      while (!is.null(piece <- value())) {
        if (is_streamed) send_piece(call_id, piece) else pieces[[length(pieces) + 1]] <- piece
      }
      return(if (is_streamed) raw(0) else encode_output(pieces))
    }
    if (!is_streamed) return(encode_output(value))
    send_piece(call_id, value)
    raw(0)
  }

  call <- function(call_id, body) {
    answer <- attempt(function() outcome(call_id, body))
    while (sink.number() > 0) sink()
    flush(stdout())
    send(if (inherits(answer, "failed")) ERROR else RESULT, call_id, unclass(answer))
  }

  # In a template, whose code is not there yet: load and call a handler, so that the functions of R and jsonlite that this
  # takes are read and compiled when one is needed. Twice, for R compiles what is called again.
  rehearse <- function() {
    path <- "/tmp/rehearsal.R"
    writeLines("handler <- function(event, context) list(seen = event$name)", path)
    for (turn in 1:2) {
      place <- new.env()
      source(path, local = place, keep.source = TRUE, encoding = "UTF-8")
      fields(field(1, "x"), function(number, value) text_of(value))
      event <- jsonlite::parse_json('{"name": "x"}', simplifyVector = FALSE)
      attempt(function() encode_output(place$handler(event, context_of(raw(EXEC_HEAD_BYTES)))))
    }
    unlink(path)
  }

  loadNamespace("jsonlite")
  version <- paste(R.version$major, R.version$minor, sep = ".")
  send(HELLO, raw(4), c(field(1, PROTOCOL), field(2, "r"), field(3, version)))
  if (dir.exists("/code") && length(list.files("/code", all.files = TRUE, no.. = TRUE)) == 0) rehearse()
  repeat {
    frame <- receive()
    if (frame$kind == EXEC && !is.null(handler)) call(frame$call_id, frame$body)
    else if (frame$kind == INIT && is.null(init)) load_function(frame$body)
    else if (frame$kind == PING) send(PONG, frame$call_id, frame$body)
    else if (frame$kind == STOP) leave(0L)
    else if (frame$kind != CANCEL) leave(1L)
  }
})
