// Unix sockets with descriptor passing; CMSG_* are macros that Swift cannot import.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// SCM_MAX_FD: the most descriptors one message carries (Linux, net/scm.h).
#define CLINUX_DESCRIPTORS_MAX 253

int clinux_socket_unix(int nonblocking);
int clinux_socket_pair(int *first, int *second, int nonblocking);

/// The longest path a Unix socket can have, without its terminator.
#define CLINUX_SOCKET_PATH_MAX 107

int clinux_bind(int fd, const char *path);
int clinux_connect(int fd, const char *path);
int clinux_listen(int fd, int backlog);
int clinux_accept(int fd);
int clinux_shutdown(int fd, int how);

struct clinux_credentials {
    int32_t process;
    uint32_t user;
    uint32_t group;
};
int clinux_peer_credentials(int fd, struct clinux_credentials *answer);

/// Whether `fd` is a listening Unix stream socket (SO_ACCEPTCONN): 1, 0 or -errno.
int clinux_is_listening(int fd);

/// Has the kernel refuse descriptors that are sent to `fd`, or to what it accepts, with EPERM (SO_PASSRIGHTS, Linux 6.16): 0 or -errno.
int clinux_refuse_descriptors(int fd);

/// Sends up to `size` bytes, the descriptors with the first of them. Returns the bytes sent, or -errno.
int64_t clinux_send(int fd, const void *bytes, size_t size, const int *descriptors, size_t count);

/// Receives up to `size` bytes without waiting, and stores at most CLINUX_DESCRIPTORS_MAX descriptors, *count of them. *lost is set when the
/// kernel cut the control data: the process may open no more.
int64_t clinux_receive(int fd, void *bytes, size_t size, int *descriptors, size_t *count, int *lost);
