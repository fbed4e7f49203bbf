// The parts of Linux's interface that Swift cannot import: variadic functions, complex macros, packed structs.
// Every shim is prefixed clinux_; those that make a system call return -errno on failure, so that nothing can run between
// the call and the reading of errno. Their bodies are in C files, not inline here: they need _GNU_SOURCE, with which glibc's
// types would differ from those of Swift's own Glibc module, and a system call costs more than the call to its shim.
#pragma once
#include "clinux_block.h"
#include "clinux_errors.h"
#include "clinux_events.h"
#include "clinux_files.h"
#include "clinux_guard.h"
#include "clinux_memory.h"
#include "clinux_process.h"
#include "clinux_processor.h"
#include "clinux_sandbox.h"
#include "clinux_sockets.h"
#include "clinux_threads.h"
#include "clinux_userfault.h"
