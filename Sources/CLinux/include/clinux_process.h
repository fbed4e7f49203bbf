// What a process says of itself, and messages to a service manager.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// Whether the process may be traced by its own user and leaves a core file (PR_SET_DUMPABLE).
int clinux_set_dumpable(int on);
int clinux_get_dumpable(void);

/// Sends one datagram to the Unix socket whose address is these bytes of sun_path (the first may be 0: abstract), without waiting.
int clinux_send_datagram(const char *address, size_t address_size, const void *bytes, size_t size);

/// The supplementary groups of the process at the other end of a Unix socket, as they were when it connected (SO_PEERGROUPS).
/// Stores at most `capacity` of them and returns how many were stored, or -errno (-ERANGE: there are more).
int clinux_peer_groups(int fd, uint32_t *groups, size_t capacity);
