//! The virtual file system: mounts, dentries, inodes, file descriptions, descriptor tables, path walk, permissions.

pub mod fd_table;
pub mod file;
pub mod inode;
pub mod path;

pub use fd_table::FdTable;
pub use file::{File, FileOps, Ioctl, Positioning};
pub use inode::{Attrs, FileKind, FileSystem, Inode, InodeRef};
pub use path::VfsPath;
