// liburing.h asks for _GNU_SOURCE, with which glibc's types would differ from those of Swift's own Glibc module, and Swift refuses to see
// two of each. Reading features.h first settles the question the other way; what liburing.h then lacks is cpu_set_t.
#include <features.h>
#include <sched.h>
#include <bits/cpu-set.h>
#include <liburing.h>

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

// io_uring_register(2) for what liburing 2.3 declares and does not have: io_uring_register_restrictions and io_uring_enable_rings. Returns a
// negated errno.
static inline int curing_register(int ring, unsigned int operation, const void *argument, unsigned int count) {
    long answer = syscall(__NR_io_uring_register, ring, operation, argument, count);
    return answer < 0 ? -errno : (int)answer;
}
