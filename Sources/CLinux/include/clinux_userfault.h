// userfaultfd: pages of a mapping that somebody else brings, as in post-copy migration.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// A userfaultfd, close-on-exec and non-blocking, whose handshake is done. Only accesses by threads in user mode wait for a page; the kernel's
/// own end with EFAULT (UFFD_USER_MODE_ONLY, Linux 5.11), which needs no privilege. -ENOTSUP when the kernel has none for shared memory.
int clinux_userfault_open(void);

/// Missing pages of the range, which is a whole mapping or page-aligned, are waited for from now on. -ENOTSUP when they could not be brought.
int clinux_userfault_register(int fd, void *base, size_t size);
/// Missing pages of the range are zero pages again; who waits goes on.
int clinux_userfault_unregister(int fd, void *base, size_t size);
/// Who waits in the range looks again.
int clinux_userfault_wake(int fd, void *base, size_t size);

/// The address of the next access that waits: 1, or 0 when there is none now.
int clinux_userfault_next(int fd, uint64_t *address);
/// Brings `size` bytes from `source` to `target`, an address of the process that made the descriptor; both are page-aligned.
int clinux_userfault_copy(int fd, uint64_t target, const void *source, size_t size);

/// Reads a byte, and waits for its page where it must.
void clinux_touch(const void *byte);
