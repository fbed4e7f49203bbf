// Hints to the processor.
#pragma once

/// The thread spins.
static inline void clinux_cpu_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/// The cache line at an address will be read soon. Any address will do: none faults, and nothing is read that a program can see.
static inline void clinux_prefetch(const void *address) { __builtin_prefetch(address, 0, 3); }

/// The same of a line that will be written.
static inline void clinux_prefetch_to_write(const void *address) { __builtin_prefetch(address, 1, 3); }
