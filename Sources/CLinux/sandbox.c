#define _GNU_SOURCE 1
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <malloc.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

int clinux_forbid_new_privileges(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0; }

int clinux_forbids_new_privileges(void) {
    int value = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    return value < 0 ? -errno : value;
}

// glibc has no wrapper for these two calls (libcap has).
static int get_capabilities(struct __user_cap_data_struct *data) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    return syscall(SYS_capget, &header, data) < 0 ? -errno : 0;
}

int clinux_get_capabilities(uint64_t *permitted) {
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    int status = get_capabilities(data);
    if (status < 0) return status;
    *permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
    return 0;
}

int clinux_keep_capabilities(uint64_t kept) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    int status = get_capabilities(data);
    if (status < 0) return status;
    for (int word = 0; word < _LINUX_CAPABILITY_U32S_3; word++) {
        data[word].permitted &= (uint32_t)(kept >> (32 * word));
        data[word].effective = data[word].permitted;
        data[word].inheritable = 0;
    }
    // Kernels before 4.3 have no ambient set, which is as good as an empty one.
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL) return -errno;
    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int clinux_drop_bounding(int capability) { return prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 ? -errno : 0; }

_Static_assert(sizeof(struct clinux_instruction) == sizeof(struct sock_filter), "sock_filter");
_Static_assert(offsetof(struct clinux_instruction, operand) == offsetof(struct sock_filter, k), "sock_filter");

int clinux_filter_system_calls(const struct clinux_instruction *program, size_t count, int all_threads, int log) {
    if (count > BPF_MAXINSNS) return -E2BIG;
    struct sock_fprog filter = {.len = (unsigned short)count, .filter = (struct sock_filter *)program};
    // No foreign code runs in this process: the slower mode of the processor that older kernels would choose for it protects nothing.
    unsigned int flags = SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    if (all_threads) flags |= SECCOMP_FILTER_FLAG_TSYNC;
    if (log) flags |= SECCOMP_FILTER_FLAG_LOG;
    long status = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter);
    // A positive answer names a thread that could not take the filter over.
    return status < 0 ? -errno : status > 0 ? -ESRCH : 0;
}

int clinux_filter_mode(void) {
    int mode = prctl(PR_GET_SECCOMP, 0, 0, 0, 0);
    return mode < 0 ? -errno : mode;
}

void clinux_settle_malloc(void) { mallopt(M_ARENA_MAX, 8 * get_nprocs()); }

uint32_t clinux_audit_architecture(void) {
#if defined(__x86_64__)
    return AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
    return AUDIT_ARCH_AARCH64;
#else
#error "which AUDIT_ARCH_* is this?"
#endif
}

int64_t clinux_system_call(long number, const long *arguments) {
    long answer = syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
    return answer < 0 ? -errno : answer;
}

// What BlockIO asks block devices; TCGETS is glibc asking whether its output is a terminal.
static const uint32_t ioctl_requests[] = {
    BLKGETSIZE64, BLKSSZGET, BLKPBSZGET, BLKIOMIN, BLKIOOPT, BLKALIGNOFF, BLKDISCARD, BLKZEROOUT, BLKSECDISCARD, TCGETS,
};

uint32_t clinux_ioctl_request(size_t index) { return ioctl_requests[index]; }

size_t clinux_ioctl_request_count(void) { return sizeof ioctl_requests / sizeof ioctl_requests[0]; }

static const uint32_t page_requests[] = {UFFDIO_API, UFFDIO_REGISTER, UFFDIO_UNREGISTER, UFFDIO_WAKE};

uint32_t clinux_page_request(size_t index) { return page_requests[index]; }

size_t clinux_page_request_count(void) { return sizeof page_requests / sizeof page_requests[0]; }

// Landlock, by number and with structures of our own: the kernel may know more of it than the headers we are compiled with.
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

struct landlock_rules {
    uint64_t files;
    uint64_t network;  // version 4
    uint64_t scopes;   // version 6
};

struct landlock_path {
    uint64_t rights;
    int32_t path;
} __attribute__((packed));

enum { LANDLOCK_VERSION_FLAG = 1, LANDLOCK_PATH_RULE = 1 };

int clinux_landlock_version(void) {
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION_FLAG);
    return version < 0 ? -errno : (int)version;
}

int clinux_landlock_create(int version, uint64_t files, uint64_t network, uint64_t scopes) {
    struct landlock_rules rules = {.files = files, .network = network, .scopes = scopes};
    size_t size = version >= 6 ? sizeof rules : version >= 4 ? offsetof(struct landlock_rules, scopes) : sizeof rules.files;
    long fd = syscall(SYS_landlock_create_ruleset, &rules, size, 0);
    return fd < 0 ? -errno : (int)fd;
}

int clinux_landlock_allow(int rules, int path, uint64_t rights) {
    struct landlock_path rule = {.rights = rights, .path = path};
    return syscall(SYS_landlock_add_rule, rules, LANDLOCK_PATH_RULE, &rule, 0) < 0 ? -errno : 0;
}

int clinux_landlock_restrict(int rules) { return syscall(SYS_landlock_restrict_self, rules, 0) < 0 ? -errno : 0; }

int clinux_open_path(const char *path) {
    int fd = open(path, O_PATH | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}
