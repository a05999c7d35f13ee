//! The BPF machine against the host's kernel: what it refuses, what a program answers, what a chain costs.
//!
//! A forked child installs the program under test and makes harmless calls that no kernel has; parent and child share
//! one page, in which the child leaves what it saw.

use policies::bpf::{opcode::*, ret, Invalid, Program, SeccompData, SockFilter, ARCH_X86_64, MAX_LEN};

/// A call number that no kernel has; every other call is let through by the programs' prologue.
const PROBE: u32 = 0x2f01;
const PROBES: usize = 12;

std::arch::global_asm!(
    ".globl bpf_probe, bpf_probe_behind",
    "bpf_probe:", // (nr, args): the syscall instruction stands at a known place
    "mov eax, edi",
    "mov rdi, [rsi]",
    "mov rdx, [rsi + 16]",
    "mov r10, [rsi + 24]",
    "mov r8, [rsi + 32]",
    "mov r9, [rsi + 40]",
    "mov rsi, [rsi + 8]",
    "syscall",
    "bpf_probe_behind:",
    "ret",
);

// As written above: a call with the C convention that changes nothing but what a system call does.
extern "C" {
    fn bpf_probe(nr: u64, args: *const u64) -> i64;
    fn bpf_probe_behind();
}

/// Small and seeded, so that a failure can be made again.
struct Random(u64);

impl Random {
    fn seeded() -> Random {
        let text = std::env::var("RUNSC_TEST_SEED").unwrap_or_else(|_| "runsc".to_owned());
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Random(hash | 1)
    }
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
    fn value(&mut self) -> u32 {
        match self.below(5) {
            0 => self.below(8) as u32,
            1 => self.of(&[0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX, 64, 31, 32, PROBE, ARCH_X86_64]),
            2 => 1 << self.below(32),
            _ => self.next() as u32,
        }
    }
}

/// What the parent and the child share.
#[repr(C)]
struct Shared {
    /// The errno of the installation; 0 where it succeeded; -1 while nobody knows.
    installed: i32,
    seen: usize,
    results: [i64; PROBES],
}

/// Forks a child that installs the program and makes the probes; gives what it left, and its wait status.
fn in_kernel(program: &[SockFilter], probes: &[[u64; 6]]) -> (Shared, i32) {
    let raw: Vec<libc::sock_filter> =
        program.iter().map(|f| libc::sock_filter { code: f.code, jt: f.jt, jf: f.jf, k: f.k }).collect();
    // SAFETY: the page is ours until it is unmapped; the child makes plain calls only, and ends without unwinding.
    unsafe {
        let page = libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(page, libc::MAP_FAILED);
        let shared = page.cast::<Shared>();
        (*shared).installed = -1;
        let pid = libc::fork();
        if pid == 0 {
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::setrlimit(libc::RLIMIT_CORE, &none);
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            let prog = libc::sock_fprog { len: raw.len() as u16, filter: raw.as_ptr().cast_mut() };
            let r = libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &prog);
            (*shared).installed = if r == 0 { 0 } else { *libc::__errno_location() };
            if r == 0 {
                for (i, args) in probes.iter().enumerate() {
                    (*shared).results[i] = bpf_probe(PROBE.into(), args.as_ptr());
                    (*shared).seen = i + 1;
                }
            }
            libc::_exit(0);
        }
        assert!(pid > 0);
        let mut status = 0;
        libc::waitpid(pid, &mut status, 0);
        let out = std::ptr::read(shared);
        libc::munmap(page, 4096);
        (out, status)
    }
}

/// `if nr != PROBE: allow`, in three instructions.
fn prologue() -> Vec<SockFilter> {
    vec![
        SockFilter::new(LD_ABS, 0, 0, 0),
        SockFilter::new(JMP + JEQ, 1, 0, PROBE),
        SockFilter::new(RET_K, 0, 0, ret::ALLOW),
    ]
}

/// Returns A's low bits after a shift as an errno, so that a probe shows them.
fn show_a(random: &mut Random) -> [SockFilter; 4] {
    [
        SockFilter::new(ALU + RSH, 0, 0, random.of(&[0, 0, 11, 20])),
        SockFilter::new(ALU + AND, 0, 0, 0x7ff),
        SockFilter::new(ALU + OR, 0, 0, ret::ERRNO),
        SockFilter::new(RET_A, 0, 0, 0),
    ]
}

/// A body of random instructions, mostly right.
fn body(random: &mut Random, len: usize) -> Vec<SockFilter> {
    let mut out = Vec::new();
    // Most programs have written the cells that they read.
    if !random.one_in(3) {
        for cell in 0..16 {
            out.push(SockFilter::new(if cell % 2 == 0 { ST } else { STX }, 0, 0, cell));
        }
    }
    let alu = [ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, XOR];
    for at in 0..len {
        let behind = (len - at) as u64;
        let x = if random.one_in(2) { X } else { 0 };
        let value = random.value();
        out.push(match random.below(12) {
            0..=2 => SockFilter::new(LD_ABS, 0, 0, random.below(16) as u32 * 4),
            3 => SockFilter::new(random.of(&[LD_IMM, LDX_IMM, LD_LEN, LDX_LEN]), 0, 0, value),
            4 => SockFilter::new(random.of(&[LD_MEM, LDX_MEM, ST, STX]), 0, 0, random.below(16) as u32),
            5 => SockFilter::new(random.of(&[TAX, TXA, ALU + NEG]), 0, 0, 0),
            6..=8 => {
                let operation = random.of(&alu);
                let k = match operation {
                    LSH | RSH => value % 32,
                    DIV => value.max(1),
                    _ => value,
                };
                SockFilter::new(ALU + operation + x, 0, 0, k)
            }
            9 => SockFilter::new(JMP + JA, 0, 0, random.below(behind.min(6)) as u32),
            _ => {
                let (t, e) = (random.below(behind.min(6)) as u8, random.below(behind.min(6)) as u8);
                SockFilter::new(JMP + random.of(&[JEQ, JGT, JGE, JSET]) + x, t, e, value)
            }
        });
    }
    out.extend(show_a(random));
    out
}

/// Spoils one field of one instruction.
fn spoil(random: &mut Random, program: &mut [SockFilter]) {
    let n = program.len() as u64;
    let f = &mut program[random.below(n) as usize];
    match random.below(7) {
        0 => f.code ^= 1 << random.below(16),
        1 => f.code = random.below(256) as u16,
        2 => f.k = random.of(&[0, 16, 15, 31, 32, 60, 61, 62, 64, 68, 0xffff_f000, 0xffff_f004, u32::MAX]),
        3 => f.k = random.next() as u32,
        4 => f.jt = random.of(&[0, 1, 4, 5, 20, 254, 255]),
        5 => f.jf = random.of(&[0, 1, 4, 5, 20, 254, 255]),
        // MOD is classic BPF, but not of seccomp; so are loads of bytes and half-words, by X, and MSH.
        _ => f.code = random.of(&[0x94, 0x9c, 0x28, 0x30, 0x40, 0x48, 0x50, 0xb1, 0x8c, 0x0e]),
    }
}

fn ip() -> u64 {
    bpf_probe_behind as *const () as u64
}

/// What the probes see, as the machine has it: the results, and whether the program kills.
fn in_machine(program: &Program, probes: &[[u64; 6]]) -> (Vec<i64>, bool) {
    let mut out = Vec::new();
    for args in probes {
        let answer = program.run(&SeccompData::x86_64(PROBE, ip(), args));
        match answer & ret::ACTION {
            ret::ERRNO => out.push(-i64::from((answer & ret::DATA).min(ret::MAX_ERRNO))),
            // No tracer, no listener, and no such call.
            ret::TRACE | ret::USER_NOTIF | ret::LOG | ret::ALLOW => out.push(-i64::from(libc::ENOSYS)),
            // All else ends the child, unknown actions, too.
            _ => return (out, true),
        }
    }
    (out, false)
}

fn agree(program: &[SockFilter], probes: &[[u64; 6]]) -> Result<Program, Invalid> {
    let ours = Program::new(program);
    let (shared, status) = in_kernel(program, probes);
    match &ours {
        Err(_) => assert_eq!(shared.installed, libc::EINVAL, "only we refuse ({ours:?}): {program:#x?}"),
        Ok(p) => {
            assert_eq!(shared.installed, 0, "only the kernel refuses: {program:#x?}");
            let (results, killed) = in_machine(p, probes);
            assert_eq!(&shared.results[..shared.seen], results, "{program:#x?} on {probes:#x?}");
            assert_eq!(libc::WIFSIGNALED(status), killed, "{program:#x?} on {probes:#x?}");
        }
    }
    ours
}

#[test]
fn random_programs_as_the_kernel_has_them() {
    let mut random = Random::seeded();
    let (mut valid, mut invalid) = (0, 0);
    for _ in 0..1500 {
        let mut program = prologue();
        let len = 1 + random.below(40) as usize;
        program.extend(body(&mut random, len));
        if random.one_in(3) {
            let before = program.clone();
            spoil(&mut random, &mut program);
            // A spoiled prologue could forbid the child's own calls, which the comparison is not about.
            if program[..3] != before[..3] {
                program = before;
            }
        }
        let probes: Vec<[u64; 6]> = (0..PROBES)
            .map(|_| std::array::from_fn(|_| u64::from(random.value()) << 32 | u64::from(random.value())))
            .collect();
        match agree(&program, &probes) {
            Ok(_) => valid += 1,
            Err(_) => invalid += 1,
        }
    }
    assert!(valid > 300 && invalid > 100, "{valid} valid, {invalid} invalid");
}

#[test]
fn every_code_is_taken_or_refused_as_by_the_kernel() {
    // All codes of one byte, and those with one bit of the upper byte, as one instruction in front of a return.
    let upper = (8..16).flat_map(|bit| [LD_ABS, RET_K, JMP + JA].map(|code| code | 1 << bit));
    for code in (0..256).chain(upper) {
        for k in [0, 1, 4, 15, 16, 32, 60, 64] {
            let program = [
                SockFilter::new(LD_ABS, 0, 0, 0),
                SockFilter::new(ST, 0, 0, 0),
                SockFilter::new(JMP + JEQ, 1, 0, PROBE),
                SockFilter::new(RET_K, 0, 0, ret::ALLOW),
                SockFilter::new(code, 0, 0, k),
                SockFilter::new(RET_K, 0, 0, ret::ERRNO | 7),
                SockFilter::new(RET_K, 0, 0, ret::ERRNO | 8),
            ];
            // What the code computes is the other test's; here only the verdict counts.
            let ours = Program::new(&program).is_ok();
            let (shared, _) = in_kernel(&program, &[]);
            assert_eq!(shared.installed == 0, ours, "code {code:#x}, k {k}");
        }
    }
}

#[test]
fn shapes_at_the_limits() {
    let allow = SockFilter::new(RET_K, 0, 0, ret::ALLOW);
    let nop = SockFilter::new(LD_IMM, 0, 0, 0);
    let long = |n: usize| [vec![nop; n - 1], vec![allow]].concat();
    let cases = [
        vec![],
        vec![allow],
        vec![nop],
        vec![SockFilter::new(JMP + JA, 0, 0, 0), allow],
        vec![SockFilter::new(JMP + JA, 0, 0, 1), allow],
        vec![SockFilter::new(JMP + JA, 0, 0, u32::MAX), allow],
        vec![SockFilter::new(JMP + JEQ, 0, 1, 0), allow],
        vec![SockFilter::new(JMP + JEQ, 1, 0, 0), allow],
        vec![SockFilter::new(LD_MEM, 0, 0, 0), allow],
        vec![SockFilter::new(ST, 0, 0, 3), SockFilter::new(LDX_MEM, 0, 0, 3), allow],
        // Written on one way only.
        vec![
            SockFilter::new(JMP + JEQ, 0, 1, 0),
            SockFilter::new(ST, 0, 0, 3),
            SockFilter::new(LDX_MEM, 0, 0, 3),
            allow,
        ],
        vec![SockFilter::new(LD_ABS, 0, 0, 0xffff_f000), allow],
        vec![SockFilter::new(ALU + DIV, 0, 0, 0), allow],
        vec![SockFilter::new(ALU + LSH, 0, 0, 32), allow],
        long(MAX_LEN),
        long(MAX_LEN + 1),
    ];
    for program in cases {
        let _ = agree(&program, &[]);
    }
}

/// How many copies of a program a thread can install: what the kernel makes of it, and what our figures say.
fn copies(program: &[SockFilter]) -> (usize, usize) {
    let raw: Vec<libc::sock_filter> =
        program.iter().map(|f| libc::sock_filter { code: f.code, jt: f.jt, jf: f.jf, k: f.k }).collect();
    let mut ends = [0; 2];
    let mut counted = 0usize;
    // SAFETY: the child makes plain calls only, and ends without unwinding; reads and writes are of one word.
    unsafe {
        libc::pipe(ends.as_mut_ptr());
        let pid = libc::fork();
        if pid == 0 {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            let prog = libc::sock_fprog { len: raw.len() as u16, filter: raw.as_ptr().cast_mut() };
            let mut n = 0usize;
            while libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &prog) == 0 {
                n += 1;
            }
            libc::write(ends[1], (&raw const n).cast(), 8);
            libc::_exit(0);
        }
        libc::close(ends[1]);
        libc::read(ends[0], (&raw mut counted).cast(), 8);
        libc::close(ends[0]);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
    let cost = Program::new(program).expect("valid").cost();
    let (mut ours, mut sum) = (0, 0);
    while cost + sum <= policies::bpf::MAX_PATH_COST {
        ours += 1;
        sum += cost + policies::bpf::COST_PER_FILTER;
    }
    (counted, ours)
}

#[test]
fn chains_end_where_the_kernel_ends_them() {
    let allow = SockFilter::new(RET_K, 0, 0, ret::ALLOW);
    let j = |code: u16, t: u8, e: u8, k: u32| SockFilter::new(JMP + code, t, e, k);
    let many = |f: SockFilter| [vec![f; 60], vec![SockFilter::new(RET_K, 0, 0, ret::ALLOW); 4]].concat();
    let with_div =
        [vec![SockFilter::new(LDX_IMM, 0, 0, 1)], many(SockFilter::new(ALU + DIV + X, 0, 0, 0))].concat();
    for program in [
        [vec![SockFilter::new(LD_IMM, 0, 0, 0); 500], vec![allow]].concat(),
        many(j(JEQ, 0, 1, 5)),
        many(j(JEQ, 1, 0, 5)),
        many(j(JEQ, 1, 2, 5)),
        many(j(JEQ, 0, 0, 5)),
        many(j(JGT, 0, 2, u32::MAX)),
        many(j(JGE, 2, 1, 0x8000_0000)),
        many(j(JSET, 0, 2, 5)),
        many(j(JSET + X, 0, 2, 5)),
        many(j(JGE + X, 0, 2, 5)),
        with_div,
    ] {
        let (kernel, ours) = copies(&program);
        assert_eq!(kernel, ours, "{:x?}", program.first());
    }
}

#[test]
fn the_strictest_answer_wins() {
    use ret::*;
    let order = [KILL_PROCESS, KILL_THREAD, TRAP, ERRNO | 1, USER_NOTIF, TRACE, LOG, ALLOW];
    for (i, a) in order.iter().enumerate() {
        for (j, b) in order.iter().enumerate() {
            assert_eq!(stricter(*a, *b), if j < i { *b } else { *a });
        }
    }
    assert_eq!(stricter(ERRNO | 1, ERRNO | 2), ERRNO | 1, "the first of equals");
}

#[test]
fn answers_that_the_number_alone_decides() {
    let program = Program::new(&[
        SockFilter::new(LD_ABS, 0, 0, 4),
        SockFilter::new(JMP + JEQ, 1, 0, ARCH_X86_64),
        SockFilter::new(RET_K, 0, 0, ret::KILL_PROCESS),
        SockFilter::new(LD_ABS, 0, 0, 0),
        SockFilter::new(JMP + JEQ, 0, 1, 39),
        SockFilter::new(RET_K, 0, 0, ret::ERRNO | 1),
        SockFilter::new(JMP + JEQ, 0, 2, 41),
        SockFilter::new(LD_ABS, 0, 0, 16),
        SockFilter::new(JMP + JEQ, 1, 0, 16),
        SockFilter::new(RET_K, 0, 0, ret::ALLOW),
        SockFilter::new(RET_K, 0, 0, ret::TRAP),
    ])
    .expect("valid");
    assert_eq!(program.by_number(39), Some(ret::ERRNO | 1));
    assert_eq!(program.by_number(41), None);
    for nr in [39, 40] {
        let run = program.run(&SeccompData::x86_64(nr, 0, &[0; 6]));
        assert_eq!(program.by_number(nr), Some(run));
    }
}
