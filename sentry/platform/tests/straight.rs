//! The straight road: a fresh stub, its memory made, entered, calls answered, memory read and written, exit.

mod mini;

use mini::{shared, usual, Said, DATA};
use platform::{Ending, Event, Reply, SpaceEnd};

code!(
    getppid_loop,
    "mov ebx, 1000",
    "2: mov eax, 110",
    "syscall",
    "cmp rax, 4242",
    "jne 3f",
    "dec ebx",
    "jne 2b",
    "3: mov edi, ebx",
    "mov eax, 500",
    "syscall",
    "mov eax, 60",
    "syscall",
);

#[test]
fn calls_are_answered() {
    let mini = shared();
    let thread = mini.run(getppid_loop(), |thread, event, said| match event {
        Event::Syscall(call) if call.nr == 110 => thread.reply(Reply::Return(4242)),
        Event::Syscall(call) => assert!(usual(thread, &call, said)),
        other => said.send(Said::Word(format!("{other:?}"))).unwrap(),
    });
    assert!(matches!(mini.hear().show(), Said::Number(0)));
    let id = thread.space().id();
    assert!(matches!(mini.hear().show(), Said::Gone(gone, SpaceEnd::Expected) if gone == id));
}

code!(
    memory,
    // open("hello"): a string in.
    "mov rax, 0x6f6c6c6568",
    "mov rdi, 0x500000",
    "mov [rdi], rax",
    "mov eax, 2",
    "syscall",
    // write(1, DATA, 5): a buffer in.
    "mov edi, 1",
    "mov rsi, 0x500000",
    "mov edx, 5",
    "mov eax, 1",
    "syscall",
    // read(0, DATA + 0x1000, 200000): the kernel fills it.
    "mov edi, 0",
    "mov rsi, 0x501000",
    "mov edx, 200000",
    "mov eax, 0",
    "syscall",
    "mov rdi, [0x501000]",
    "mov eax, 500",
    "syscall",
    "mov rdi, [0x501000 + 199992]",
    "mov eax, 500",
    "syscall",
    // read to where nothing is
    "mov edi, 0",
    "mov rsi, 0x900000",
    "mov edx, 8",
    "mov eax, 0",
    "syscall",
    "mov rdi, rax",
    "mov eax, 500",
    "syscall",
    "mov eax, 60",
    "syscall",
);

#[test]
fn memory_goes_in_and_out() {
    let mini = shared();
    mini.run(memory(), |thread, event, said| match event {
        Event::Syscall(call) => match call.nr as i64 {
            libc::SYS_open => {
                let name = thread.mem().read_cstr(call.args[0], 4096).unwrap();
                assert!(thread.mem().read_cstr(0x900000, 10).is_err());
                said.send(Said::Word(String::from_utf8(name).unwrap())).unwrap();
                thread.reply(Reply::Return(3));
            }
            libc::SYS_write => {
                let mut buf = [0; 5];
                thread.mem().read(call.args[1], &mut buf).unwrap();
                let mut other = [0; 8];
                thread.mem().read(mini::CODE, &mut other).unwrap();
                assert_eq!(other[..], memory()[..8]);
                said.send(Said::Word(String::from_utf8(buf.to_vec()).unwrap())).unwrap();
                thread.reply(Reply::Return(5));
            }
            libc::SYS_read => {
                let bytes: Vec<u8> = (0..call.args[2] / 8).flat_map(|i| (i + 7).to_le_bytes()).collect();
                let good = thread.mem().write(call.args[1], &bytes).is_ok();
                assert_eq!(call.args[1], if good && call.args[2] > 8 { DATA + 0x1000 } else { 0x900000 });
                thread.reply(Reply::Return(call.args[2] as i64));
            }
            _ => assert!(usual(thread, &call, said)),
        },
        other => said.send(Said::Word(format!("{other:?}"))).unwrap(),
    });
    assert!(matches!(mini.hear().show(), Said::Word(w) if w == "hello"));
    assert!(matches!(mini.hear().show(), Said::Word(w) if w == "hello"));
    assert!(matches!(mini.hear().show(), Said::Number(7)));
    assert!(matches!(mini.hear().show(), Said::Number(25006)));
    assert!(matches!(mini.hear().show(), Said::Number(-14)));
    assert!(matches!(mini.hear().show(), Said::Gone(_, SpaceEnd::Expected)));
}

code!(
    act_and_go_on,
    // Memory appears, and the call returns.
    "mov eax, 501",
    "syscall",
    "mov rdi, [0x900000]",
    "add rdi, rax",
    "mov eax, 500",
    "syscall",
    // What cannot be done is told.
    "mov eax, 502",
    "syscall",
    "mov rdi, rax",
    "mov eax, 500",
    "syscall",
    // Other registers.
    "mov eax, 503",
    "syscall",
    "mov rdi, rbx",
    "mov eax, 500",
    "syscall",
    "mov eax, 60",
    "syscall",
);

#[test]
fn acting_ends_without_a_report() {
    let mini = shared();
    let map = |addr| platform::Action::Map {
        addr,
        len: 4096,
        prot: mini::RW,
        flags: libc::MAP_PRIVATE,
        file: None,
    };
    let store = |addr| platform::Action::Store { addr, bytes: 99u64.to_le_bytes().to_vec() };
    mini.run(act_and_go_on(), move |thread, event, said| match event {
        Event::Syscall(call) if call.nr == 501 => {
            thread.reply(Reply::ActThen(vec![map(0x900000), store(0x900000)], Ending::Return(1)));
        }
        Event::Syscall(call) if call.nr == 502 => {
            thread.reply(Reply::ActThen(vec![map(0x901000), store(0xa00000)], Ending::Return(1)));
        }
        Event::ActionsDone(Err((1, errno))) => thread.reply(Reply::Return(errno.to_ret())),
        Event::Syscall(call) if call.nr == 503 => {
            let regs = platform::Regs { rip: call.ip, rbx: 1234, ..mini::start_regs() };
            thread.reply(Reply::ActThen(vec![map(0x902000)], Ending::Enter(Box::new(regs))));
        }
        Event::Syscall(call) => assert!(usual(thread, &call, said)),
        other => said.send(Said::Word(format!("{other:?}"))).unwrap(),
    });
    for number in [100, -i64::from(libc::EFAULT), 1234] {
        let said = mini.hear();
        assert!(matches!(said, Said::Number(n) if n == number), "{said:?}");
    }
    assert!(matches!(mini.hear().show(), Said::Gone(_, SpaceEnd::Expected)));
}

code!(
    fault,
    "mov rbx, 0x900008",
    "mov rax, [rbx]",
    "mov rdi, rax",
    "mov eax, 500",
    "syscall",
    "int 0x80",
    "hlt",
);

#[test]
fn faults_are_told() {
    let mini = shared();
    let thread = mini.run(fault(), |thread, event, said| match event {
        Event::Syscall(call) => assert!(usual(thread, &call, said)),
        Event::Fault(f) if f.addr == 0x900008 => {
            assert_eq!((f.signo, f.trapno, f.error & 7), (libc::SIGSEGV, 14, 4));
            let map = platform::Action::Map {
                addr: 0x900000,
                len: 4096,
                prot: mini::RW,
                flags: libc::MAP_PRIVATE,
                file: None,
            };
            let store = platform::Action::Store { addr: 0x900008, bytes: 99u64.to_le_bytes().to_vec() };
            thread.reply(Reply::Act(vec![map, store]));
        }
        Event::ActionsDone(Ok(())) => thread.reply(Reply::Continue),
        Event::Fault(f) => {
            said.send(Said::Word(format!("{} {:#x} {:#x}", f.signo, f.error, f.ip - mini::CODE))).unwrap();
            thread.space().kill();
        }
        other => said.send(Said::Word(format!("{other:?}"))).unwrap(),
    });
    let said = mini.hear();
    assert!(matches!(said, Said::Number(99)), "{said:?}");
    let at = fault().windows(2).position(|w| w == [0xcd, 0x80]).unwrap();
    let said = mini.hear();
    assert!(matches!(&said, Said::Word(w) if *w == format!("11 0x402 {at:#x}")), "{said:?}");
    let id = thread.space().id();
    assert!(matches!(mini.hear().show(), Said::Gone(gone, SpaceEnd::Expected) if gone == id));
}
