//! The table of system calls: each is declared once, in the line that gives its number, name, argument shapes and
//! handler. The shapes tell the stub what to copy in, and the trace how to print; the handler's signature gives the types.

use platform::{ArgShape, CallShape, CALLS};

use crate::kernel::{Ctx, SysResult};
use crate::syscalls::args::FromArg;

/// One system call.
pub struct Entry {
    pub nr: u16,
    pub name: &'static str,
    pub args: &'static [ArgShape],
    pub flags: u8,
    pub run: fn(&mut Ctx<'_>) -> SysResult,
}

// Short names for the shapes.
const V: ArgShape = ArgShape::Value;
const S: ArgShape = ArgShape::Str;
const fn inb(len_arg: u8) -> ArgShape {
    ArgShape::In { len_arg }
}
const fn outb(len_arg: u8) -> ArgShape {
    ArgShape::Out { len_arg }
}
const fn ins(size: u16) -> ArgShape {
    ArgShape::InStruct { size }
}
const fn outs(size: u16) -> ArgShape {
    ArgShape::OutStruct { size }
}
const fn ina(count_arg: u8, elem: u16) -> ArgShape {
    ArgShape::InArray { count_arg, elem }
}
const fn iniov(count_arg: u8) -> ArgShape {
    ArgShape::InIov { count_arg }
}
const fn outiov(count_arg: u8) -> ArgShape {
    ArgShape::OutIov { count_arg }
}

/// `call!(number, name, [shapes], handler)`: makes the entry; the number of shapes is the number of arguments.
macro_rules! call {
    ($nr:literal, $name:ident, [$($shape:expr),*], $handler:path) => { call!($nr, $name, [$($shape),*], $handler, 0) };
    ($nr:literal, $name:ident, [$($shape:expr),*], $handler:path, $flags:expr) => {
        Entry {
            nr: $nr,
            name: stringify!($name),
            args: &[$($shape),*],
            flags: $flags,
            run: call!(@run $handler, $($shape),*),
        }
    };
    (@run $h:path,) => { |cx| $h(cx) };
    (@run $h:path, $a:expr) => { |cx| { let a = cx.call.args; $h(cx, FromArg::from_arg(a[0])) } };
    (@run $h:path, $a:expr, $b:expr) => {
        |cx| { let a = cx.call.args; $h(cx, FromArg::from_arg(a[0]), FromArg::from_arg(a[1])) }
    };
    (@run $h:path, $a:expr, $b:expr, $c:expr) => {
        |cx| { let a = cx.call.args; $h(cx, FromArg::from_arg(a[0]), FromArg::from_arg(a[1]), FromArg::from_arg(a[2])) }
    };
    (@run $h:path, $a:expr, $b:expr, $c:expr, $d:expr) => {
        |cx| {
            let a = cx.call.args;
            $h(cx, FromArg::from_arg(a[0]), FromArg::from_arg(a[1]), FromArg::from_arg(a[2]), FromArg::from_arg(a[3]))
        }
    };
    (@run $h:path, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr) => {
        |cx| {
            let a = cx.call.args;
            $h(
                cx, FromArg::from_arg(a[0]), FromArg::from_arg(a[1]), FromArg::from_arg(a[2]),
                FromArg::from_arg(a[3]), FromArg::from_arg(a[4]),
            )
        }
    };
    (@run $h:path, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr, $f:expr) => {
        |cx| {
            let a = cx.call.args;
            $h(
                cx, FromArg::from_arg(a[0]), FromArg::from_arg(a[1]), FromArg::from_arg(a[2]),
                FromArg::from_arg(a[3]), FromArg::from_arg(a[4]), FromArg::from_arg(a[5]),
            )
        }
    };
}

/// All calls that are implemented, by family. What is not here returns `ENOSYS` and is counted.
pub static ENTRIES: &[Entry] = &[
    // --- files: descriptors and data (syscalls/fs_io.rs)

    // --- files: names and attributes (syscalls/fs_path.rs)

    // --- memory (syscalls/memory.rs)
    call!(9, mmap, [V, V, V, V, V, V], crate::syscalls::memory::mmap),
    call!(10, mprotect, [V, V, V], crate::syscalls::memory::mprotect),
    call!(11, munmap, [V, V], crate::syscalls::memory::munmap),
    call!(12, brk, [V], crate::syscalls::memory::brk),
    call!(25, mremap, [V, V, V, V, V], crate::syscalls::memory::mremap),
    call!(26, msync, [V, V, V], crate::syscalls::memory::msync),
    call!(27, mincore, [V, V, V], crate::syscalls::memory::mincore),
    call!(28, madvise, [V, V, V], crate::syscalls::memory::madvise),
    call!(149, mlock, [V, V], crate::syscalls::memory::mlock),
    call!(150, munlock, [V, V], crate::syscalls::memory::munlock),
    call!(151, mlockall, [V], crate::syscalls::memory::mlockall),
    call!(152, munlockall, [], crate::syscalls::memory::munlockall),
    call!(237, mbind, [V, V, V, V, V, V], crate::syscalls::memory::mbind),
    call!(238, set_mempolicy, [V, V, V], crate::syscalls::memory::set_mempolicy),
    call!(239, get_mempolicy, [V, V, V, V, V], crate::syscalls::memory::get_mempolicy),
    call!(310, process_vm_readv, [V, ina(2, 16), V, ina(4, 16), V, V], crate::syscalls::memory::process_vm_readv),
    call!(311, process_vm_writev, [V, ina(2, 16), V, ina(4, 16), V, V], crate::syscalls::memory::process_vm_writev),
    call!(324, membarrier, [V, V], crate::syscalls::memory::membarrier, CallShape::LOCAL),
    call!(325, mlock2, [V, V, V], crate::syscalls::memory::mlock2),
    call!(329, pkey_mprotect, [V, V, V, V], crate::syscalls::memory::pkey_mprotect),
    call!(330, pkey_alloc, [V, V], crate::syscalls::memory::pkey_alloc),
    call!(331, pkey_free, [V], crate::syscalls::memory::pkey_free),

    // --- processes and threads (syscalls/process.rs)
    call!(39, getpid, [], crate::syscalls::process::getpid),
    // --- identity and limits (syscalls/identity.rs)

    // --- signals (syscalls/signals.rs)

    // --- time (syscalls/time.rs)

    // --- futex and scheduling (syscalls/sched.rs)

    // --- readiness: poll, select, epoll, eventfd (syscalls/readiness.rs)
    call!(7, poll, [ina(1, 8), V, V], crate::syscalls::readiness::poll),
    call!(271, ppoll, [ina(1, 8), V, ins(16), ins(8), V], crate::syscalls::readiness::ppoll),
    call!(23, select, [V, V, V, V, ins(16)], crate::syscalls::readiness::select),
    call!(270, pselect6, [V, V, V, V, ins(16), ins(16)], crate::syscalls::readiness::pselect6),
    call!(213, epoll_create, [V], crate::syscalls::epoll::epoll_create),
    call!(291, epoll_create1, [V], crate::syscalls::epoll::epoll_create1),
    call!(233, epoll_ctl, [V, V, V, ins(12)], crate::syscalls::epoll::epoll_ctl),
    call!(232, epoll_wait, [V, V, V, V], crate::syscalls::epoll::epoll_wait),
    call!(281, epoll_pwait, [V, V, V, V, ins(8), V], crate::syscalls::epoll::epoll_pwait),
    call!(441, epoll_pwait2, [V, V, V, ins(16), ins(8), V], crate::syscalls::epoll::epoll_pwait2),

    // --- pipes (syscalls/pipe.rs)
    call!(22, pipe, [outs(8)], crate::syscalls::pipe::pipe),
    call!(293, pipe2, [outs(8), V], crate::syscalls::pipe::pipe2),

    // --- sockets (syscalls/socket.rs)

    // --- the system (syscalls/system.rs)
];

/// The entry of a call number.
pub fn lookup(nr: u64) -> Option<&'static Entry> {
    static BY_NR: std::sync::LazyLock<Vec<Option<&'static Entry>>> = std::sync::LazyLock::new(|| {
        let mut v = vec![None; CALLS];
        for e in ENTRIES {
            if let Some(slot) = v.get_mut(e.nr as usize) {
                *slot = Some(e);
            }
        }
        v
    });
    BY_NR.get(usize::try_from(nr).ok()?).copied().flatten()
}

/// The marshalling table for the stub. With `trace`, no call is made without the kernel's knowing.
pub fn shapes(trace: bool) -> Box<[CallShape; CALLS]> {
    let mut table = Box::new([CallShape::default(); CALLS]);
    for e in ENTRIES {
        if let Some(slot) = table.get_mut(e.nr as usize) {
            slot.args[..e.args.len()].copy_from_slice(e.args);
            slot.flags = if trace { e.flags & !CallShape::LOCAL } else { e.flags };
        }
    }
    table
}
