// epoll, eventfd, signalfd.
#pragma once
#include <stdint.h>

/// What one ready descriptor says; struct epoll_event is packed on x86-64 and Swift does not import it faithfully.
struct clinux_event {
    uint64_t token;
    uint64_t events;
};

/// The most events one clinux_epoll_wait returns.
#define CLINUX_EVENTS_MAX 64

// The kernel's constants, which events.c compares with its headers.
#define CLINUX_EPOLLIN 0x001u
#define CLINUX_EPOLLOUT 0x004u
#define CLINUX_EPOLLERR 0x008u
#define CLINUX_EPOLLHUP 0x010u
#define CLINUX_EPOLLRDHUP 0x2000u
#define CLINUX_EPOLLET 0x80000000u
#define CLINUX_EPOLL_CTL_ADD 1
#define CLINUX_EPOLL_CTL_DEL 2
#define CLINUX_EPOLL_CTL_MOD 3

int clinux_epoll_create(void);
int clinux_epoll_ctl(int epoll, int operation, int fd, uint32_t events, uint64_t token);

/// Waits at most `nanoseconds` (negative: without end). Kernels without epoll_pwait2 (before 5.11) wait whole milliseconds, rounded up.
int clinux_epoll_wait(int epoll, struct clinux_event *ready, int capacity, int64_t nanoseconds);
int clinux_eventfd(uint64_t initial);

/// A signalfd for the signals whose bits are set (bit n-1 for signal n), non-blocking.
int clinux_signalfd(uint64_t signals);

/// The next pending signal's number, or -errno.
int clinux_signalfd_read(int fd);

/// Blocks (how = SIG_BLOCK) or unblocks the signals whose bits are set in the calling thread; threads it starts inherit that.
int clinux_signal_mask(int how, uint64_t signals);
