;; A router that answers that it failed, and says why in its log, from the millisecond $FROM on until 1800000000000; else that no deployment
;; is fit.
(module
  (import "witgate:policy/log@0.1.0" "write" (func $write (param i32 i32 i32)))
  (memory (export "memory") 64)
  ;; What crosses on the way in is laid down from here on, and forgotten with the call.
  (global $next (mut i32) (i32.const 4096))
  (data (i32.const 1024) "KeyError: 'oops'")
  ;; The answer of a failure: no deployment, one propensity of zero.
  (data (i32.const 2060) "\40\08\00\00\01\00\00\00")

  (func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $bytes i32) (result i32)
    (local $at i32)
    (local.set $at
      (i32.and (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $next (i32.add (local.get $at) (local.get $bytes)))
    (local.get $at))

  ;; Zeros are the good answer to all that is asked.
  (func $nothing (result i32)
    (global.set $next (i32.const 4096))
    (i32.const 3072))
  (func (export "witgate:policy/lifecycle@0.1.0#configure") (param i32 i32 i64 i32 i32 i32 i32 i32) (result i32)
    (call $nothing))
  (func (export "witgate:policy/lifecycle@0.1.0#save") (result i32) (call $nothing))
  (func (export "witgate:policy/routing@0.1.0#start") (param i32 i32) (result i32) (call $nothing))
  (func (export "witgate:policy/routing@0.1.0#route")
    (param $now i64) (param i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (if (i32.and
          (i64.ge_u (local.get $now) (i64.const $FROM))
          (i64.lt_u (local.get $now) (i64.const 1800000000000)))
      (then
        (call $write (i32.const 2) (i32.const 1024) (i32.const 16))
        (drop (call $nothing))
        (return (i32.const 2048))))
    (call $nothing))
  (func (export "witgate:policy/routing@0.1.0#observe")
    (param i64 i32 i32 i32 i32 i32 i32 f64 f32 i32 f32 i32 f32)))
