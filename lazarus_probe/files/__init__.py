"""Reading untrusted files: regular files only, up to a size limit. Writing files atomically."""
