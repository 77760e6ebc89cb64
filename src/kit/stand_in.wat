;; What language runtimes ask of WASI, answered inside the component: nothing of it reaches the gateway, and the same
;; calls always get the same answers.
(module
  (import "env" "memory" (memory 0))
  (global $clock (mut i64) (i64.const 0))
  (global $random (mut i64) (i64.const 0x9e3779b97f4a7c15))

  (func $two_zeros (param i32 i32) (result i32)
    (i32.store (local.get 0) (i32.const 0))
    (i32.store (local.get 1) (i32.const 0))
    (i32.const 0))
  (func $nothing_to_get (param i32 i32) (result i32) (i32.const 0))
  (export "args_sizes_get" (func $two_zeros))
  (export "environ_sizes_get" (func $two_zeros))
  (export "args_get" (func $nothing_to_get))
  (export "environ_get" (func $nothing_to_get))

  ;; It advances whenever it is read, for runtimes that wait until it has.
  (func (export "clock_time_get") (param i32 i64 i32) (result i32)
    (global.set $clock (i64.add (global.get $clock) (i64.const 1000)))
    (i64.store (local.get 2) (global.get $clock))
    (i32.const 0))
  (func (export "clock_res_get") (param i32 i32) (result i32)
    (i64.store (local.get 1) (i64.const 1000))
    (i32.const 0))

  ;; xorshift64.
  (func (export "random_get") (param $at i32) (param $length i32) (result i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (global.set $random (i64.xor (global.get $random) (i64.shl (global.get $random) (i64.const 13))))
        (global.set $random (i64.xor (global.get $random) (i64.shr_u (global.get $random) (i64.const 7))))
        (global.set $random (i64.xor (global.get $random) (i64.shl (global.get $random) (i64.const 17))))
        (i64.store8 (local.get $at) (global.get $random))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i32.const 0))

  ;; Takes everything and keeps nothing.
  (func (export "fd_write") (param $file i32) (param $parts i32) (param $count i32) (param $written i32) (result i32)
    (local $sum i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $parts))))
        (local.set $parts (i32.add (local.get $parts) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $written) (local.get $sum))
    (i32.const 0))

  ;; Whatever is waited for has come, a millisecond later.
  (func (export "poll_oneoff") (param $wanted i32) (param $events i32) (param $count i32) (param $came i32) (result i32)
    (i32.store (local.get $came) (local.get $count))
    (global.set $clock (i64.add (global.get $clock) (i64.const 1000000)))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (i64.store (local.get $events) (i64.load (local.get $wanted)))
        (i64.store offset=8 (local.get $events)
          (i64.shl (i64.load8_u offset=8 (local.get $wanted)) (i64.const 16)))
        (i64.store offset=16 (local.get $events) (i64.const 0))
        (i64.store offset=24 (local.get $events) (i64.const 0))
        (local.set $wanted (i32.add (local.get $wanted) (i32.const 48)))
        (local.set $events (i32.add (local.get $events) (i32.const 32)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.const 0))
  (func (export "sched_yield") (result i32) (i32.const 0))
  (func (export "proc_exit") (param i32) unreachable)

  ;; There are no files: bad descriptor.
  (func $none1 (param i32) (result i32) (i32.const 8))
  (func $none2 (param i32 i32) (result i32) (i32.const 8))
  (func $none3 (param i32 i32 i32) (result i32) (i32.const 8))
  (func $none4 (param i32 i32 i32 i32) (result i32) (i32.const 8))
  (func $seek (param i32 i64 i32 i32) (result i32) (i32.const 8))
  (func $none5 (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 8))
  (export "fd_close" (func $none1))
  (export "fd_sync" (func $none1))
  (export "fd_fdstat_get" (func $none2))
  (export "fd_fdstat_set_flags" (func $none2))
  (export "fd_filestat_get" (func $none2))
  (export "fd_prestat_get" (func $none2))
  (export "fd_prestat_dir_name" (func $none3))
  (export "fd_read" (func $none4))
  (export "fd_seek" (func $seek))
  (export "path_filestat_get" (func $none5))
  (export "path_open" (func $open)))
