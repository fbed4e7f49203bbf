#define _GNU_SOURCE 1
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

int clinux_userfault_open(void) {
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    if (fd < 0) return -errno;
    struct uffdio_api api = {.api = UFFD_API};
    uint64_t needed = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MISSING_HUGETLBFS;
    int error = 0;
    if (ioctl(fd, UFFDIO_API, &api) < 0) {
        error = errno;
    } else if ((api.features & needed) != needed) {
        error = ENOTSUP;
    }
    if (error == 0) return fd;
    close(fd);
    return -error;
}

int clinux_userfault_register(int fd, void *base, size_t size) {
    struct uffdio_register request = {
        .range = {.start = (uintptr_t)base, .len = size},
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };
    if (ioctl(fd, UFFDIO_REGISTER, &request) < 0) return -errno;
    uint64_t needed = (uint64_t)1 << _UFFDIO_WAKE | (uint64_t)1 << _UFFDIO_COPY;
    return (request.ioctls & needed) == needed ? 0 : -ENOTSUP;
}

int clinux_userfault_unregister(int fd, void *base, size_t size) {
    struct uffdio_range range = {.start = (uintptr_t)base, .len = size};
    return ioctl(fd, UFFDIO_UNREGISTER, &range) < 0 ? -errno : 0;
}

int clinux_userfault_wake(int fd, void *base, size_t size) {
    struct uffdio_range range = {.start = (uintptr_t)base, .len = size};
    return ioctl(fd, UFFDIO_WAKE, &range) < 0 ? -errno : 0;
}

int clinux_userfault_next(int fd, uint64_t *address) {
    struct uffd_msg message;
    ssize_t count = read(fd, &message, sizeof message);
    if (count < 0) return errno == EAGAIN ? 0 : -errno;
    if (count != sizeof message || message.event != UFFD_EVENT_PAGEFAULT) return -EPROTO;
    *address = message.arg.pagefault.address;
    return 1;
}

int clinux_userfault_copy(int fd, uint64_t target, const void *source, size_t size) {
    struct uffdio_copy copy = {.dst = target, .src = (uintptr_t)source, .len = size};
    return ioctl(fd, UFFDIO_COPY, &copy) < 0 ? -errno : 0;
}

void clinux_touch(const void *byte) { (void)*(const volatile char *)byte; }
