#define _GNU_SOURCE 1
#include "CLinux.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#define CALL(name) {#name, SYS_##name},

// The names that the lists of LinuxSystem/Sandbox and their tests use.
static const struct {
    const char *name;
    int number;
} system_calls[] = {
    CALL(accept) CALL(accept4) CALL(bind) CALL(bpf) CALL(brk) CALL(capget) CALL(capset) CALL(clock_getres) CALL(clock_gettime)
    CALL(clock_nanosleep) CALL(clone) CALL(clone3) CALL(close) CALL(connect) CALL(dup) CALL(dup3) CALL(epoll_create1) CALL(epoll_ctl)
    CALL(epoll_pwait) CALL(epoll_pwait2) CALL(eventfd2) CALL(execve) CALL(execveat) CALL(exit) CALL(exit_group) CALL(faccessat)
    CALL(faccessat2) CALL(fadvise64) CALL(fallocate) CALL(fchmod) CALL(fchmodat) CALL(fchown) CALL(fchownat) CALL(fcntl) CALL(fdatasync)
    CALL(flock) CALL(fstat) CALL(fstatfs) CALL(fsync) CALL(ftruncate) CALL(futex) CALL(get_mempolicy) CALL(getcpu) CALL(getcwd)
    CALL(getdents64) CALL(getegid) CALL(geteuid) CALL(getgid) CALL(getgroups) CALL(getpeername) CALL(getpid) CALL(getpgid) CALL(getppid) CALL(getrandom)
    CALL(getresgid) CALL(getresuid) CALL(getrusage) CALL(getsockname) CALL(getsockopt) CALL(gettid) CALL(gettimeofday) CALL(getuid)
    CALL(init_module) CALL(io_cancel) CALL(io_destroy) CALL(io_getevents) CALL(io_pgetevents) CALL(io_setup) CALL(io_submit)
    CALL(io_uring_enter) CALL(io_uring_register) CALL(io_uring_setup) CALL(ioctl) CALL(kexec_load) CALL(kill) CALL(listen) CALL(lseek)
    CALL(madvise) CALL(mbind) CALL(membarrier) CALL(memfd_create) CALL(mincore) CALL(mkdirat) CALL(mlock) CALL(mmap) CALL(mount)
    CALL(move_pages) CALL(mprotect) CALL(mremap) CALL(munlock) CALL(munmap) CALL(nanosleep) CALL(newfstatat) CALL(openat) CALL(openat2)
    CALL(pidfd_open) CALL(pipe2) CALL(ppoll) CALL(prctl) CALL(pread64) CALL(preadv) CALL(preadv2) CALL(prlimit64) CALL(process_vm_readv)
    CALL(process_vm_writev) CALL(ptrace) CALL(pwrite64) CALL(pwritev) CALL(pwritev2) CALL(read) CALL(readlinkat) CALL(readv) CALL(recvfrom)
    CALL(recvmsg) CALL(renameat) CALL(renameat2) CALL(restart_syscall) CALL(rseq) CALL(rt_sigaction) CALL(rt_sigprocmask) CALL(rt_sigreturn)
    CALL(sched_getaffinity) CALL(sched_setaffinity) CALL(sched_yield) CALL(seccomp) CALL(setgroups) CALL(setpriority) CALL(setresgid) CALL(setresuid) CALL(timerfd_create) CALL(timerfd_settime) CALL(sendmsg) CALL(sendto) CALL(set_mempolicy)
    CALL(set_robust_list) CALL(set_tid_address) CALL(setsockopt) CALL(setuid) CALL(shutdown) CALL(sigaltstack) CALL(signalfd4) CALL(socket)
    CALL(socketpair) CALL(statfs) CALL(statx) CALL(symlinkat) CALL(sync_file_range) CALL(sysinfo) CALL(tgkill) CALL(truncate) CALL(umask)
    CALL(uname) CALL(unlinkat) CALL(unshare) CALL(userfaultfd) CALL(write) CALL(writev)
#ifdef __x86_64__
    // Newer architectures have only their successors with another name.
    CALL(access) CALL(chmod) CALL(chown) CALL(dup2) CALL(epoll_wait) CALL(fork) CALL(getrlimit) CALL(lchown) CALL(lstat) CALL(mkdir)
    CALL(open) CALL(poll) CALL(readlink) CALL(rename) CALL(rmdir) CALL(stat) CALL(symlink) CALL(unlink) CALL(vfork)
#endif
};

int clinux_system_call_number(const char *name) {
    for (size_t index = 0; index < sizeof system_calls / sizeof system_calls[0]; index++)
        if (strcmp(system_calls[index].name, name) == 0) return system_calls[index].number;
    return -ENOSYS;
}
