// Opening, locking and asking about files.
#pragma once
#include <stddef.h>
#include <stdint.h>

int clinux_open(const char *path, int flags, unsigned int mode);

/// close is never repeated: on Linux the descriptor is gone even when EINTR is reported.
int clinux_close(int fd);
int clinux_dup(int fd);
int64_t clinux_read(int fd, void *bytes, size_t count);
/// Reads what is there without waiting, whatever the descriptor's flags say, which belong to whoever else has it open: -EAGAIN when there
/// is nothing. Where the kernel cannot (pipes before Linux 6.4, eventfds before 5.10) a reader that is faster makes this wait.
int64_t clinux_read_nowait(int fd, void *bytes, size_t count);
int64_t clinux_write(int fd, const void *bytes, size_t count);
int64_t clinux_pread(int fd, void *bytes, size_t count, int64_t offset);
int64_t clinux_pwrite(int fd, const void *bytes, size_t count, int64_t offset);
/// The same with an array of struct iovec, and RWF_* flags.
int64_t clinux_preadv(int fd, const void *vector, int count, int64_t offset, int flags);
int64_t clinux_pwritev(int fd, const void *vector, int count, int64_t offset, int flags);
/// The seals of a file in memory (shmem or hugetlbfs; a tmpfs's files have one too); -EINVAL for every other file. Asks no file system.
int clinux_get_seals(int fd);
/// Where a symbolic link points, without a terminator; its length.
int64_t clinux_read_link(const char *path, char *bytes, size_t count);
int clinux_get_flags(int fd);
int clinux_set_flags(int fd, int flags);
int clinux_truncate(int fd, int64_t size);

/// What fstat says, in the parts this project uses.
struct clinux_file_status {
    uint64_t device;       // of the file system the file is on
    uint64_t inode;
    uint64_t represented;  // the device a special file stands for
    uint64_t mode;
    uint64_t size;
    uint64_t owner;
    uint64_t group;
};
int clinux_fstat(int fd, struct clinux_file_status *status);
/// stat, or lstat when `follow` is 0.
int clinux_stat(const char *path, int follow, struct clinux_file_status *status);
int clinux_chmod(const char *path, unsigned int mode);
int clinux_fchmod(int fd, unsigned int mode);
int clinux_chgrp(const char *path, unsigned int group);
int clinux_unlink(const char *path);

/// f_bsize of the file's file system: the huge page's size on hugetlbfs, the unit in which mmap works elsewhere at most.
int64_t clinux_file_system_block(int fd);

/// f_type of the file's file system.
int64_t clinux_file_system_type(int fd);

/// flock without waiting.
int clinux_try_lock(int fd, int exclusive);

/// The number of the group, or of the user, with this name, or -errno (-ENOENT: there is none).
int64_t clinux_group_number(const char *name);
int64_t clinux_user_number(const char *name);
