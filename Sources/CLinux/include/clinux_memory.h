// Mappings and memory files.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// memfd_create, close-on-exec and sealable.
int clinux_memfd(const char *name);

/// Forbids everybody to change the file's size.
int clinux_seal_size(int fd);

/// mmap; the address, or -errno (no mapping lies in the last page of the address space, so the two cannot be confused).
int64_t clinux_mmap(size_t size, int protection, int flags, int fd, int64_t offset);
int clinux_munmap(void *base, size_t size);
