//! What every guest program uses: printing by plain `write`, errno names, small wrappers.

use std::ffi::CString;
use std::fmt::{Debug, Display};
use std::sync::OnceLock;

static CASE: OnceLock<&str> = OnceLock::new();

/// Names the case whose steps follow.
pub fn start(case: &'static str) {
    CASE.get_or_init(|| case);
}

/// Prints one step. Goes out in one `write`, so that forked children keep the order.
pub fn say(step: &str, what: impl Display) {
    let line = format!("{}: {step}: {what}\n", CASE.get().unwrap_or(&"?"));
    unsafe { libc::write(1, line.as_ptr().cast(), line.len()) };
}

/// Prints one step's value in debug form.
pub fn show(step: &str, what: impl Debug) {
    say(step, format!("{what:?}"));
}

/// What calls return.
pub trait Ret: Copy {
    fn value(self) -> i64;
}
impl Ret for i32 {
    fn value(self) -> i64 {
        self.into()
    }
}
impl Ret for u32 {
    fn value(self) -> i64 {
        self.into()
    }
}
impl Ret for i64 {
    fn value(self) -> i64 {
        self
    }
}
impl Ret for isize {
    fn value(self) -> i64 {
        self as i64
    }
}
impl<T> Ret for *mut T {
    fn value(self) -> i64 {
        self as i64
    }
}

/// The name of the current errno.
pub fn errno_name() -> String {
    name(unsafe { *libc::__errno_location() })
}

/// Prints the returned number, or -1 with errno's name; gives the number back.
pub fn ret<T: Ret>(step: &str, r: T) -> T {
    match r.value() {
        -1 => say(step, errno_name()),
        n => say(step, n),
    }
    r
}

/// Prints `ok` or errno's name, where the number itself may differ between runs.
pub fn ok<T: Ret>(step: &str, r: T) -> T {
    match r.value() {
        -1 => say(step, errno_name()),
        _ => say(step, "ok"),
    }
    r
}

/// A zeroed structure of plain data.
pub fn z<T>() -> T {
    unsafe { std::mem::zeroed() }
}

/// A path as C wants it.
pub fn c(text: &str) -> CString {
    CString::new(text).expect("no NUL in a test's path")
}

/// Opens (and creates) with mode 0644, without a word; -1 where it fails.
pub fn open(path: &str, flags: i32) -> i32 {
    unsafe { libc::open(c(path).as_ptr(), flags, 0o644) }
}

/// Makes a file with this content.
pub fn put(path: &str, content: &[u8]) {
    let fd = open(path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC);
    unsafe {
        libc::write(fd, content.as_ptr().cast(), content.len());
        libc::close(fd);
    }
}

/// The content of a file as text, or errno's name.
pub fn get(path: &str) -> String {
    let fd = open(path, libc::O_RDONLY);
    if fd < 0 {
        return errno_name();
    }
    let text = rest(fd);
    unsafe { libc::close(fd) };
    text
}

/// Writes text to a descriptor.
pub fn put_fd(fd: i32, text: &str) -> isize {
    unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) }
}

/// Reads once, at most `n` bytes; text, or errno's name.
pub fn get_fd(fd: i32, n: usize) -> String {
    let mut buffer = vec![0u8; n];
    match unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), n) } {
        -1 => errno_name(),
        got => String::from_utf8_lossy(&buffer[..got as usize]).replace('\0', "0"),
    }
}

/// Reads to the end.
pub fn rest(fd: i32) -> String {
    let mut all = String::new();
    loop {
        let part = get_fd(fd, 4096);
        if part.is_empty() || (part.starts_with('E') && part.len() < 12) {
            return all + &part;
        }
        all += &part;
    }
}

/// Forks; the child runs `f` and exits with what it returns.
pub fn child(f: impl FnOnce() -> i32) -> i32 {
    match unsafe { libc::fork() } {
        0 => {
            let code = f();
            unsafe { libc::_exit(code) }
        }
        pid => pid,
    }
}

/// Waits for one child and describes how it ended.
pub fn end_of(pid: i32) -> String {
    let mut status = 0;
    match unsafe { libc::waitpid(pid, &mut status, 0) } {
        -1 => errno_name(),
        _ => status_text(status),
    }
}

/// A wait status in words.
pub fn status_text(status: i32) -> String {
    if libc::WIFEXITED(status) {
        format!("exited {}", libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        format!("killed by {}", libc::WTERMSIG(status))
    } else if libc::WIFSTOPPED(status) {
        format!("stopped by {}", libc::WSTOPSIG(status))
    } else if libc::WIFCONTINUED(status) {
        "continued".to_owned()
    } else {
        format!("status {status:#x}")
    }
}

/// A pipe: (read end, write end).
pub fn pipe() -> (i32, i32) {
    let mut ends = [0; 2];
    unsafe { libc::pipe(ends.as_mut_ptr()) };
    (ends[0], ends[1])
}

/// Installs `handler` with these flags.
pub unsafe fn handle(signal: i32, handler: usize, flags: i32) -> i32 {
    let mut action: libc::sigaction = z();
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    libc::sigaction(signal, &action, std::ptr::null_mut())
}

/// A signal set of these.
pub unsafe fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set: libc::sigset_t = z();
    libc::sigemptyset(&mut set);
    for &signal in signals {
        libc::sigaddset(&mut set, signal);
    }
    set
}

/// Sleeps without a signal's help.
pub fn nap(millis: u64) {
    std::thread::sleep(std::time::Duration::from_millis(millis));
}

/// Whether `f` took about `millis` (from 1 ms less, up to 3 s more: machines are busy).
pub fn takes(millis: u128, f: impl FnOnce()) -> &'static str {
    let start = std::time::Instant::now();
    f();
    match start.elapsed().as_millis() {
        t if t + 1 < millis => "too short",
        t if t > millis + 3000 => "too long",
        _ => "as long as asked",
    }
}

/// An errno by its name.
pub fn name(errno: i32) -> String {
    let known = [
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::ESRCH, "ESRCH"),
        (libc::EINTR, "EINTR"),
        (libc::EIO, "EIO"),
        (libc::ENXIO, "ENXIO"),
        (libc::E2BIG, "E2BIG"),
        (libc::ENOEXEC, "ENOEXEC"),
        (libc::EBADF, "EBADF"),
        (libc::ECHILD, "ECHILD"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EFAULT, "EFAULT"),
        (libc::ENOTBLK, "ENOTBLK"),
        (libc::EBUSY, "EBUSY"),
        (libc::EEXIST, "EEXIST"),
        (libc::EXDEV, "EXDEV"),
        (libc::ENODEV, "ENODEV"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::EISDIR, "EISDIR"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENFILE, "ENFILE"),
        (libc::EMFILE, "EMFILE"),
        (libc::ENOTTY, "ENOTTY"),
        (libc::ETXTBSY, "ETXTBSY"),
        (libc::EFBIG, "EFBIG"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::ESPIPE, "ESPIPE"),
        (libc::EROFS, "EROFS"),
        (libc::EMLINK, "EMLINK"),
        (libc::EPIPE, "EPIPE"),
        (libc::EDOM, "EDOM"),
        (libc::ERANGE, "ERANGE"),
        (libc::EDEADLK, "EDEADLK"),
        (libc::ENAMETOOLONG, "ENAMETOOLONG"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::ENOTEMPTY, "ENOTEMPTY"),
        (libc::ELOOP, "ELOOP"),
        (libc::ENODATA, "ENODATA"),
        (libc::EOVERFLOW, "EOVERFLOW"),
        (libc::ENOTSOCK, "ENOTSOCK"),
        (libc::EDESTADDRREQ, "EDESTADDRREQ"),
        (libc::EMSGSIZE, "EMSGSIZE"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
        (libc::EISCONN, "EISCONN"),
        (libc::ENOTCONN, "ENOTCONN"),
        (libc::ECONNREFUSED, "ECONNREFUSED"),
        (libc::ECONNRESET, "ECONNRESET"),
        (libc::ETIMEDOUT, "ETIMEDOUT"),
        (libc::EINPROGRESS, "EINPROGRESS"),
        (libc::ESTALE, "ESTALE"),
    ];
    match known.iter().find(|(n, _)| *n == errno) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("errno {errno}"),
    }
}

/// vfork; the child writes 5 to `poke` and makes one system call (`execve`, `exit`), with exit code 99 if it returns.
/// In assembler, since a compiler does not know of functions that return twice on one stack.
pub unsafe fn vfork_and(poke: &mut i32, call: i64, a: usize, b: usize, c: usize) -> i32 {
    let pid: i64;
    std::arch::asm!(
        "syscall",
        "test rax, rax",
        "jnz 2f",
        "mov dword ptr [r8], 5",
        "mov rax, r9",
        "syscall",
        "mov edi, 99",
        "mov eax, 231",
        "syscall",
        "2:",
        inlateout("rax") libc::SYS_vfork => pid,
        in("r8") poke, in("r9") call, in("rdi") a, in("rsi") b, in("rdx") c,
        lateout("rcx") _, lateout("r11") _,
    );
    pid as i32
}
