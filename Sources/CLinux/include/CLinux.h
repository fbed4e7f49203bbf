// The parts of Linux's interface that Swift cannot import: variadic functions and complex macros.
// Every shim is static inline and prefixed clinux_; those that make a system call return -errno on failure.
#pragma once
#define _GNU_SOURCE 1
#include <sys/epoll.h>
#include <sys/eventfd.h>
