// What a process gives up: capabilities, system calls (seccomp), files and devices (landlock).
#pragma once
#include <stddef.h>
#include <stdint.h>

/// Forbids for good that anything this process starts gains privileges; every filter below needs that.
int clinux_forbid_new_privileges(void);
/// 1, 0 or -errno.
int clinux_forbids_new_privileges(void);

/// The calling thread's permitted capabilities, bit n for capability n.
int clinux_get_capabilities(uint64_t *permitted);
/// Reduces the calling thread's permitted and effective capabilities to `kept`, of those it has; its inheritable and ambient ones to none.
int clinux_keep_capabilities(uint64_t kept);
/// Takes a capability out of the bounding set; needs CAP_SETPCAP.
int clinux_drop_bounding(int capability);

/// One instruction of classic BPF (linux/filter.h: struct sock_filter).
struct clinux_instruction {
    uint16_t code;
    uint8_t if_true;
    uint8_t if_false;
    uint32_t operand;
};
/// Filters the system calls of the calling thread, or of all threads of the process, from now on. Refused calls are written to the kernel's
/// log if `log` is not 0.
int clinux_filter_system_calls(const struct clinux_instruction *program, size_t count, int all_threads, int log);
/// 0: no filter, 2: a filter, or -errno.
int clinux_filter_mode(void);

/// Settles how many arenas malloc may make, at its own default of eight for each CPU: otherwise it opens files of /sys to count CPUs whenever
/// it comes to need a ninth, in whatever thread that is.
void clinux_settle_malloc(void);

/// The number of a system call on this architecture, or -ENOSYS.
int clinux_system_call_number(const char *name);
/// AUDIT_ARCH_*: what a filter sees as the architecture of our own calls.
uint32_t clinux_audit_architecture(void);
/// Makes a system call by number, with six arguments; the answer, or -errno.
int64_t clinux_system_call(long number, const long *arguments);
/// Requests of ioctl that block devices and terminals are asked.
uint32_t clinux_ioctl_request(size_t index);
size_t clinux_ioctl_request_count(void);

/// The requests that are made to a userfaultfd of our own.
uint32_t clinux_page_request(size_t index);
size_t clinux_page_request_count(void);

/// The version of landlock's interface, or -errno.
int clinux_landlock_version(void);
/// A rule set that handles these rights, whose sizes are cut to what `version` knows.
int clinux_landlock_create(int version, uint64_t files, uint64_t network, uint64_t scopes);
/// Allows `rights` below (or for) what the O_PATH descriptor `path` is.
int clinux_landlock_allow(int rules, int path, uint64_t rights);
int clinux_landlock_restrict(int rules);
/// Opens a path for a rule (O_PATH).
int clinux_open_path(const char *path);
