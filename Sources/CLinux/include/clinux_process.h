// What a process says of itself, and messages to a service manager.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// Whether the process may be traced by its own user and leaves a core file (PR_SET_DUMPABLE).
int clinux_set_dumpable(int on);
int clinux_get_dumpable(void);

/// Sends one datagram to the Unix socket whose address is these bytes of sun_path (the first may be 0: abstract), without waiting.
int clinux_send_datagram(const char *address, size_t address_size, const void *bytes, size_t size);
