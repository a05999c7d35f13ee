//! The guest jumps into the stub's text with arguments of its own, and posts what it likes.

mod mini;

use mini::{shared, usual, Said};
use platform::{Event, Reply, SpaceEnd};

code!(
    forged,
    // Find a `syscall; ret` in the stub's text.
    "mov rbx, 0x700000000000",
    "2: inc rbx",
    "cmp word ptr [rbx], 0x050f",
    "jne 2b",
    "cmp byte ptr [rbx + 2], 0xc3",
    "jne 2b",
    // clone(SIGCHLD): answered with EPERM, since no such operation is open.
    "mov eax, 56",
    "mov edi, 17",
    "xor esi, esi",
    "xor edx, edx",
    "xor r10d, r10d",
    "xor r8d, r8d",
    "call rbx",
    "mov rdi, rax",
    "mov eax, 500",
    "syscall",
    // mmap with a descriptor: EPERM too.
    "mov eax, 9",
    "mov edi, 0x800000",
    "mov esi, 4096",
    "mov edx, 1",
    "mov r10d, 0x11",
    "xor r8d, r8d",
    "xor r9d, r9d",
    "call rbx",
    "mov rdi, rax",
    "mov eax, 500",
    "syscall",
    // socket, execve, ptrace, a call that does not exist: they trap, as if the guest had made them.
    "mov eax, 41",
    "mov edi, 1",
    "call rbx",
    "mov rdi, rax",
    "mov eax, 500",
    "syscall",
    // madvise(DOFORK) of the slots traps.
    "mov eax, 28",
    "mov rdi, 0x700100000000",
    "mov esi, 4096",
    "mov edx, 11",
    "call rbx",
    "mov rdi, rax",
    "mov eax, 500",
    "syscall",
    // The doorbell rung for nothing comes back.
    "mov eax, 0x3f00",
    "mov edi, 0",
    "mov esi, 1234",
    "call rbx",
    "mov rdi, rax",
    "mov eax, 500",
    "syscall",
    // From outside of the text it is a call that nobody knows.
    "mov eax, 0x3f00",
    "syscall",
    "mov rdi, rax",
    "mov eax, 500",
    "syscall",
    // x32 numbers.
    "mov eax, 0x4000006e",
    "syscall",
    "mov rdi, rax",
    "mov eax, 500",
    "syscall",
    "mov eax, 60",
    "syscall",
);

#[test]
fn forged_calls_go_nowhere() {
    let mini = shared();
    mini.run(forged(), |thread, event, said| match event {
        Event::Syscall(call) if call.nr < 500 && call.nr != 60 => {
            thread.reply(Reply::Return(-(call.nr as i64) - 1000))
        }
        Event::Syscall(call) if usual(thread, &call, said) => {}
        Event::Syscall(_) => thread.reply(Reply::Return(-38)),
        other => said.send(Said::Word(format!("{other:?}"))).unwrap(),
    });
    for want in [-1, -1, -1041, -1028, 0, -38, -38] {
        let said = mini.hear();
        assert!(matches!(said, Said::Number(n) if n == want), "{said:?}, not {want}");
    }
    assert!(matches!(mini.hear().show(), Said::Gone(_, SpaceEnd::Expected)));
}

code!(
    garbage,
    // Fill the slot and the data area with garbage, posted, and ring.
    "mov rbx, 0x700000000000",
    "2: inc rbx",
    "cmp word ptr [rbx], 0x050f",
    "jne 2b",
    "cmp byte ptr [rbx + 2], 0xc3",
    "jne 2b",
    "mov rdi, 0x700100000000",
    "mov ecx, 0x12000 / 8",
    "mov rax, -1",
    "rep stosq",
    "mov rdi, 0x700100000000",
    "mov dword ptr [rdi], 1",
    // A call, with record headers of nonsense.
    "mov dword ptr [rdi + 8], 1",
    "mov eax, 0x3f00",
    "xor edi, edi",
    "xor esi, esi",
    "call rbx",
    // Then an end of actions that nobody asked for: the process is lost.
    "mov rdi, 0x700100000000",
    "mov dword ptr [rdi + 8], 5",
    "mov dword ptr [rdi], 1",
    "mov eax, 0x3f00",
    "xor edi, edi",
    "xor esi, esi",
    "call rbx",
    "3: jmp 3b",
);

#[test]
fn a_forged_slot_harms_its_guest_only() {
    let mini = shared();
    let other = mini.run(garbage(), |thread, event, said| match event {
        Event::Syscall(call) => {
            assert_eq!(call.nr, 0xffff_ffff);
            let mut buf = [0; 100];
            assert!(thread.mem().read(call.args[1], &mut buf).is_err());
            assert!(thread.mem().write(call.args[1], &buf).is_err());
            thread.reply(Reply::Return(-38));
            said.send(Said::Word("call".into())).unwrap();
        }
        other => said.send(Said::Word(format!("{other:?}"))).unwrap(),
    });
    assert!(matches!(mini.hear().show(), Said::Word(w) if w == "call"));
    let id = other.space().id();
    assert!(matches!(mini.hear().show(), Said::Gone(gone, SpaceEnd::Tampered) if gone == id));
}

code!(
    lost,
    // Into the middle of the stub, with a stack of our own.
    "mov rax, 0x700000000000",
    "mov rsp, 0x900000",
    "ud2",
);

#[test]
fn kill_ends_a_guest_that_runs() {
    let mini = shared();
    let thread = mini.run(lost(), |thread, event, said| match event {
        Event::Fault(fault) => {
            assert_eq!(fault.signo, libc::SIGILL);
            said.send(Said::Number(fault.signo.into())).unwrap();
            thread.space().kill();
            thread.reply(Reply::Continue);
        }
        other => said.send(Said::Word(format!("{other:?}"))).unwrap(),
    });
    assert!(matches!(mini.hear().show(), Said::Number(4)));
    assert!(matches!(mini.hear().show(), Said::Gone(_, SpaceEnd::Expected)));
    assert!(thread.space().read(mini::CODE, &mut [0; 4]).is_err());
}
