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
/// Addresses that nothing else gets, and nobody may touch; the first, or -errno.
int64_t clinux_reserve(size_t size);
/// Maps what a shared mapping has at `base` once more, where the kernel likes; the address, or -errno.
int64_t clinux_map_again(void *base, size_t size);
/// Moves a whole mapping to `target`, in place of what is mapped there, which may be gone also when this fails; 0 or -errno.
int clinux_move_mapping(void *base, size_t size, void *target);

/// Whether the page at `page` is in memory, in this process's page table or in the page cache: 1, 0 or -errno.
int clinux_is_resident(void *page, size_t page_size);
/// Maps the page at `page` for reading without the signal that touching it could raise (Linux 5.14).
int clinux_populate(void *page, size_t page_size);
