;; CRC-32 of the event's text, bit by bit.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 3)
  (data (i32.const 64) "{\"crc32\":\"00000000\"}")
  (data (i32.const 128) "the event has no text\n")
  (data (i32.const 160) "0123456789abcdef")
  (global $event i32 (i32.const 4096))
  (global $room i32 (i32.const 131072))

  (func $write (param $fd i32) (param $at i32) (param $length i32)
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

  ;; The place of the next quote from `at` on; without one, the call ends here.
  (func $quote (param $at i32) (param $end i32) (result i32)
    (loop $next
      (if (i32.ge_u (local.get $at) (local.get $end))
        (then
          (call $write (i32.const 2) (i32.const 128) (i32.const 22))
          (call $proc_exit (i32.const 1))))
      (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 34))
        (then
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $next))))
    (local.get $at))

  (func $crc32 (param $at i32) (param $end i32) (result i32)
    (local $sum i32) (local $bits i32)
    (local.set $sum (i32.const -1))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $sum (i32.xor (local.get $sum) (i32.load8_u (local.get $at))))
        (local.set $bits (i32.const 8))
        (loop $bit
          (local.set $sum
            (i32.xor
              (i32.shr_u (local.get $sum) (i32.const 1))
              (i32.and (i32.const 0xedb88320) (i32.sub (i32.const 0) (i32.and (local.get $sum) (i32.const 1))))))
          (br_if $bit (local.tee $bits (i32.sub (local.get $bits) (i32.const 1)))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i32.xor (local.get $sum) (i32.const -1)))

  (func (export "_start")
    (local $end i32) (local $from i32) (local $sum i32) (local $digit i32)
    (local.set $end (i32.add (global.get $event) (call $read)))
    (local.set $from (i32.add (call $quote (global.get $event) (local.get $end)) (i32.const 1)))
    (local.set $sum (call $crc32 (local.get $from) (call $quote (local.get $from) (local.get $end))))
    (local.set $digit (i32.const 81)) ;; the last of the eight
    (loop $next
      (i32.store8 (local.get $digit)
        (i32.load8_u (i32.add (i32.const 160) (i32.and (local.get $sum) (i32.const 15)))))
      (local.set $sum (i32.shr_u (local.get $sum) (i32.const 4)))
      (local.set $digit (i32.sub (local.get $digit) (i32.const 1)))
      (br_if $next (i32.ge_u (local.get $digit) (i32.const 74))))
    (call $write (i32.const 1) (i32.const 64) (i32.const 20))))
