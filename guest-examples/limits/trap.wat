;; Traps at once. The status must say so, and no other task may notice.
(module
  (memory (export "memory") 1)
  (func (export "_start") unreachable))
