//! File systems, and files without one.
