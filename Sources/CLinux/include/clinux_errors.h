// errno in words; glibc's extensions, which return static strings or NULL.
#pragma once

/// "EACCES"
const char *clinux_error_name(int number);
/// "Permission denied"
const char *clinux_error_text(int number);
