;; @name@: a command of WASI preview 1. The event comes on standard input, the answer goes to standard output; what is
;; written to standard error is shown by `orbit logs @name@`. Compilers of C, Rust, Go or Zig make such modules, too.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 64) "{\"message\":\"Hello, ")
  (data (i32.const 96) "!\"}")
  (data (i32.const 112) "world")
  (data (i32.const 128) "\"name\"")
  (data (i32.const 144) "greeting\n")
  (global $event i32 (i32.const 4096))
  (global $room i32 (i32.const 65536))

  (func $write (param $at i32) (param $length i32)
    (call $write_to (i32.const 1) (local.get $at) (local.get $length)))

  (func $write_to (param $fd i32) (param $at i32) (param $length i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $length))
    (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))

  ;; How many bytes of the event are in memory.
  (func $read (result i32)
    (local $length i32)
    (loop $more
      (i32.store (i32.const 0) (i32.add (global.get $event) (local.get $length)))
      (i32.store (i32.const 4) (i32.sub (global.get $room) (local.get $length)))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (local.set $length (i32.add (local.get $length) (i32.load (i32.const 8))))
      (br_if $more (i32.load (i32.const 8))))
    (local.get $length))

  ;; Where the next quote is, from `at` on; `end` if there is none.
  (func $quote (param $at i32) (param $end i32) (result i32)
    (block $found
      (loop $next
        (br_if $found (i32.ge_u (local.get $at) (local.get $end)))
        (br_if $found (i32.eq (i32.load8_u (local.get $at)) (i32.const 34)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (local.get $at))

  ;; Where the text of "name" begins, behind its quote; 0 if the event has none.
  (func $name (param $at i32) (param $end i32) (result i32)
    (block $none
      (loop $next
        (br_if $none (i32.gt_u (i32.add (local.get $at) (i32.const 6)) (local.get $end)))
        (if (i32.and
              (i32.eq (i32.load (local.get $at)) (i32.load (i32.const 128)))
              (i32.eq (i32.load16_u offset=4 (local.get $at)) (i32.load16_u offset=4 (i32.const 128))))
          (then
            (local.set $at (call $quote (i32.add (local.get $at) (i32.const 6)) (local.get $end)))
            (br_if $none (i32.eq (local.get $at) (local.get $end)))
            (return (i32.add (local.get $at) (i32.const 1)))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i32.const 0))

  (func (export "_start")
    (local $end i32) (local $at i32)
    (local.set $end (i32.add (global.get $event) (call $read)))
    (local.set $at (call $name (global.get $event) (local.get $end)))
    (call $write_to (i32.const 2) (i32.const 144) (i32.const 9))
    (call $write (i32.const 64) (i32.const 19))
    (if (local.get $at)
      (then (call $write (local.get $at) (i32.sub (call $quote (local.get $at) (local.get $end)) (local.get $at))))
      (else (call $write (i32.const 112) (i32.const 5))))
    (call $write (i32.const 96) (i32.const 3))))
