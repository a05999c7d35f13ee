//! What the three families of System V IPC share: the layout of their structures.

use crate::kernel::ipc::Perm;

/// Puts bytes into a structure.
pub fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = to.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// Puts the permissions, which come first in each structure.
pub fn put_perm(to: &mut [u8], perm: &Perm) {
    put(to, 0, &perm.bytes());
}
