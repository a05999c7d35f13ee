//! The ELF loader and the start of a program.
