//! Robust futexes: when a thread ends, the words that it owns are marked, and one waiter each is woken
//! (set_robust_list(2); the kernel's documentation, "robust-futex-ABI"). The list is walked here; the marks are the
//! stub's to make, since other threads may be at the words.

use std::sync::atomic::Ordering;

use linux_abi::Result;
use platform::Action;

use super::Task;
use crate::mm::AddressSpace;

/// As many entries as Linux walks (`ROBUST_LIST_LIMIT`).
const MAX_ENTRIES: usize = 2048;

fn word(mm: &AddressSpace, addr: u64) -> Result<u64> {
    let mut b = [0u8; 8];
    mm.read_exact(addr, &mut b)?;
    Ok(u64::from_le_bytes(b))
}

/// What the stub is to do for the words that the task owns; the list is walked once only.
pub fn release(task: &Task) -> Vec<Action> {
    let mut marks = Vec::new();
    let head = task.robust_list.swap(0, Ordering::SeqCst);
    if head != 0 {
        // A bad list is the guest's own trouble: what can be walked is walked.
        let _ = walk(&task.mm(), head, task.tid() as u32, &mut marks);
    }
    marks
}

fn walk(mm: &AddressSpace, head: u64, tid: u32, marks: &mut Vec<Action>) -> Result<()> {
    let mut entry = word(mm, head)?;
    let offset = word(mm, head.wrapping_add(8))?;
    let pending = word(mm, head.wrapping_add(16))?;
    let mut mark = |entry: u64, pending: bool| {
        let addr = (entry & !1).wrapping_add(offset);
        // A word that is not aligned is no futex. Bit 0 of an entry marks a PI futex.
        if addr.is_multiple_of(4) && !crate::mm::is_reserved(addr, 4) {
            marks.push(Action::OwnerDied { addr, tid, pending, pi: entry & 1 != 0 });
        }
    };
    for _ in 0..MAX_ENTRIES {
        let at = entry & !1;
        if at == head {
            break;
        }
        let next = word(mm, at);
        if at != pending & !1 {
            mark(entry, false);
        }
        entry = next?;
    }
    if pending != 0 {
        mark(pending, true);
    }
    Ok(())
}
