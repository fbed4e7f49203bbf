#define _GNU_SOURCE 1
#include "CLinux.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int clinux_socket_unix(int nonblocking) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);
    return fd < 0 ? -errno : fd;
}

int clinux_socket_pair(int *first, int *second, int nonblocking) {
    int type = SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0);
    int fds[2];
    if (socketpair(AF_UNIX, type, 0, fds) < 0) return -errno;
    *first = fds[0];
    *second = fds[1];
    return 0;
}

_Static_assert(CLINUX_SOCKET_PATH_MAX == sizeof(((struct sockaddr_un *)0)->sun_path) - 1, "sun_path");

static int clinux_socket_address(const char *path, struct sockaddr_un *address, socklen_t *length) {
    size_t size = strlen(path);
    if (size > CLINUX_SOCKET_PATH_MAX) return -ENAMETOOLONG;
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, size);
    *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + 1);
    return 0;
}

int clinux_bind(int fd, const char *path) {
    struct sockaddr_un address;
    socklen_t length;
    int status = clinux_socket_address(path, &address, &length);
    if (status < 0) return status;
    return bind(fd, (struct sockaddr *)&address, length) < 0 ? -errno : 0;
}

int clinux_connect(int fd, const char *path) {
    struct sockaddr_un address;
    socklen_t length;
    int status = clinux_socket_address(path, &address, &length);
    if (status < 0) return status;
    return connect(fd, (struct sockaddr *)&address, length) < 0 ? -errno : 0;
}

int clinux_listen(int fd, int backlog) { return listen(fd, backlog) < 0 ? -errno : 0; }

int clinux_accept(int fd) {
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return peer < 0 ? -errno : peer;
}

int clinux_shutdown(int fd, int how) { return shutdown(fd, how) < 0 ? -errno : 0; }

int clinux_peer_credentials(int fd, struct clinux_credentials *answer) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return -errno;
    answer->process = peer.pid;
    answer->user = peer.uid;
    answer->group = peer.gid;
    return 0;
}

int clinux_is_listening(int fd) {
    int listening = 0;
    socklen_t size = sizeof listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0) return -errno;
    return listening;
}

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

int clinux_refuse_descriptors(int fd) {
    int pass = 0;
    return setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &pass, sizeof pass) < 0 ? -errno : 0;
}

int64_t clinux_send(int fd, const void *bytes, size_t size, const int *descriptors, size_t count) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * CLINUX_DESCRIPTORS_MAX)];
    } control;
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > CLINUX_DESCRIPTORS_MAX) return -EINVAL;
    if (count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        memset(&control, 0, message.msg_controllen);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(header), descriptors, sizeof(int) * count);
    }
    ssize_t done;
    do done = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (done < 0 && errno == EINTR);
    return done < 0 ? -errno : done;
}

int64_t clinux_receive(int fd, void *bytes, size_t size, int *descriptors, size_t *count, int *lost) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * CLINUX_DESCRIPTORS_MAX)];
    } control;
    struct iovec part = {.iov_base = bytes, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = CMSG_LEN(sizeof(int) * CLINUX_DESCRIPTORS_MAX)};
    *count = 0;
    *lost = 0;
    ssize_t done;
    do done = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (done < 0 && errno == EINTR);
    if (done < 0) return -errno;
    if (message.msg_flags & MSG_CTRUNC) *lost = 1;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        size_t received = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        // All of them together fit into `control`, hence into the array.
        memcpy(descriptors + *count, CMSG_DATA(header), received * sizeof(int));
        *count += received;
    }
    return done;
}
