// Threads, their CPUs and their clock; CPU_SET and its kin are macros that Swift cannot import.
#pragma once
#include <stdint.h>

/// Words of a CPU mask as the shims take it: 1024 CPUs, glibc's CPU_SETSIZE.
#define CLINUX_CPU_WORDS 16

int clinux_gettid(void);
uint64_t clinux_monotonic_ns(void);

/// Starts a thread on one CPU (cpu >= 0) or wherever the process may run (cpu < 0). Returns 0 or -errno.
int clinux_thread_create(unsigned long *thread, int cpu, void *(*entry)(void *), void *context);
int clinux_thread_name(const char *name);

/// Makes a system call in which the calling thread waits return -EINTR when another thread asks for it with clinux_thread_interrupt.
int clinux_thread_allow_interrupts(void);
/// Interrupts a thread that allowed it; one that waits in no system call notices nothing.
int clinux_thread_interrupt(unsigned long thread);

/// The CPUs a thread may run on (thread 0: the caller) as a bit mask of CLINUX_CPU_WORDS words.
int clinux_get_affinity(int thread, uint64_t *words);
int clinux_set_affinity(int thread, const uint64_t *words);
int clinux_current_cpu(void);

/// Takes one from a sem_t (as void *, so that its type need not be known here), waiting at most `nanoseconds`; 0 or -errno.
int clinux_semaphore_wait(void *semaphore, int64_t nanoseconds);
