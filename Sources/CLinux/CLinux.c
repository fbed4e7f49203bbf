// The shims are static inline functions in include/; a C target needs one source file.
