//! seccomp: the system calls of the shim and of the compiler.
//!
//! The shim has two filters. The first is a list of what wasmtime, tokio, cap-std and the C library need; anything else answers ENOSYS,
//! which is what those libraries expect of a call that the kernel lacks (`clone3` falls back to `clone`, whose flags can be looked at).
//! The second names what no guest's host has any business with, and the arguments of listed calls that reach beyond the process; it
//! answers EPERM. A list of what is allowed is chosen over a list of what is not because kernels grow new calls every year. The kernel
//! remembers calls whose answer does not depend on arguments, so the ordinary ones cost a look into a bitmap.
//! The compiler needs less and knows less about what its threads call: it has the second list and its own, and Landlock without rules.
//!
//! Owns: both lists. seccompiler knows x86_64, aarch64 and riscv64; elsewhere nothing is filtered, and that is told.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
pub use filters::{deny_compiler, restrict_shim};

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
pub fn restrict_shim(_: wsw_api::shim::Network) -> Result<bool, super::Error> {
    Ok(false)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
pub fn deny_compiler() -> Result<(), super::Error> {
    Ok(())
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
mod filters {
    use super::super::Error;
    use libc::c_long;
    use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule};
    use std::collections::BTreeMap;
    use wsw_api::shim::Network;

    /// Memory, threads, time, signals of this process.
    #[rustfmt::skip]
    const PROCESS: &[c_long] = &[
        libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect, libc::SYS_madvise, libc::SYS_brk, libc::SYS_mincore, libc::SYS_msync,
        libc::SYS_membarrier, libc::SYS_memfd_create,
        libc::SYS_clone, libc::SYS_futex, libc::SYS_set_robust_list, libc::SYS_get_robust_list, libc::SYS_rseq, libc::SYS_set_tid_address,
        libc::SYS_gettid, libc::SYS_getpid, libc::SYS_getppid, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_sched_setscheduler,
        libc::SYS_getcpu, libc::SYS_prctl, libc::SYS_prlimit64, libc::SYS_getrusage,
        libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getrandom,
        libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_clock_nanosleep, libc::SYS_nanosleep, libc::SYS_gettimeofday,
        libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack, libc::SYS_restart_syscall,
        libc::SYS_kill, libc::SYS_tgkill,
        // For the second filter only, which takes it away.
        libc::SYS_seccomp,
    ];

    /// Files below the folders that Landlock leaves, descriptors, waiting.
    #[rustfmt::skip]
    const FILES: &[c_long] = &[
        libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64, libc::SYS_preadv, libc::SYS_pwritev,
        libc::SYS_preadv2, libc::SYS_pwritev2, libc::SYS_lseek, libc::SYS_close, libc::SYS_close_range, libc::SYS_dup, libc::SYS_dup3, libc::SYS_fcntl,
        libc::SYS_ioctl, libc::SYS_pipe2, libc::SYS_eventfd2, libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2,
        libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_timerfd_create, libc::SYS_timerfd_settime, libc::SYS_timerfd_gettime,
        libc::SYS_openat, libc::SYS_openat2, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx,
        libc::SYS_statfs, libc::SYS_fstatfs, libc::SYS_getdents64, libc::SYS_getcwd, libc::SYS_umask, libc::SYS_flock,
        libc::SYS_mkdirat, libc::SYS_unlinkat, libc::SYS_linkat, libc::SYS_symlinkat, libc::SYS_readlinkat, libc::SYS_renameat2,
        libc::SYS_utimensat, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_fsync, libc::SYS_fdatasync,
        libc::SYS_sync_file_range, libc::SYS_fadvise64, libc::SYS_copy_file_range, libc::SYS_sendfile, libc::SYS_splice,
        #[cfg(not(target_arch = "riscv64"))]
        libc::SYS_renameat,
    ];

    /// Sockets: those that it has, those that are handed to it, and in `inet` its own.
    #[rustfmt::skip]
    const SOCKETS: &[c_long] = &[
        libc::SYS_accept, libc::SYS_accept4, libc::SYS_shutdown, libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_getsockopt, libc::SYS_setsockopt,
        libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_sendmmsg, libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_recvmmsg,
        libc::SYS_socket, libc::SYS_socketpair, libc::SYS_bind, libc::SYS_connect, libc::SYS_listen,
    ];

    /// What only some processors have.
    #[cfg(target_arch = "x86_64")]
    #[rustfmt::skip]
    const OWN: &[c_long] = &[
        libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_poll, libc::SYS_select, libc::SYS_epoll_wait, libc::SYS_pipe,
        libc::SYS_dup2, libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_unlink, libc::SYS_rename, libc::SYS_link, libc::SYS_symlink, libc::SYS_readlink,
        libc::SYS_chmod, libc::SYS_time, libc::SYS_arch_prctl,
    ];
    #[cfg(target_arch = "aarch64")]
    const OWN: &[c_long] = &[];
    /// `riscv_flush_icache` and `riscv_hwprobe`, by their numbers: libc has no names for them.
    #[cfg(target_arch = "riscv64")]
    const OWN: &[c_long] = &[259, 258];

    /// What neither shim nor compiler ever needs.
    #[rustfmt::skip]
    const DENIED: &[c_long] = &[
        libc::SYS_execve, libc::SYS_execveat, libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_kcmp,
        libc::SYS_pidfd_open, libc::SYS_pidfd_getfd, libc::SYS_pidfd_send_signal, libc::SYS_tkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_mount, libc::SYS_umount2, libc::SYS_move_mount, libc::SYS_open_tree, libc::SYS_fsopen, libc::SYS_fsmount, libc::SYS_fsconfig, libc::SYS_fspick,
        libc::SYS_mount_setattr, libc::SYS_chroot, libc::SYS_pivot_root, libc::SYS_unshare, libc::SYS_setns,
        libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register,
        libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key, libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at,
        libc::SYS_fanotify_init, libc::SYS_mknodat, libc::SYS_fchownat, libc::SYS_setuid, libc::SYS_setgid, libc::SYS_setresuid, libc::SYS_setresgid,
        libc::SYS_setgroups, libc::SYS_capset, libc::SYS_personality, libc::SYS_acct, libc::SYS_quotactl, libc::SYS_swapon, libc::SYS_syslog,
        libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_kexec_load, libc::SYS_reboot, libc::SYS_socketpair,
    ];

    /// Beyond that the compiler, which has its files open and makes none.
    #[rustfmt::skip]
    const COMPILER_DENIED: &[c_long] = &[
        libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept4, libc::SYS_sendmsg, libc::SYS_openat, libc::SYS_openat2,
        libc::SYS_unlinkat, libc::SYS_renameat2, libc::SYS_linkat, libc::SYS_symlinkat, libc::SYS_mkdirat, libc::SYS_fchmodat, libc::SYS_truncate,
        libc::SYS_kill, libc::SYS_seccomp,
        #[cfg(target_arch = "x86_64")] libc::SYS_open,
        #[cfg(target_arch = "x86_64")] libc::SYS_creat,
        #[cfg(target_arch = "x86_64")] libc::SYS_unlink,
        #[cfg(target_arch = "x86_64")] libc::SYS_rename,
        #[cfg(target_arch = "x86_64")] libc::SYS_accept,
    ];

    /// `PAGEMAP_SCAN`: wasmtime asks which pages of a pooled memory were touched.
    const PAGEMAP_SCAN: u64 = 0xC060_6610;
    /// Commands of `fcntl` that libc has no names for.
    const F_SETSIG: i32 = 10;
    const F_SETOWN_EX: i32 = 15;
    const CLONE_FLAGS: [i32; 7] =
        [libc::CLONE_NEWNS, libc::CLONE_NEWUTS, libc::CLONE_NEWIPC, libc::CLONE_NEWUSER, libc::CLONE_NEWPID, libc::CLONE_NEWNET, libc::CLONE_NEWCGROUP];

    type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

    fn wrong(error: impl std::fmt::Display) -> Error {
        Error::Calls(error.to_string())
    }

    /// A rule that matches when all conditions on arguments do.
    fn when(conditions: impl IntoIterator<Item = (u8, SeccompCmpOp, u64)>) -> Result<SeccompRule, Error> {
        let conditions = conditions.into_iter().map(|(argument, op, value)| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value));
        SeccompRule::new(conditions.collect::<Result<_, _>>().map_err(wrong)?).map_err(wrong)
    }

    /// A rule that matches when the argument is none of these.
    fn unless(argument: u8, values: &[u64]) -> Result<SeccompRule, Error> {
        when(values.iter().map(|value| (argument, SeccompCmpOp::Ne, *value)))
    }

    fn number(value: i32) -> u64 {
        u64::from(value.cast_unsigned())
    }

    fn always(calls: &[&[c_long]]) -> Rules {
        calls.iter().flat_map(|calls| calls.iter()).map(|call| (*call, Vec::new())).collect()
    }

    fn apply(rules: Rules, matched: SeccompAction, otherwise: SeccompAction) -> Result<(), Error> {
        let arch = std::env::consts::ARCH.try_into().map_err(wrong)?;
        let program: BpfProgram = SeccompFilter::new(rules, otherwise, matched, arch).map_err(wrong)?.try_into().map_err(wrong)?;
        seccompiler::apply_filter_all_threads(&program).map_err(wrong)
    }

    fn errno(code: i32) -> SeccompAction {
        SeccompAction::Errno(code.cast_unsigned())
    }

    /// Both filters, on all threads.
    pub fn restrict_shim(network: Network) -> Result<bool, Error> {
        apply(always(&[PROCESS, FILES, SOCKETS, OWN]), SeccompAction::Allow, errno(libc::ENOSYS))?;
        let mut rules = always(&[DENIED, &[libc::SYS_seccomp]]);
        rules.extend(arguments()?);
        rules.extend(sockets(network)?);
        apply(rules, errno(libc::EPERM), SeccompAction::Allow)?;
        Ok(true)
    }

    /// Listed calls with arguments that reach beyond the process.
    fn arguments() -> Result<Rules, Error> {
        let own = u64::from(std::process::id());
        let mut clone = vec![when([(0, SeccompCmpOp::MaskedEq(number(libc::CLONE_THREAD)), 0)])?];
        for flag in CLONE_FLAGS {
            clone.push(when([(0, SeccompCmpOp::MaskedEq(number(flag)), number(flag))])?);
        }
        // The owner of a descriptor is sent signals by the kernel.
        let owners = [libc::F_SETOWN, F_SETSIG, F_SETOWN_EX].map(|command| when([(1, SeccompCmpOp::Eq, number(command))]));
        let ioctls = [libc::FIONBIO, libc::FIONREAD, libc::FIOCLEX, libc::TCGETS, libc::TIOCGWINSZ].map(u64::from);
        Ok(BTreeMap::from([
            (libc::SYS_clone, clone),
            (libc::SYS_kill, vec![unless(0, &[own])?]),
            (libc::SYS_tgkill, vec![unless(0, &[own])?]),
            (libc::SYS_sched_setscheduler, vec![unless(0, &[0])?]),
            (libc::SYS_prlimit64, vec![unless(0, &[0, own])?]),
            (libc::SYS_prctl, vec![unless(0, &[number(libc::PR_SET_NAME), number(libc::PR_GET_NAME), number(libc::PR_SET_VMA)])?]),
            (libc::SYS_fcntl, owners.into_iter().collect::<Result<_, _>>()?),
            (libc::SYS_ioctl, vec![unless(1, &[&ioctls[..], &[PAGEMAP_SCAN]].concat())?]),
        ]))
    }

    /// TCP and UDP over IP, or none at all.
    fn sockets(network: Network) -> Result<Rules, Error> {
        if network == Network::None {
            return Ok(always(&[&[libc::SYS_socket, libc::SYS_bind, libc::SYS_connect, libc::SYS_listen]]));
        }
        let kind = SeccompCmpOp::MaskedEq;
        let mut socket = vec![unless(0, &[number(libc::AF_INET), number(libc::AF_INET6)])?];
        // Kinds are small numbers below the flags: all that are neither a stream (1) nor datagrams (2).
        for other in (0..16).filter(|other| ![libc::SOCK_STREAM, libc::SOCK_DGRAM].contains(other)) {
            socket.push(when([(1, kind(0xf), number(other))])?);
        }
        Ok(BTreeMap::from([(libc::SYS_socket, socket)]))
    }

    /// What a compiler never needs, beside what nobody does.
    pub fn deny_compiler() -> Result<(), Error> {
        apply(always(&[DENIED, COMPILER_DENIED]), errno(libc::EPERM), SeccompAction::Allow)
    }
}
