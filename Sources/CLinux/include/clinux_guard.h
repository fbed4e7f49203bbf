// Mappings of files that a peer shares: it can shorten such a file at any time, and whoever touches a page that is gone gets SIGBUS.
// A handler puts zero pages in the place of a guarded mapping and goes on; who mapped it is told afterwards.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// The most mappings guarded at a time; a process may have 65530 mappings at all (vm.max_map_count as the kernel sets it).
#define CLINUX_GUARDS_MAX 65536

/// Takes SIGBUS over. `event` is an eventfd, signalled after each loss; it must stay open for ever. Called once.
int clinux_guard_install(int event);

/// Guards a whole mapping; `owner` is given back when it is lost. Returns the guard's number, or -ENOSPC.
int clinux_guard_add(void *base, size_t size, uint64_t owner);

/// Ends a guard. The mapping is still there and nobody touches it any more: call this before munmap.
void clinux_guard_remove(int number);

/// Owners of mappings that were lost and not reported yet: at most `capacity` of them, and how many.
size_t clinux_guard_take_lost(uint64_t *owners, size_t capacity);

/// Takes the pages out of a guarded mapping of `file` at `offset`: from now on the kernel's own accesses there end with EFAULT, and a thread that
/// touches a page gets a copy of what the file has, zeroes where it has nothing. Nothing is changed in the file. `empty` is a file of no
/// bytes. The caller keeps `file` open as long as the mapping is guarded, and nobody ends the guard meanwhile.
int clinux_guard_withdraw(int number, int file, int64_t offset, int empty);
