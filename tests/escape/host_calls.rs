//! Calls that would reach the host's kernel or network, if they were passed on: none may succeed for real.

use std::net::TcpStream;

pub unsafe fn attack() {
    let port: u16 = std::env::var("HOST_PORT").ok().and_then(|p| p.parse().ok()).unwrap_or(1);
    if TcpStream::connect(("127.0.0.1", port)).is_ok() {
        println!("ESCAPED: connected to the host");
    }
    for (name, number) in [
        ("unshare", libc::SYS_unshare),
        ("setns", libc::SYS_setns),
        ("pivot_root", libc::SYS_pivot_root),
        ("open_by_handle_at", libc::SYS_open_by_handle_at),
        ("bpf", libc::SYS_bpf),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("kexec_load", libc::SYS_kexec_load),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("init_module", libc::SYS_init_module),
        ("iopl", libc::SYS_iopl),
        ("swapon", libc::SYS_swapon),
        ("reboot", libc::SYS_reboot),
    ] {
        // Arguments that no kernel accepts, so that even a host that saw them would come to no harm.
        let r = libc::syscall(number, -1i64, -1i64, -1i64, -1i64, -1i64);
        println!("{name}: {}", if r >= 0 { "ESCAPED: succeeded" } else { "refused" });
    }
    for (name, domain, kind) in [
        ("raw socket", libc::AF_INET, libc::SOCK_RAW),
        ("packet socket", libc::AF_PACKET, libc::SOCK_RAW),
        ("vsock", libc::AF_VSOCK, libc::SOCK_STREAM),
    ] {
        let fd = libc::socket(domain, kind, 0);
        println!("{name}: {}", if fd >= 0 { "given" } else { "refused" });
    }
}
