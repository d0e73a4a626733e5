;; A core module without `_start`: not a program, to be refused before a task is made.
(module (memory (export "memory") 1) (func (export "run")))
