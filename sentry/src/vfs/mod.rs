//! The virtual file system: mounts, dentries, inodes, file descriptions, descriptor tables, path walk, permissions.

pub mod attached;
pub mod attr;
pub mod context;
pub mod create;
pub mod dentry;
pub mod exec;
pub mod fd_table;
pub mod file;
pub mod inode;
pub mod locks;
pub mod mount;
pub mod namespace;
pub mod notes;
pub mod notify;
pub mod open;
pub mod path;
pub mod permission;
pub mod remove;
#[cfg(test)]
mod tests;
pub mod text_busy;
pub mod walk;

pub use context::FsInner;
pub use dentry::Dentry;
pub use exec::reopen_exec;
pub use fd_table::FdTable;
pub use file::{File, FileOps, Ioctl, Positioning};
pub use inode::{Attrs, FileKind, FileSystem, Inode, InodeRef};
pub use mount::{Mount, MountFlags, MountOptions};
pub use namespace::Namespace;
pub use open::open_inode;
pub use path::{path_text, VfsPath};
pub use permission::{permission, Access};
pub use walk::{Lookup, Resolve};
