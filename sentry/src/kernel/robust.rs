//! Robust futexes: when a thread ends, the words that it owns are marked, and one waiter each is woken
//! (set_robust_list(2); the kernel's documentation, "robust-futex-ABI").

use std::sync::atomic::Ordering;

use linux_abi::Result;
use platform::Action;

use super::Task;
use crate::mm::AddressSpace;

/// As many entries as Linux walks (`ROBUST_LIST_LIMIT`).
const MAX_ENTRIES: usize = 2048;
const TID_MASK: u32 = 0x3fff_ffff;
const OWNER_DIED: u32 = 0x4000_0000;
const WAITERS: u32 = 0x8000_0000;

fn word(mm: &AddressSpace, addr: u64) -> Result<u64> {
    let mut b = [0u8; 8];
    mm.read_exact(addr, &mut b)?;
    Ok(u64::from_le_bytes(b))
}

/// Marks the words that the task owns. Returns the wakes that are due; the list is walked once only.
pub fn release(task: &Task) -> Vec<Action> {
    let mut wakes = Vec::new();
    let head = task.robust_list.swap(0, Ordering::SeqCst);
    if head != 0 {
        // A bad list is the guest's own trouble: what can be walked is walked.
        let _ = walk(&task.mm(), head, task.tid() as u32, &mut wakes);
    }
    wakes
}

fn walk(mm: &AddressSpace, head: u64, tid: u32, wakes: &mut Vec<Action>) -> Result<()> {
    let mut entry = word(mm, head)?;
    let offset = word(mm, head.wrapping_add(8))?;
    let pending = word(mm, head.wrapping_add(16))?;
    for _ in 0..MAX_ENTRIES {
        // Bit 0 marks a PI futex.
        let at = entry & !1;
        if at == head {
            break;
        }
        let next = word(mm, at);
        if entry != pending {
            mark(mm, at.wrapping_add(offset), tid, false, wakes)?;
        }
        entry = next?;
    }
    if pending != 0 {
        mark(mm, (pending & !1).wrapping_add(offset), tid, true, wakes)?;
    }
    Ok(())
}

fn mark(mm: &AddressSpace, addr: u64, tid: u32, pending: bool, wakes: &mut Vec<Action>) -> Result<()> {
    let mut b = [0u8; 4];
    mm.read_exact(addr, &mut b)?;
    let value = u32::from_le_bytes(b);
    let wake = Action::Wake { addr, count: 1, private: false };
    if pending && value == 0 {
        // Released, but nobody woken yet.
        wakes.push(wake);
        return Ok(());
    }
    if value & TID_MASK != tid & TID_MASK {
        return Ok(());
    }
    mm.space.write(addr, &((value & WAITERS) | OWNER_DIED).to_le_bytes())?;
    if value & WAITERS != 0 {
        wakes.push(wake.clone());
        // Waiters of process-private locks stand under another key.
        wakes.push(Action::Wake { addr, count: 1, private: true });
    }
    Ok(())
}
