#define _GNU_SOURCE 1
#include "CLinux.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// The table never moves and the handler takes no lock. A slot's sequence is odd while it holds nothing or is being changed; the handler
// believes what it read of a slot only when the sequence was the same even number before and after (a seqlock).
struct guard {
    _Atomic uint64_t sequence;
    _Atomic uintptr_t base;
    _Atomic size_t size;
    _Atomic int lost;  // guard_live, guard_lost or guard_reported
    _Atomic int file;  // of a withdrawn mapping, otherwise -1
    int64_t offset;    // of the mapping in the file; written before `file`
    int next_free;
    uint64_t owner;
};

enum { guard_live, guard_lost, guard_reported };

static struct guard guards[CLINUX_GUARDS_MAX];
static _Atomic size_t guards_used;  // slots below it have been used at least once
static int first_free = -1;
static pthread_mutex_t guards_lock = PTHREAD_MUTEX_INITIALIZER;
static int guards_event = -1;
static struct sigaction guards_previous;

// What the handler runs may have interrupted a sanitizer's own code, which touches the memory for us and holds locks meanwhile: nothing of it is
// instrumented, and its system calls go past the C library's functions, which sanitizers wrap.
#define IN_HANDLER __attribute__((disable_sanitizer_instrumentation))

// The page of a withdrawn mapping that `address` is in, from the file, as memory of our own: what the file has, without making pages in it.
// Nobody sees the page before it is complete. Async-signal-safe.
IN_HANDLER static int guard_copy(uintptr_t address, uintptr_t base, int file, int64_t offset) {
    size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t page = address / page_size * page_size;
    long copy = syscall(SYS_mmap, NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
    if (copy == -1) return 0;
    // A hole, or the end of a file that was cut short, leaves zeroes.
    (void)syscall(SYS_pread64, file, copy, page_size, offset + (int64_t)(page - base));
    return syscall(SYS_mremap, copy, page_size, page_size, MREMAP_MAYMOVE | MREMAP_FIXED, page) != -1;
}

// Whether `address` lies in a guarded mapping, which is then replaced. Async-signal-safe.
IN_HANDLER static int guard_replace(uintptr_t address) {
    size_t used = atomic_load_explicit(&guards_used, memory_order_acquire);
    for (size_t number = 0; number < used; number++) {
        struct guard *guard = &guards[number];
        uint64_t sequence = atomic_load_explicit(&guard->sequence, memory_order_acquire);
        if (sequence & 1) continue;
        uintptr_t base = atomic_load_explicit(&guard->base, memory_order_relaxed);
        size_t size = atomic_load_explicit(&guard->size, memory_order_relaxed);
        // Acquire: the two loads above come before the second look at the sequence.
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&guard->sequence, memory_order_relaxed) != sequence) continue;
        if (address - base >= size) continue;
        // Acquire: the offset is the file's.
        int file = atomic_load_explicit(&guard->file, memory_order_acquire);
        if (file >= 0) return guard_copy(address, base, file, guard->offset);
        // The caller is touching the mapping, so nobody unmaps it meanwhile. Two threads that fault in one mapping both replace it, which
        // loses what the first has written there since: it was lost already. The whole mapping, not the page: that makes no further
        // mappings, so that it cannot fail for their number.
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
        if (syscall(SYS_mmap, base, size, PROT_READ | PROT_WRITE, flags, -1, 0L) == -1) return 0;
        int expected = guard_live;
        if (atomic_compare_exchange_strong(&guard->lost, &expected, guard_lost)) {
            uint64_t one = 1;
            (void)syscall(SYS_write, guards_event, &one, sizeof one);  // a full counter wakes as well
        }
        return 1;
    }
    return 0;
}

IN_HANDLER static void guard_handle(int number, siginfo_t *info, void *context) {
    (void)context;
    int error = errno;
    // A positive code is the kernel's: the address is that of the access. Others were sent by a process.
    int isFault = info->si_code > 0;
    if (!isFault || !guard_replace((uintptr_t)info->si_addr)) {
        // Nobody's guarded memory: what would have happened without us. A fault comes again when the handler returns.
        sigaction(SIGBUS, &guards_previous, NULL);
        if (!isFault) raise(number);
    }
    errno = error;
}

int clinux_guard_install(int event) {
    guards_event = event;
    struct sigaction action = {.sa_sigaction = guard_handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, &guards_previous) < 0 ? -errno : 0;
}

int clinux_guard_add(void *base, size_t size, uint64_t owner) {
    pthread_mutex_lock(&guards_lock);
    int number = first_free;
    size_t used = atomic_load_explicit(&guards_used, memory_order_relaxed);
    if (number >= 0) {
        first_free = guards[number].next_free;
    } else if (used < CLINUX_GUARDS_MAX) {
        number = (int)used;
        atomic_store_explicit(&guards[number].sequence, 1, memory_order_relaxed);
        // Release: the handler that sees the slot sees it empty.
        atomic_store_explicit(&guards_used, used + 1, memory_order_release);
    } else {
        pthread_mutex_unlock(&guards_lock);
        return -ENOSPC;
    }
    struct guard *guard = &guards[number];
    guard->owner = owner;
    atomic_store_explicit(&guard->file, -1, memory_order_relaxed);
    atomic_store_explicit(&guard->lost, guard_live, memory_order_relaxed);
    atomic_store_explicit(&guard->base, (uintptr_t)base, memory_order_relaxed);
    atomic_store_explicit(&guard->size, size, memory_order_relaxed);
    // Release: whoever sees the even number sees the fields. Odd plus one.
    atomic_fetch_add_explicit(&guard->sequence, 1, memory_order_release);
    pthread_mutex_unlock(&guards_lock);
    return number;
}

void clinux_guard_remove(int number) {
    pthread_mutex_lock(&guards_lock);
    struct guard *guard = &guards[number];
    // Odd from here on; the fence keeps the changes that follow, of the slot's next user too, behind it.
    atomic_fetch_add_explicit(&guard->sequence, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    guard->next_free = first_free;
    first_free = number;
    pthread_mutex_unlock(&guards_lock);
}

int clinux_guard_withdraw(int number, int file, int64_t offset, int empty) {
    struct guard *guard = &guards[number];
    guard->offset = offset;
    // Release: see guard_copy's caller. Before the mapping goes: the fault that follows finds the file.
    atomic_store_explicit(&guard->file, file, memory_order_release);
    void *base = (void *)atomic_load_explicit(&guard->base, memory_order_relaxed);
    size_t size = atomic_load_explicit(&guard->size, memory_order_relaxed);
    int flags = MAP_SHARED | MAP_NORESERVE | MAP_FIXED;
    return mmap(base, size, PROT_READ | PROT_WRITE, flags, empty, 0) == MAP_FAILED ? -errno : 0;
}

size_t clinux_guard_take_lost(uint64_t *owners, size_t capacity) {
    size_t count = 0;
    pthread_mutex_lock(&guards_lock);
    size_t used = atomic_load_explicit(&guards_used, memory_order_relaxed);
    for (size_t number = 0; number < used && count < capacity; number++) {
        struct guard *guard = &guards[number];
        if (atomic_load_explicit(&guard->sequence, memory_order_relaxed) & 1) continue;
        int expected = guard_lost;
        if (atomic_compare_exchange_strong(&guard->lost, &expected, guard_reported)) owners[count++] = guard->owner;
    }
    pthread_mutex_unlock(&guards_lock);
    return count;
}
