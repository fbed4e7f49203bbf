// Files and block devices as storage: alignment, geometry, giving space back, durability, locks.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// O_DIRECT, which glibc shows with _GNU_SOURCE only.
int clinux_o_direct(void);

struct clinux_geometry {
    uint64_t size;
    uint32_t logical_block;
    uint32_t physical_block;
    uint32_t io_minimum;
    uint32_t io_optimal;
    int32_t alignment_offset;
};

/// Size and block sizes of an open block device, in bytes.
int clinux_block_geometry(int fd, struct clinux_geometry *geometry);

/// What statx says of direct I/O on an open file (Linux 6.1). 1: the alignments are set (0 means that it cannot do direct I/O);
/// 0: the kernel or file system does not say.
int clinux_direct_alignment(int fd, uint32_t *memory, uint32_t *offset);

/// preadv2 with RWF_NOWAIT of one buffer.
int64_t clinux_pread_nowait(int fd, void *bytes, size_t count, int64_t offset);

int clinux_fdatasync(int fd);

/// fallocate with FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE.
int clinux_punch_hole(int fd, int64_t offset, int64_t length);
/// lseek with SEEK_DATA: where the first data at or after an offset lies, -ENXIO when there is none. Moves the file's position.
int64_t clinux_next_data(int fd, int64_t offset);
/// fallocate with FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE.
int clinux_zero_range(int fd, int64_t offset, int64_t length);

/// BLKDISCARD, BLKZEROOUT and BLKSECDISCARD.
int clinux_block_discard(int fd, uint64_t offset, uint64_t length);
int clinux_block_zero(int fd, uint64_t offset, uint64_t length);
int clinux_block_secure_erase(int fd, uint64_t offset, uint64_t length);

/// Takes, without waiting, or gives back a lock of the whole file that belongs to the open file (F_OFD_SETLK).
int clinux_lock_whole(int fd, int exclusive);
int clinux_unlock_whole(int fd);

/// The process that keeps us from such a lock, 0 where nobody does or the kernel does not know: a lock may belong to an open file, or to a
/// process on another host.
int clinux_lock_owner(int fd, int exclusive);

/// The kernel's version as major * 1000 + minor.
int clinux_kernel_version(void);
