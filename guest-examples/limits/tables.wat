;; Grows its table, 100,000 entries at a time, until it is refused: then it traps.
(module
  (memory (export "memory") 1)
  (table 1 funcref)
  (func (export "_start")
    (loop $more
      (if (i32.eq (table.grow (ref.null func) (i32.const 100000)) (i32.const -1)) (then unreachable))
      (br $more))))
