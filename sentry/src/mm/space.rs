//! The address space: VMA table and what is planned against it.

use std::sync::Arc;

use platform::Space;

/// A guest's address space; shared by tasks made with `CLONE_VM`.
pub struct AddressSpace {
    /// The stub process that carries it.
    pub space: Arc<Space>,
}
