#define _GNU_SOURCE 1
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

int clinux_o_direct(void) { return O_DIRECT; }

int clinux_block_geometry(int fd, struct clinux_geometry *geometry) {
    int logical = 0;
    if (ioctl(fd, BLKGETSIZE64, &geometry->size) < 0) return -errno;
    if (ioctl(fd, BLKSSZGET, &logical) < 0) return -errno;
    geometry->logical_block = (uint32_t)logical;
    // The kernel answers these for every block device; where it does not, the logical block is all there is to know.
    if (ioctl(fd, BLKPBSZGET, &geometry->physical_block) < 0) geometry->physical_block = (uint32_t)logical;
    if (ioctl(fd, BLKIOMIN, &geometry->io_minimum) < 0) geometry->io_minimum = (uint32_t)logical;
    if (ioctl(fd, BLKIOOPT, &geometry->io_optimal) < 0) geometry->io_optimal = 0;
    if (ioctl(fd, BLKALIGNOFF, &geometry->alignment_offset) < 0) geometry->alignment_offset = 0;
    return 0;
}

int clinux_direct_alignment(int fd, uint32_t *memory, uint32_t *offset) {
    struct statx answer;
    memset(&answer, 0, sizeof answer);
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &answer) < 0) return errno == ENOSYS || errno == EPERM ? 0 : -errno;
    if (!(answer.stx_mask & STATX_DIOALIGN)) return 0;
    *memory = answer.stx_dio_mem_align;
    *offset = answer.stx_dio_offset_align;
    return 1;
}

int64_t clinux_pread_nowait(int fd, void *bytes, size_t count, int64_t offset) {
    struct iovec part = {.iov_base = bytes, .iov_len = count};
    return clinux_preadv(fd, &part, 1, offset, RWF_NOWAIT);
}

int clinux_fdatasync(int fd) { return fdatasync(fd) < 0 ? -errno : 0; }

static int repeat_fallocate(int fd, int mode, int64_t offset, int64_t length) {
    int status;
    do status = fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, offset, length);
    while (status < 0 && errno == EINTR);
    return status < 0 ? -errno : 0;
}

int clinux_punch_hole(int fd, int64_t offset, int64_t length) {
    return repeat_fallocate(fd, FALLOC_FL_PUNCH_HOLE, offset, length);
}

int64_t clinux_next_data(int fd, int64_t offset) {
    off_t place = lseek(fd, offset, SEEK_DATA);
    return place < 0 ? -errno : place;
}

int clinux_zero_range(int fd, int64_t offset, int64_t length) {
    return repeat_fallocate(fd, FALLOC_FL_ZERO_RANGE, offset, length);
}

static int range_request(int fd, unsigned long request, uint64_t offset, uint64_t length) {
    uint64_t range[2] = {offset, length};
    return ioctl(fd, request, range) < 0 ? -errno : 0;
}

int clinux_block_discard(int fd, uint64_t offset, uint64_t length) { return range_request(fd, BLKDISCARD, offset, length); }

int clinux_block_zero(int fd, uint64_t offset, uint64_t length) { return range_request(fd, BLKZEROOUT, offset, length); }

int clinux_block_secure_erase(int fd, uint64_t offset, uint64_t length) {
    return range_request(fd, BLKSECDISCARD, offset, length);
}

static int set_lock(int fd, short type) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};
    return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

int clinux_lock_whole(int fd, int exclusive) { return set_lock(fd, exclusive ? F_WRLCK : F_RDLCK); }

int clinux_unlock_whole(int fd) { return set_lock(fd, F_UNLCK); }

int clinux_lock_owner(int fd, int exclusive) {
    struct flock lock = {.l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};
    if (fcntl(fd, F_OFD_GETLK, &lock) < 0) return -errno;
    return lock.l_type != F_UNLCK && lock.l_pid > 0 ? (int)lock.l_pid : 0;
}

int clinux_kernel_version(void) {
    struct utsname name;
    int major = 0;
    int minor = 0;
    if (uname(&name) < 0 || sscanf(name.release, "%d.%d", &major, &minor) != 2) return 0;
    return major * 1000 + minor;
}
