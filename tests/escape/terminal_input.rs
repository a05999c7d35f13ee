//! Typing into the caller's terminal: TIOCSTI and TIOCLINUX, also with high bits set in the request.

pub unsafe fn attack() {
    for request in [
        libc::TIOCSTI,
        libc::TIOCSTI | 1 << 32,
        libc::TIOCSTI | 0xdead_0000_0000_0000,
        0x541c,
        0x541c | 1 << 40,
    ] {
        for letter in b"echo escaped\n" {
            let r = libc::syscall(libc::SYS_ioctl, 0, request, letter as *const u8);
            if r == 0 {
                println!("ESCAPED: request {request:#x} was taken");
                break;
            }
        }
    }
    // Pasting through the terminal's own answers is a matter of output; taking the terminal is not.
    if libc::ioctl(0, libc::TIOCSCTTY, 1) == 0 {
        println!("taken as controlling terminal (inside)");
    }
}
