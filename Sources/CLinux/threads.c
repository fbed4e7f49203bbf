#define _GNU_SOURCE 1
#include "CLinux.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

// Ignored where nobody handles it, and used by nobody else here.
#define CLINUX_INTERRUPT SIGURG

_Static_assert(CLINUX_CPU_WORDS * 64 == CPU_SETSIZE, "cpu_set_t");

int clinux_gettid(void) { return gettid(); }

uint64_t clinux_monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int clinux_thread_create(unsigned long *thread, int cpu, void *(*entry)(void *), void *context) {
    pthread_attr_t attributes;
    int status = pthread_attr_init(&attributes);
    if (status != 0) return -status;
    if (cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        if (cpu >= CPU_SETSIZE) {
            status = EINVAL;
        } else {
            CPU_SET(cpu, &set);
            status = pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
        }
    }
    if (status == 0) status = pthread_create(thread, &attributes, entry, context);
    pthread_attr_destroy(&attributes);
    return -status;
}

int clinux_thread_name(const char *name) { return -pthread_setname_np(pthread_self(), name); }

static void clinux_interrupted(int number) { (void)number; }

int clinux_thread_allow_interrupts(void) {
    // Without SA_RESTART: the point is that the system call does not go on.
    struct sigaction action = {.sa_handler = clinux_interrupted};
    sigemptyset(&action.sa_mask);
    if (sigaction(CLINUX_INTERRUPT, &action, NULL) < 0) return -errno;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, CLINUX_INTERRUPT);
    return -pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

int clinux_thread_interrupt(unsigned long thread) { return -pthread_kill(thread, CLINUX_INTERRUPT); }

int clinux_get_affinity(int thread, uint64_t *words) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(thread, sizeof set, &set) < 0) return -errno;
    for (int word = 0; word < CLINUX_CPU_WORDS; word++) {
        words[word] = 0;
        for (int bit = 0; bit < 64; bit++)
            if (CPU_ISSET(word * 64 + bit, &set)) words[word] |= (uint64_t)1 << bit;
    }
    return 0;
}

int clinux_set_affinity(int thread, const uint64_t *words) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int word = 0; word < CLINUX_CPU_WORDS; word++)
        for (int bit = 0; bit < 64; bit++)
            if (words[word] >> bit & 1) CPU_SET(word * 64 + bit, &set);
    return sched_setaffinity(thread, sizeof set, &set) < 0 ? -errno : 0;
}

int clinux_current_cpu(void) { return sched_getcpu(); }

int clinux_semaphore_wait(void *semaphore, int64_t nanoseconds) {
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    int64_t end = deadline.tv_nsec + nanoseconds % 1000000000;
    deadline.tv_sec += nanoseconds / 1000000000 + end / 1000000000;
    deadline.tv_nsec = end % 1000000000;
    int status;
    do status = sem_clockwait(semaphore, CLOCK_MONOTONIC, &deadline);
    while (status < 0 && errno == EINTR);
    return status < 0 ? -errno : 0;
}
