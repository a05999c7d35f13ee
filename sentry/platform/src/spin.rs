//! The spinning worker: where a thread calls again and again and a processor would idle, a worker polls its slot, so
//! that a call costs no switch.

/// When a thread's recent doorbells were.
#[derive(Default)]
pub(crate) struct Rings {}
