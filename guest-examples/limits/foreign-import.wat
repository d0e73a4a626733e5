;; A command that also wants an interface nobody serves: to be refused, and the interface named.
(component
  (import "acme:rocket/launch@1.0.0" (instance $launch (export "go" (func))))
  (core module $m (func (export "run") (result i32) i32.const 0))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (component $shim
    (import "run" (func $f (result (result))))
    (export "run" (func $f)))
  (instance $run_instance (instantiate $shim (with "run" (func $run))))
  (export "wasi:cli/run@0.2.0" (instance $run_instance)))
