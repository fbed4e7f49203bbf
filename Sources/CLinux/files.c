#define _GNU_SOURCE 1
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

int clinux_open(const char *path, int flags, unsigned int mode) {
    int fd = open(path, flags | O_CLOEXEC, mode);
    return fd < 0 ? -errno : fd;
}

int clinux_close(int fd) { return close(fd) < 0 ? -errno : 0; }

int clinux_dup(int fd) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return copy < 0 ? -errno : copy;
}

int64_t clinux_read(int fd, void *bytes, size_t count) {
    ssize_t done = read(fd, bytes, count);
    return done < 0 ? -errno : done;
}

int64_t clinux_read_nowait(int fd, void *bytes, size_t count) {
    struct iovec part = {.iov_base = bytes, .iov_len = count};
    ssize_t done = preadv2(fd, &part, 1, -1, RWF_NOWAIT);
    if (done >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS)) return done < 0 ? -errno : done;
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    int ready = poll(&entry, 1, 0);
    if (ready <= 0) return ready < 0 ? -errno : -EAGAIN;
    done = read(fd, bytes, count);
    return done < 0 ? -errno : done;
}

int64_t clinux_write(int fd, const void *bytes, size_t count) {
    ssize_t done = write(fd, bytes, count);
    return done < 0 ? -errno : done;
}

int64_t clinux_pread(int fd, void *bytes, size_t count, int64_t offset) {
    ssize_t done = pread(fd, bytes, count, offset);
    return done < 0 ? -errno : done;
}

int64_t clinux_pwrite(int fd, const void *bytes, size_t count, int64_t offset) {
    ssize_t done = pwrite(fd, bytes, count, offset);
    return done < 0 ? -errno : done;
}

int64_t clinux_preadv(int fd, const void *vector, int count, int64_t offset, int flags) {
    ssize_t done = preadv2(fd, vector, count, offset, flags);
    return done < 0 ? -errno : done;
}

int64_t clinux_pwritev(int fd, const void *vector, int count, int64_t offset, int flags) {
    ssize_t done = pwritev2(fd, vector, count, offset, flags);
    return done < 0 ? -errno : done;
}

int clinux_get_seals(int fd) {
    int seals = fcntl(fd, F_GET_SEALS);
    return seals < 0 ? -errno : seals;
}

int64_t clinux_read_link(const char *path, char *bytes, size_t count) {
    ssize_t length = readlink(path, bytes, count);
    return length < 0 ? -errno : length;
}

int clinux_get_flags(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -errno : flags;
}

int clinux_set_flags(int fd, int flags) { return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0; }

int clinux_truncate(int fd, int64_t size) { return ftruncate(fd, size) < 0 ? -errno : 0; }

static inline void clinux_convert_status(const struct stat *from, struct clinux_file_status *to) {
    to->device = from->st_dev;
    to->inode = from->st_ino;
    to->represented = from->st_rdev;
    to->mode = from->st_mode;
    to->size = (uint64_t)from->st_size;
    to->owner = from->st_uid;
    to->group = from->st_gid;
}

int clinux_fstat(int fd, struct clinux_file_status *status) {
    struct stat answer;
    if (fstat(fd, &answer) < 0) return -errno;
    clinux_convert_status(&answer, status);
    return 0;
}

int clinux_stat(const char *path, int follow, struct clinux_file_status *status) {
    struct stat answer;
    if ((follow ? stat(path, &answer) : lstat(path, &answer)) < 0) return -errno;
    clinux_convert_status(&answer, status);
    return 0;
}

int clinux_chmod(const char *path, unsigned int mode) { return chmod(path, mode) < 0 ? -errno : 0; }

int clinux_fchmod(int fd, unsigned int mode) { return fchmod(fd, mode) < 0 ? -errno : 0; }

int clinux_chgrp(const char *path, unsigned int group) {
    return lchown(path, (uid_t)-1, group) < 0 ? -errno : 0;
}

int clinux_unlink(const char *path) { return unlink(path) < 0 ? -errno : 0; }

int64_t clinux_file_system_block(int fd) {
    struct statfs answer;
    return fstatfs(fd, &answer) < 0 ? -errno : (int64_t)answer.f_bsize;
}

int64_t clinux_file_system_type(int fd) {
    struct statfs answer;
    return fstatfs(fd, &answer) < 0 ? -errno : (int64_t)answer.f_type;
}

int clinux_try_lock(int fd, int exclusive) {
    return flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) < 0 ? -errno : 0;
}

int64_t clinux_group_number(const char *name) {
    char text[16384];
    struct group entry;
    struct group *found = NULL;
    int status = getgrnam_r(name, &entry, text, sizeof text, &found);
    if (status != 0) return -status;
    return found == NULL ? -ENOENT : (int64_t)entry.gr_gid;
}

int64_t clinux_user_number(const char *name) {
    char text[16384];
    struct passwd entry;
    struct passwd *found = NULL;
    int status = getpwnam_r(name, &entry, text, sizeof text, &found);
    if (status != 0) return -status;
    return found == NULL ? -ENOENT : (int64_t)entry.pw_uid;
}
