//! Fork, threads, signals, interrupts, descriptor mappings.

mod mini;

use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use mini::{shared, usual, Said};
use platform::{Action, CloneSpec, Event, Reply, Resume, SignalFrame, SpaceEnd, Thread};

code!(
    fork,
    "mov qword ptr [0x500000], 1",
    "mov ebx, 77",
    "mov eax, 57",
    "syscall",
    "test rax, rax",
    "jne 2f",
    // The child changes its copy.
    "mov qword ptr [0x500000], 2",
    "lea rdi, [rbx + 1000]",
    "mov eax, 500",
    "syscall",
    "mov edi, 0",
    "mov eax, 60",
    "syscall",
    "2: mov rbp, rax",
    // wait
    "mov eax, 61",
    "syscall",
    "mov rdi, [0x500000]",
    "add rdi, rbp",
    "mov eax, 500",
    "syscall",
    "mov eax, 60",
    "syscall",
);

#[test]
fn fork_copies() {
    let mini = shared();
    let waiting: Arc<Mutex<Option<Arc<Thread>>>> = Arc::default();
    let exited = Arc::new(AtomicI64::new(0));
    let parent = mini.run(fork(), move |thread, event, said| match event {
        Event::Syscall(call) => match call.nr as i64 {
            libc::SYS_fork => thread.reply(Reply::Clone(CloneSpec { share_vm: false, sp: 0, tls: None })),
            libc::SYS_wait4 => {
                if exited.load(Ordering::SeqCst) > 0 {
                    thread.reply(Reply::Return(0));
                } else {
                    *waiting.lock().unwrap() = Some(thread.clone());
                }
            }
            libc::SYS_exit => {
                exited.fetch_add(1, Ordering::SeqCst);
                thread.reply(Reply::ExitThread { clear_tid: 0 });
                if let Some(waiter) = waiting.lock().unwrap().take() {
                    waiter.reply(Reply::Return(0));
                }
            }
            _ => assert!(usual(thread, &call, said)),
        },
        Event::Cloned(Ok(child)) => {
            assert_ne!(child.space().id(), thread.space().id());
            child.reply(Reply::Return(0));
            thread.reply(Reply::Return(500));
        }
        other => said.send(Said::Word(format!("{other:?}"))).unwrap(),
    });
    assert!(matches!(mini.hear().show(), Said::Number(1077)));
    let mut words = [mini.hear().show(), mini.hear().show(), mini.hear().show()];
    words.sort_by_key(|w| i32::from(matches!(w, Said::Gone(..))));
    assert!(matches!(words[0], Said::Number(501)));
    assert!(matches!(words[1], Said::Gone(_, SpaceEnd::Expected)));
    assert!(matches!(words[2], Said::Gone(_, SpaceEnd::Expected)));
    drop(parent);
}

code!(
    thread,
    "mov eax, 56",
    "syscall",
    "test rax, rax",
    "jne 2f",
    // The child: tell FS-relative word and stack pointer, then set the flag.
    "mov rdi, fs:[0]",
    "mov eax, 500",
    "syscall",
    "mov rdi, rsp",
    "mov eax, 500",
    "syscall",
    "mov dword ptr [0x500000], 1",
    "mov edi, 0x500000",
    "mov esi, 1",
    "mov edx, 1",
    "mov eax, 202",
    "syscall",
    "mov eax, 60",
    "syscall",
    // The parent waits by futex, locally.
    "2: mov edi, 0x500000",
    "xor esi, esi",
    "xor edx, edx",
    "xor r10d, r10d",
    "mov eax, 202",
    "syscall",
    "cmp dword ptr [0x500000], 1",
    "jne 2b",
    "dec dword ptr [0x510000]",
    "jne 3f",
    "mov edi, 5",
    "mov eax, 500",
    "syscall",
    "mov eax, 60",
    "syscall",
    // Again, so that indices are used again.
    "3: mov dword ptr [0x500000], 0",
    "lea rax, [rip + guest_thread]",
    "jmp rax",
);

#[test]
fn threads_share() {
    let mini = shared();
    const ROUNDS: u64 = 300;
    mini.run(thread(), |thread, event, said| match event {
        Event::Syscall(call) if call.nr == libc::SYS_clone as u64 => {
            let mut count = [0; 8];
            thread.mem().read(0x51_0000, &mut count).unwrap();
            if count == [0; 8] {
                thread.mem().write(0x51_0000, &ROUNDS.to_le_bytes()).unwrap();
                thread.mem().write(0x52_0000, &123u64.to_le_bytes()).unwrap();
            }
            let spec = CloneSpec { share_vm: true, sp: 0x53_0000, tls: Some(0x52_0000) };
            thread.reply(Reply::Clone(spec));
        }
        Event::Syscall(call) => assert!(usual(thread, &call, said)),
        Event::Cloned(Ok(child)) => {
            assert_eq!(child.space().id(), thread.space().id());
            child.reply(Reply::Return(0));
            thread.reply(Reply::Return(500));
        }
        other => said.send(Said::Word(format!("{other:?}"))).unwrap(),
    });
    for _ in 0..ROUNDS {
        let said = mini.hear();
        assert!(matches!(said, Said::Number(123)), "{said:?}");
        let said = mini.hear();
        assert!(matches!(said, Said::Number(0x53_0000)), "{said:?}");
    }
    assert!(matches!(mini.hear().show(), Said::Number(5)));
    assert!(matches!(mini.hear().show(), Said::Gone(_, SpaceEnd::Expected)));
}

code!(
    signal,
    // Known values in xmm3 and the upper half of ymm3, and in general registers.
    "mov eax, 0x1234567",
    "movq xmm3, rax",
    "vinserti128 ymm3, ymm3, xmm3, 1",
    "mov r15, 0x7777",
    "mov qword ptr [rsp - 8], 0x55",
    "mov eax, 501",
    "syscall",
    "mov r14, rax",
    "vextracti128 xmm0, ymm3, 1",
    "movq rdi, xmm0",
    "mov eax, 500",
    "syscall",
    "mov rdi, r14",
    "mov eax, 500",
    "syscall",
    "mov rdi, r15",
    "add rdi, [rsp - 8]",
    "mov eax, 500",
    "syscall",
    "mov eax, 60",
    "syscall",
    // The handler, at a multiple of 256.
    ".balign 256",
    "mov rbp, rdi",
    "mov r12, rsi",
    "mov r13, rdx",
    "movq rdi, xmm3",
    "mov eax, 500",
    "syscall",
    "mov eax, 99",
    "movq xmm3, rax",
    "vzeroall",
    "xor r15d, r15d",
    "mov edi, [r12]",
    "shl rdi, 8",
    "add rdi, rbp",
    "mov eax, 500",
    "syscall",
    "ret",
    ".balign 256",
    // The restorer.
    "mov eax, 15",
    "syscall",
    "hlt",
);

#[test]
fn a_signal_handler_comes_and_goes() {
    let mini = shared();
    mini.run(signal(), |thread, event, said| match event {
        Event::Syscall(call) if call.nr == 501 => {
            let mut siginfo = [0; 128];
            siginfo[0] = 10;
            thread.reply(Reply::Signal(Box::new(SignalFrame {
                signo: 10,
                handler: mini::CODE + 256,
                restorer: mini::CODE + 512,
                stack_top: None,
                saved_stack: (0, 2, 0),
                saved_mask: 0xabcd,
                siginfo,
                resume: Resume::Return(-4),
            })));
        }
        Event::Syscall(call) if call.nr == 15 => {
            let mut mask = [0; 8];
            thread.mem().read(call.sp + 296, &mut mask).unwrap();
            assert_eq!(u64::from_le_bytes(mask), 0xabcd);
            thread.reply(Reply::Sigreturn);
        }
        Event::Syscall(call) => assert!(usual(thread, &call, said)),
        other => said.send(Said::Word(format!("{other:?}"))).unwrap(),
    });
    assert!(matches!(mini.hear().show(), Said::Number(0)), "floating-point state is fresh in the handler");
    assert!(matches!(mini.hear().show(), Said::Number(0xa0a)));
    assert!(matches!(mini.hear().show(), Said::Number(0x1234567)));
    assert!(matches!(mini.hear().show(), Said::Number(-4)));
    assert!(matches!(mini.hear().show(), Said::Number(0x77cc)));
    assert!(matches!(mini.hear().show(), Said::Gone(_, SpaceEnd::Expected)));
}

code!(
    bad_stack,
    "mov rsp, 0x900000",
    "mov eax, 501",
    "syscall",
    "mov rdi, rax",
    "mov eax, 500",
    "syscall",
    "mov eax, 60",
    "syscall",
);

#[test]
fn a_bad_stack_is_told() {
    let mini = shared();
    mini.run(bad_stack(), |thread, event, said| match event {
        Event::Syscall(call) if call.nr == 501 => thread.reply(Reply::Sigreturn),
        Event::Syscall(call) => assert!(usual(thread, &call, said)),
        Event::BadFrame => thread.reply(Reply::Return(3)),
        other => said.send(Said::Word(format!("{other:?}"))).unwrap(),
    });
    assert!(matches!(mini.hear().show(), Said::Number(3)));
    assert!(matches!(mini.hear().show(), Said::Gone(_, SpaceEnd::Expected)));
}

code!(
    busy,
    "mov eax, 500",
    "mov edi, 1",
    "syscall",
    "2: cmp dword ptr [0x500000], 0",
    "je 2b",
    // Then sleep in a futex until interrupted.
    "mov eax, 500",
    "mov edi, 2",
    "syscall",
    "mov edi, 0x500100",
    "xor esi, esi",
    "xor edx, edx",
    "xor r10d, r10d",
    "mov eax, 202",
    "syscall",
    "mov rdi, rax",
    "mov eax, 500",
    "syscall",
    "mov eax, 60",
    "syscall",
);

#[test]
fn interrupts_reach_loops_and_sleepers() {
    let mini = shared();
    for _ in 0..50 {
        let thread = mini.run(busy(), |thread, event, said| match event {
            Event::Syscall(call) => assert!(usual(thread, &call, said)),
            Event::Interrupted => {
                thread.mem().write(0x50_0000, &1u32.to_le_bytes()).unwrap();
                thread.reply(Reply::Continue);
            }
            Event::LocalDone { call, ret, interrupted } => {
                assert_eq!((call.nr, ret, interrupted), (202, -4, true));
                thread.reply(Reply::Return(-77));
            }
            other => said.send(Said::Word(format!("{other:?}"))).unwrap(),
        });
        assert!(matches!(mini.hear(), Said::Number(1)));
        thread.interrupt();
        assert!(matches!(mini.hear(), Said::Number(2)));
        // Until the sleeper was reached: an early interrupt is told as one between two instructions.
        loop {
            thread.interrupt();
            if let Ok(said) = mini.said.recv_timeout(std::time::Duration::from_millis(1)) {
                assert!(matches!(said, Said::Number(-77)), "{said:?}");
                break;
            }
        }
        let said = mini.hear();
        assert!(matches!(said, Said::Gone(_, SpaceEnd::Expected)), "{said:?}");
    }
}

code!(
    map_file,
    "mov eax, 501",
    "syscall",
    "mov rdi, [0x700000]",
    "mov eax, 500",
    "syscall",
    // A shared mapping is seen from outside.
    "mov qword ptr [0x700008], 66",
    "mov eax, 502",
    "syscall",
    // A mapping of our own making, with a descriptor, from the stub's text or not, does not get through.
    "mov eax, 9",
    "mov edi, 0x800000",
    "mov esi, 4096",
    "mov edx, 1",
    "mov r10d, 0x11",
    "xor r8d, r8d",
    "xor r9d, r9d",
    "syscall",
    "mov rdi, rax",
    "mov eax, 500",
    "syscall",
    "mov eax, 60",
    "syscall",
);

#[test]
fn files_are_mapped() {
    let mini = shared();
    // SAFETY: a fresh descriptor, owned by nobody else.
    let file = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"file".as_ptr(), 0)) };
    let file = Arc::new(file);
    let mut bytes = vec![0u8; 8192];
    bytes[4096] = 55;
    std::io::Write::write_all(&mut std::fs::File::from(file.try_clone().unwrap()), &bytes).unwrap();
    let theirs = file.clone();
    mini.run(map_file(), move |thread, event, said| match event {
        Event::Syscall(call) if call.nr == 501 => {
            let map = Action::Map {
                addr: 0x70_0000,
                len: 4096,
                prot: mini::RW,
                flags: libc::MAP_SHARED,
                file: Some((theirs.clone(), 4096)),
            };
            let bad = Action::Map {
                addr: 0x7000_0000_0000,
                len: 4096,
                prot: mini::RW,
                flags: libc::MAP_PRIVATE,
                file: None,
            };
            thread.reply(Reply::Act(vec![map, bad]));
        }
        Event::ActionsDone(result) => {
            assert_eq!(result, Err((1, linux_abi::Errno::EINVAL)));
            thread.reply(Reply::Return(0));
        }
        Event::Syscall(call) if call.nr == 502 => {
            let mut word = [0; 8];
            assert_eq!(rustix::io::pread(&*theirs, &mut word, 4104), Ok(8));
            said.send(Said::Number(i64::from_le_bytes(word))).unwrap();
            thread.reply(Reply::Return(0));
        }
        Event::Syscall(call) if call.nr == 9 => thread.reply(Reply::Return(-1)),
        Event::Syscall(call) => assert!(usual(thread, &call, said)),
        other => said.send(Said::Word(format!("{other:?}"))).unwrap(),
    });
    assert!(matches!(mini.hear().show(), Said::Number(55)));
    assert!(matches!(mini.hear().show(), Said::Number(66)));
    assert!(matches!(mini.hear().show(), Said::Number(-1)));
    assert!(matches!(mini.hear().show(), Said::Gone(_, SpaceEnd::Expected)));
}

code!(
    one_call,
    "mov eax, 110",
    "syscall",
    "mov edi, eax",
    "mov eax, 500",
    "syscall",
    "mov eax, 60",
    "syscall",
);

/// Handlers that take long hold up no other guest, as long as there are fewer of them than workers.
#[test]
fn long_events() {
    let mini = shared();
    let release = Arc::new((Mutex::new(false), std::sync::Condvar::new()));
    let number = |said: Said| match said.show() {
        Said::Number(n) => n,
        other => panic!("{other:?}"),
    };
    let mut ids = Vec::new();
    for i in 0..3 {
        let release = release.clone();
        let slow = mini.run(one_call(), move |thread, event, said| match event {
            Event::Syscall(call) if call.nr == 110 => {
                said.send(Said::Number(100 + i)).unwrap();
                let mut go = release.0.lock().unwrap();
                while !*go {
                    go = release.1.wait(go).unwrap();
                }
                thread.reply(Reply::Return(200));
            }
            Event::Syscall(call) => assert!(usual(thread, &call, said)),
            other => said.send(Said::Word(format!("{other:?}"))).unwrap(),
        });
        assert_eq!(number(mini.hear()), 100 + i);
        ids.push(slow);
    }
    let quick = mini.run(one_call(), |thread, event, said| match event {
        Event::Syscall(call) if call.nr == 110 => thread.reply(Reply::Return(7)),
        Event::Syscall(call) => assert!(usual(thread, &call, said)),
        other => said.send(Said::Word(format!("{other:?}"))).unwrap(),
    });
    assert_eq!(number(mini.hear()), 7);
    let id = quick.space().id();
    assert!(matches!(mini.hear().show(), Said::Gone(gone, SpaceEnd::Expected) if gone == id));
    *release.0.lock().unwrap() = true;
    release.1.notify_all();
    for _ in 0..6 {
        match mini.hear().show() {
            Said::Number(n) => assert_eq!(n, 200),
            Said::Gone(_, SpaceEnd::Expected) => {}
            other => panic!("{other:?}"),
        }
    }
}
