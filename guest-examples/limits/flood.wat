;; Writes lines of 64 bytes to stdout without end, 64 KiB at a time.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start") (local $n i32)
    (memory.fill (i32.const 65536) (i32.const 121) (i32.const 65536))
    (loop $lines
      (i32.store8 (i32.add (i32.const 65599) (local.get $n)) (i32.const 10))
      (br_if $lines (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 64))) (i32.const 65536))))
    (i32.store (i32.const 8) (i32.const 65536))
    (i32.store (i32.const 12) (i32.const 65536))
    (loop $more
      (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))
      (br $more))))
