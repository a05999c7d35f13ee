//! Mounted file systems and how they hang together.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use super::dentry::Dentry;
use super::inode::FileSystem;
use super::notify;
use super::path::VfsPath;

bitflags::bitflags! {
    /// What mount(2) says of one mount, with its values.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MountFlags: u32 {
        const RDONLY = 1;
        const NOSUID = 2;
        const NODEV = 4;
        const NOEXEC = 8;
        const NOSYMFOLLOW = 256;
        const NOATIME = 1024;
        const NODIRATIME = 2048;
        const RELATIME = 1 << 21;
    }
}

/// How something is mounted.
#[derive(Clone, Debug, Default)]
pub struct MountOptions {
    pub read_only: bool,
    pub nosuid: bool,
    pub nodev: bool,
    pub noexec: bool,
    /// The policy had it mounted so: what is refused here is told, and no guest takes a restriction away.
    pub by_policy: bool,
    /// All flags, in place of the single ones above.
    pub flags: Option<MountFlags>,
    /// The first field of `/proc/mounts`; the file system's name where empty.
    pub source: String,
    /// The file system's own options for `/proc/mounts` ("size=65536k").
    pub extra: String,
}

impl MountOptions {
    pub(super) fn flags(&self) -> MountFlags {
        if let Some(flags) = self.flags {
            return flags;
        }
        let mut flags = MountFlags::RELATIME;
        flags.set(MountFlags::RDONLY, self.read_only);
        flags.set(MountFlags::NOSUID, self.nosuid);
        flags.set(MountFlags::NODEV, self.nodev);
        flags.set(MountFlags::NOEXEC, self.noexec);
        flags
    }
}

/// What all mounts of one file system share.
pub struct Super {
    /// Remounted read-only as a whole.
    pub(super) read_only: AtomicBool,
    pub(super) extra: Mutex<String>,
    dev: u64,
}

impl Drop for Super {
    fn drop(&mut self) {
        notify::unmounted(self.dev);
    }
}

/// Whether mounts made on one mount come to others, too (mount_namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Private,
    /// Not to be bound elsewhere either.
    Unbindable,
}

/// A mounted file system.
pub struct Mount {
    pub id: u64,
    pub fs: Arc<dyn FileSystem>,
    pub(super) shared: Arc<Super>,
    flags: AtomicU32,
    /// Flags that a guest may not take away.
    fixed: MountFlags,
    pub by_policy: bool,
    /// Neither moved nor unmounted by itself: it was there before the guest was, or covers what is not to be seen.
    locked: AtomicBool,
    unbindable: AtomicBool,
    /// Asked for by `MNT_EXPIRE` once.
    expires: AtomicBool,
    pub(super) source: String,
    root: Arc<Dentry>,
    /// The mount and the dentry that it covers; `None` for the root of everything, and once unmounted. Weak, since the
    /// upper mount owns those that hang on it.
    at: RwLock<Option<(Weak<Mount>, Arc<Dentry>)>>,
    /// What is mounted on dentries of this one, by the dentry's address.
    below: RwLock<HashMap<usize, Arc<Mount>>>,
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Mount {
    /// A file system that is not mounted elsewhere, not yet at its place.
    pub(super) fn new(fs: Arc<dyn FileSystem>, options: MountOptions, root: Arc<Dentry>) -> Mount {
        let dev = root.inode().attrs().map_or(0, |a| a.dev);
        let flags = options.flags();
        let read_only = flags.contains(MountFlags::RDONLY) && !options.by_policy;
        let shared =
            Super { read_only: AtomicBool::new(read_only), extra: Mutex::new(options.extra.clone()), dev };
        let fixed = if options.by_policy { flags - MountFlags::RELATIME } else { MountFlags::empty() };
        Mount {
            id: next_id(),
            fs,
            shared: Arc::new(shared),
            flags: AtomicU32::new(flags.bits()),
            fixed,
            by_policy: options.by_policy,
            locked: AtomicBool::new(false),
            unbindable: AtomicBool::new(false),
            expires: AtomicBool::new(false),
            source: options.source,
            root,
            at: RwLock::new(None),
            below: RwLock::default(),
        }
    }

    /// Another mount of the same file system, showing what lies below `root`.
    pub(super) fn again(&self, root: Arc<Dentry>) -> Mount {
        Mount {
            id: next_id(),
            fs: self.fs.clone(),
            shared: self.shared.clone(),
            flags: AtomicU32::new(self.flags().bits()),
            fixed: self.fixed,
            by_policy: self.by_policy,
            locked: AtomicBool::new(self.is_locked()),
            unbindable: AtomicBool::new(false),
            expires: AtomicBool::new(false),
            source: self.source.clone(),
            root,
            at: RwLock::new(None),
            below: RwLock::default(),
        }
    }

    pub fn root(&self) -> &Arc<Dentry> {
        &self.root
    }

    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }
    /// Whether nothing may be changed through it.
    pub fn read_only(&self) -> bool {
        self.flags().contains(MountFlags::RDONLY) || self.shared.read_only.load(Ordering::Relaxed)
    }
    /// Replaces the flags; `false` where one is not the guest's to take away.
    pub(super) fn set_flags(&self, flags: MountFlags) -> bool {
        let ok = flags.contains(self.fixed);
        if ok {
            self.flags.store(flags.bits(), Ordering::Relaxed);
        }
        ok
    }
    /// Whether the policy forbids these flags.
    pub(super) fn allows(&self, flags: MountFlags) -> bool {
        flags.contains(self.fixed)
    }
    pub fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Relaxed)
    }
    pub(super) fn set_locked(&self, on: bool) {
        self.locked.store(on, Ordering::Relaxed);
    }
    pub(super) fn is_unbindable(&self) -> bool {
        self.unbindable.load(Ordering::Relaxed)
    }
    pub(super) fn set_propagation(&self, how: Propagation) {
        self.unbindable.store(how == Propagation::Unbindable, Ordering::Relaxed);
    }
    /// Notes that it is to expire; whether that was asked for before.
    pub(super) fn expire(&self) -> bool {
        self.expires.swap(true, Ordering::Relaxed)
    }

    /// The place that it covers.
    pub fn at(&self) -> Option<VfsPath> {
        let (mount, dentry) = self.at.read().clone()?;
        Some(VfsPath { mount: mount.upgrade()?, dentry })
    }

    /// What is mounted on a dentry of this mount.
    pub fn child_at(&self, dentry: &Arc<Dentry>) -> Option<Arc<Mount>> {
        self.below.read().get(&(Arc::as_ptr(dentry) as usize)).cloned()
    }

    /// Hangs it on a place that nothing covers yet.
    pub(super) fn attach(self: &Arc<Mount>, place: &VfsPath) {
        place.dentry.count_mount(1);
        *self.at.write() = Some((Arc::downgrade(&place.mount), place.dentry.clone()));
        place.mount.below.write().insert(Arc::as_ptr(&place.dentry) as usize, self.clone());
    }

    /// Takes it from its place.
    pub(super) fn detach(&self) {
        let Some((mount, dentry)) = self.at.write().take() else { return };
        dentry.count_mount(-1);
        if let Some(mount) = mount.upgrade() {
            let mine = mount.below.write().remove(&(Arc::as_ptr(&dentry) as usize));
            drop(mine);
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some((_, dentry)) = self.at.get_mut().take() {
            dentry.count_mount(-1);
        }
    }
}
