;; Never yields. Epochs must share the processor with the others and end it when the task is stopped.
(module
  (memory (export "memory") 1)
  (func (export "_start") (loop $forever (br $forever))))
