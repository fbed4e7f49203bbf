// liburing.h asks for _GNU_SOURCE, with which glibc's types would differ from those of Swift's own Glibc module, and Swift refuses to see
// two of each. Reading features.h first settles the question the other way; what liburing.h then lacks is cpu_set_t.
#include <features.h>
#include <sched.h>
#include <bits/cpu-set.h>
#include <liburing.h>
