#define _GNU_SOURCE 1
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

int clinux_memfd(const char *name) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd < 0 ? -errno : fd;
}

int clinux_seal_size(int fd) {
    return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 ? -errno : 0;
}

int64_t clinux_mmap(size_t size, int protection, int flags, int fd, int64_t offset) {
    void *base = mmap(NULL, size, protection, flags, fd, offset);
    return base == MAP_FAILED ? -errno : (int64_t)(intptr_t)base;
}

int64_t clinux_reserve(size_t size) { return clinux_mmap(size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0); }

int64_t clinux_map_again(void *base, size_t size) {
    // mremap(2): an old size of 0 leaves a shared mapping where it is and makes another one of the same pages.
    void *copy = mremap(base, 0, size, MREMAP_MAYMOVE);
    return copy == MAP_FAILED ? -errno : (int64_t)(intptr_t)copy;
}

int clinux_move_mapping(void *base, size_t size, void *target) {
    return mremap(base, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, target) == MAP_FAILED ? -errno : 0;
}

int clinux_munmap(void *base, size_t size) { return munmap(base, size) < 0 ? -errno : 0; }

int clinux_is_resident(void *page, size_t page_size) {
    unsigned char resident = 0;
    if (mincore(page, page_size, &resident) < 0) return -errno;
    return resident & 1;
}

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

int clinux_populate(void *page, size_t page_size) { return madvise(page, page_size, MADV_POPULATE_READ) < 0 ? -errno : 0; }
