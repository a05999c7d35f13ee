//! The way out of the sandbox: what the policy lets through and what it keeps in, in network namespaces of the test's
//! own. One namespace is the host that `runsc` runs on, one is the world: servers on several addresses and a name server
//! that says what an attacker would have it say.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use runsc_tests::sandbox::{is_root, native_command, runnable, runsc, Who};
use runsc_tests::{have, run, skip, Outcome, TempDir};

const LIMIT: Duration = Duration::from_secs(60);
/// The host's own address, and those of the world: the server that may be reached, another one, a private one, the
/// metadata service of a cloud.
const HOST: &str = "203.0.113.1";
const GOOD: &str = "203.0.113.2";
const OTHER: &str = "203.0.113.3";
const PRIVATE: &str = "10.99.0.2";
const METADATA: &str = "169.254.169.254";
const GOOD_V6: &str = "2001:db8:99::2";
const NAME_SERVER: &str = "203.0.113.53";
const PORTS: [u16; 2] = [443, 80];
/// What the server sends to who says `big`.
const BIG: usize = 3_000_000;

/// The two namespaces; gone when dropped.
struct World {
    host: String,
    world: String,
    dir: TempDir,
}

fn ip(args: &str) {
    let output = Command::new("ip").args(args.split(' ')).output().expect("ip(8) can be run");
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
}

impl World {
    /// `None` where this machine has no such namespaces for us.
    fn new() -> Option<World> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !is_root() || !have("ip") || !have("python3") {
            skip("network namespaces need root, ip and python3");
            return None;
        }
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let (host, world) =
            (format!("rt{}-{n}h", std::process::id()), format!("rt{}-{n}w", std::process::id()));
        if !Command::new("ip").args(["netns", "add", &host]).status().is_ok_and(|s| s.success()) {
            skip("no network namespace can be made here");
            return None;
        }
        // From here on it is removed, whatever fails.
        let made = World { host, world, dir: TempDir::new() };
        let (host, world) = (&made.host, &made.world);
        ip(&format!("netns add {world}"));
        ip(&format!("-n {host} link add out type veth peer name in netns {world}"));
        for (ns, dev) in [(host, "out"), (world, "in")] {
            ip(&format!("-n {ns} link set lo up"));
            ip(&format!("-n {ns} link set {dev} up"));
        }
        for address in [&format!("{HOST}/24"), "10.99.0.1/24", "2001:db8:99::1/64"] {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            ip(&format!("-n {host} addr add {address} dev out{nodad}"));
        }
        for (address, bits) in
            [(GOOD, 24), (OTHER, 24), (NAME_SERVER, 24), (PRIVATE, 24), (METADATA, 32), (GOOD_V6, 64)]
        {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            ip(&format!("-n {world} addr add {address}/{bits} dev in{nodad}"));
        }
        ip(&format!("-n {host} route add default via {GOOD}"));
        // What `ip netns exec` shows as the host's.
        fs::create_dir_all(made.etc()).expect("a directory of ours");
        fs::write(made.etc().join("resolv.conf"), format!("nameserver {NAME_SERVER}\n")).expect("written");
        fs::write(made.etc().join("hosts"), format!("127.0.0.1 localhost\n{GOOD} table.test\n"))
            .expect("written");
        made.serve();
        Some(made)
    }

    fn etc(&self) -> PathBuf {
        PathBuf::from("/etc/netns").join(&self.host)
    }

    /// Runs a function on a thread in one of the namespaces: sockets that it makes stay there.
    fn within<T: Send + 'static>(namespace: &str, f: impl FnOnce() -> T + Send + 'static) -> T {
        let file = File::open(format!("/run/netns/{namespace}")).expect("the namespace is there");
        let inside = move || {
            // SAFETY: setns takes two numbers, and changes this thread alone.
            assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
            f()
        };
        thread::spawn(inside).join().expect("works in the namespace")
    }

    /// Every server of the world.
    fn serve(&self) {
        World::within(&self.world, || {
            for port in PORTS {
                let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).expect("bound");
                thread::spawn(move || {
                    while let Ok((stream, _)) = listener.accept() {
                        thread::spawn(move || greet(stream));
                    }
                });
            }
            for address in [GOOD, OTHER, PRIVATE, METADATA, GOOD_V6] {
                let at = SocketAddr::new(address.parse().expect("an address"), 443);
                let socket = UdpSocket::bind(at).expect("bound");
                thread::spawn(move || {
                    let mut buffer = [0; 2048];
                    while let Ok((n, from)) = socket.recv_from(&mut buffer) {
                        let _ = socket.send_to(&[b"echo ", &buffer[..n]].concat(), from);
                    }
                });
            }
            let names = UdpSocket::bind((NAME_SERVER, 53)).expect("bound");
            thread::spawn(move || {
                let mut buffer = [0; 512];
                while let Ok((n, from)) = names.recv_from(&mut buffer) {
                    let _ = names.send_to(&answer(&buffer[..n]), from);
                }
            });
        });
    }

    /// `runsc do OPTIONS -- python3 -c SCRIPT` on the host.
    fn command(&self, who: Who, options: &[&str], program: &[&str]) -> Command {
        let mut inner = native_command(who, runnable(runsc(), who).as_os_str());
        inner.arg("do").args(options).arg("--").args(program);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host]).arg(inner.get_program()).args(inner.get_args());
        command.env_clear();
        for (key, value) in inner.get_envs() {
            if let Some(value) = value {
                command.env(key, value);
            }
        }
        command.current_dir(self.dir.path());
        command
    }

    fn python(&self, who: Who, options: &[&str], script: &str) -> Outcome {
        let script = format!("{PRELUDE}\n{script}");
        run(&mut self.command(who, options, &["python3", "-c", &script]), LIMIT)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for namespace in [&self.host, &self.world] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
        let _ = fs::remove_dir_all(self.etc());
    }
}

/// One connection: `big` is answered with much, anything else with itself.
fn greet(mut stream: TcpStream) {
    let _ = stream.write_all(b"hello\n");
    let mut buffer = [0; 256];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if buffer.starts_with(b"GET ") {
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n");
            return;
        }
        if buffer.starts_with(b"big") {
            let data: Vec<u8> = (0..BIG).map(|at| (at % 251) as u8).collect();
            let _ = stream.write_all(&data);
            return;
        }
        if stream.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

/// The name server's answer to a question.
fn answer(question: &[u8]) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut at = 12;
    while let Some(&len) = question.get(at).filter(|len| **len > 0) {
        labels.push(String::from_utf8_lossy(&question[at + 1..at + 1 + usize::from(len)]).to_lowercase());
        at += 1 + usize::from(len);
    }
    let kind = question[at + 2];
    let addresses: &[&str] = match labels.join(".").as_str() {
        "good.test" | "deep.sub.wild.test" => &[GOOD, GOOD_V6],
        "other.test" => &[OTHER],
        "rebind.test" => &[PRIVATE, "127.0.0.1", METADATA, "::1", "fd00::1", "::ffff:10.99.0.2"],
        _ => &[],
    };
    let mut out = question[..at + 5].to_vec();
    out[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
    for address in addresses {
        let bytes = match (address.parse().expect("an address"), kind) {
            (IpAddr::V4(ip), 1) => ip.octets().to_vec(),
            (IpAddr::V6(ip), 28) => ip.octets().to_vec(),
            _ => continue,
        };
        out[7] += 1;
        out.extend_from_slice(&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 1, 0, bytes.len() as u8]);
        out.extend_from_slice(&bytes);
    }
    out
}

/// What the scripts are written with.
const PRELUDE: &str = r#"
import array, errno, os, select, socket, sys
def name(e):
    return errno.errorcode.get(e.errno, e.errno) if not isinstance(e, socket.gaierror) else 'no such name'
def tcp(host, port):
    try:
        family = socket.AF_INET6 if ':' in host else socket.AF_INET
        s = socket.socket(family); s.settimeout(10); s.connect((host, port))
        return s.recv(6).decode().strip()
    except OSError as e: return name(e)
def udp(host, port, connected=False):
    try:
        family = socket.AF_INET6 if ':' in host else socket.AF_INET
        s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(10)
        if connected: s.connect((host, port)); s.send(b'x'); return s.recv(99).decode()
        s.sendto(b'x', (host, port)); data, who = s.recvfrom(99)
        return f'{data.decode()} from {who[0]}'
    except OSError as e: return name(e)
def by_name(host, port):
    try:
        s = socket.create_connection((host, port), 10); return s.recv(6).decode().strip()
    except OSError as e: return name(e)
"#;

fn everybody() -> [Who; 2] {
    [Who::Caller, Who::Nobody]
}

fn assert_out(outcome: &Outcome, expected: &str) {
    assert_eq!(outcome.out(), expected, "{}", outcome.text());
}

#[test]
fn a_name_is_reached_and_nothing_else() {
    let Some(world) = World::new() else { return };
    let script = format!(
        "print(tcp('{GOOD}', 443))
for host in ('good.test', 'GOOD.test', 'other.test', 'table.test'): print(host, by_name(host, 443), by_name(host, 80))
print(tcp('{GOOD}', 443), tcp('{GOOD}', 80), tcp('{OTHER}', 443), tcp('::ffff:{GOOD}', 443), tcp('::ffff:{OTHER}', 443))
print(tcp('{GOOD_V6}', 443), tcp('{GOOD_V6}', 80))
for host in ('{PRIVATE}', '{METADATA}', '::ffff:{PRIVATE}', '{HOST}', '{NAME_SERVER}', '2001:db8:99::1'): print(tcp(host, 443), udp(host, 443), udp(host, 443, True))
print(tcp('0.0.0.0', 443), tcp('::', 443), tcp('127.0.0.1', 443), tcp('::1', 443))
print(udp('{GOOD}', 443), '|', udp('{GOOD}', 443, True), '|', udp('{GOOD}', 80), udp('{NAME_SERVER}', 53))
"
    );
    let expected = format!(
        "ENETUNREACH
good.test hello ENETUNREACH
GOOD.test hello ENETUNREACH
other.test no such name no such name
table.test hello ENETUNREACH
hello ENETUNREACH ENETUNREACH hello ENETUNREACH
hello ENETUNREACH
{}ECONNREFUSED ECONNREFUSED ECONNREFUSED ECONNREFUSED
echo x from {GOOD} | echo x | ENETUNREACH ENETUNREACH
",
        "ENETUNREACH ENETUNREACH ENETUNREACH\n".repeat(6)
    );
    for who in everybody() {
        let outcome = world.python(who, &["-q", "--allow-net", "good.test:443"], &script);
        assert_out(&outcome, &expected);
    }
}

#[test]
fn names_that_lead_to_private_places_do_not_resolve() {
    let Some(world) = World::new() else { return };
    let script = format!(
        "print(by_name('rebind.test', 443), by_name('deep.sub.wild.test', 443), by_name('wild.test', 443))
print(tcp('{PRIVATE}', 443), tcp('{METADATA}', 443), tcp('127.0.0.1', 443))"
    );
    let options =
        ["-q", "--allow-net", "rebind.test", "--allow-net", "*.wild.test", "--allow-net", "0.0.0.0/0:80"];
    assert_out(
        &world.python(Who::Caller, &options, &script),
        "no such name hello no such name\nENETUNREACH ENETUNREACH ECONNREFUSED\n",
    );
    // Where a rule names the private network, the name leads there.
    let options = ["-q", "--allow-net", "rebind.test:443", "--allow-net", "10.99.0.0/16:443"];
    assert_out(
        &world.python(Who::Caller, &options, &script),
        "hello no such name no such name\nhello ENETUNREACH ECONNREFUSED\n",
    );
}

#[test]
fn without_a_word_of_the_policy_there_is_no_way_out() {
    let Some(world) = World::new() else { return };
    let script = format!(
        "print(by_name('good.test', 443), tcp('{GOOD}', 443), udp('{GOOD}', 443), udp('{GOOD}', 443, True), tcp('{GOOD_V6}', 443))"
    );
    let outcome = world.python(Who::Caller, &["-v"], &script);
    assert_out(&outcome, "no such name ENETUNREACH ENETUNREACH ENETUNREACH ENETUNREACH\n");
    let told = outcome.err();
    for words in [
        "= ENETUNREACH by python3",
        "203.0.113.2:443: the network policy does not name the address",
        "allow = [\"203.0.113.2:443\"]",
        "`--allow-net 203.0.113.2:443` to the command line",
        "allow = [\"[2001:db8:99::2]:443\"]",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[test]
fn a_refusal_names_the_name() {
    let Some(world) = World::new() else { return };
    fs::write(
        world.dir.path().join("p.toml"),
        "extends = [\"untrusted\"]\n[network]\nallow = [\"good.test:443\"]\n",
    )
    .expect("written");
    let script = "by_name('other.test', 443), by_name('good.test', 443), by_name('good.test', 80)";
    let told = world.python(Who::Caller, &["-v", "--policy", "p.toml"], script).err();
    for words in [
        "other.test: the network policy does not name the host",
        "allow = [\"other.test\"]",
        "good.test:80 (203.0.113.2): the network policy does not name the address",
        "allow = [\"good.test:80\"]",
        "at the end of p.toml",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[test]
fn sockets_that_lead_out_behave_as_sockets() {
    let Some(world) = World::new() else { return };
    let script = format!(
        r#"
s = socket.socket(); s.setblocking(False)
print(errno.errorcode[s.connect_ex(('{GOOD}', 443))])
p = select.epoll(); p.register(s, select.EPOLLOUT | select.EPOLLIN | select.EPOLLET)
while not any(ev & select.EPOLLOUT for _, ev in p.poll(10)): pass
print(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), s.getpeername(), s.getsockname()[0])
print(s.connect_ex(('{GOOD}', 443)), errno.errorcode[s.connect_ex(('{GOOD}', 443))])
s.setblocking(True); print(s.recv(3, socket.MSG_PEEK), s.recv(6, socket.MSG_WAITALL))
try: s.recv(1, socket.MSG_DONTWAIT)
except OSError as e: print(name(e))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
s.sendall(b'ping'); print(s.recv(4, socket.MSG_WAITALL))
s.sendall(b'big'); data = b''
while len(data) < {BIG}: data += s.recv(1 << 20)
print(all(data[i] == i % 251 for i in range(0, {BIG}, 997)), s.recv(1))
s.close()
s = socket.create_connection(('{GOOD}', 443)); s.recv(6); s.shutdown(socket.SHUT_WR); print(s.recv(1))
try: s.send(b'x')
except OSError as e: print(name(e))
print(tcp('{GOOD}', 81))
s = socket.socket(); s.setblocking(False); s.connect_ex(('{GOOD}', 81))
select.select([], [s], [], 10); print(errno.errorcode[s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)])
s = socket.socket()
try: s.sendto(b'x', 0x20000000, ('{OTHER}', 443))
except OSError as e: print('fast open', name(e))
try: s.sendto(b'x', 0x20000000, ('{GOOD}', 443))
except OSError as e: print('fast open', name(e))
s = socket.socket(); s.bind(('127.0.0.1', 0))
try: s.connect(('{GOOD}', 443))
except OSError as e: print('from loopback', name(e))
# Passed on, it is what it was, and no more.
a, b = socket.socketpair(); sys.stdout.flush(); pid = os.fork()
if pid == 0:
    _, anc, _, _ = b.recvmsg(1, 64)
    t = socket.socket(fileno=array.array('i', anc[0][2])[0]); print(t.recv(6))
    print(errno.errorcode[t.connect_ex(('{OTHER}', 443))])
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect(('{GOOD}', 443))
    try: u.sendto(b'x', ('{OTHER}', 443))
    except OSError as e: print(name(e))
    u.send(b'y'); print(u.recv(9)); sys.stdout.flush(); os._exit(0)
t = socket.create_connection(('{GOOD}', 443))
socket.send_fds(a, [b'x'], [t.fileno()]); t.close(); os.waitpid(pid, 0)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(40): u.sendto(b'%d' % n, ('{GOOD}', 443)); assert u.recv(99) == b'echo %d' % n
print(u.getsockname()[0])
# Watched since before there is anything to watch.
for kind, first in ((socket.SOCK_STREAM, b'hello'), (socket.SOCK_DGRAM, b'echo')):
    s = socket.socket(socket.AF_INET, kind); s.setblocking(False); p = select.epoll()
    p.register(s, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET); p.poll(0)
    if kind == socket.SOCK_STREAM: s.connect_ex(('{GOOD}', 443))
    else: s.sendto(b'x', ('{GOOD}', 443))
    seen = 0
    while not seen & select.EPOLLIN:
        got = p.poll(10); assert got, 'nothing came'
        seen |= got[0][1]
    print(s.recv(99).startswith(first))
print('end')
"#
    );
    let expected = format!(
        "EINPROGRESS\n0 ('{GOOD}', 443) {HOST}\n0 EISCONN\nb'hel' b'hello\\n'\nEAGAIN\nb'ping'\nTrue b''\nb''\nEPIPE\n\
        ECONNREFUSED\nECONNREFUSED\nfast open ENOTSUP\nfast open ENOTSUP\nfrom loopback EINVAL\nb'hello\\n'\nEISCONN\n\
        ENETUNREACH\nb'echo y'\n0.0.0.0\nTrue\nTrue\nend\n"
    );
    for who in everybody() {
        assert_out(&world.python(who, &["-q", "--allow-net", &format!("{GOOD}/32")], &script), &expected);
    }
}

#[test]
fn other_resolvers_find_the_name_too() {
    let Some(world) = World::new() else { return };
    let run_it = |program: &[&str]| {
        run(&mut world.command(Who::Caller, &["-q", "--allow-net", "good.test"], program), LIMIT)
    };
    if have("curl") {
        let fetch = "curl -s --http0.9 http://good.test/ | tail -n 1; curl -s http://other.test/; echo $?";
        assert_out(&run_it(&["sh", "-c", fetch]), "ok\n6\n");
    }
    if have("node") {
        let get = |host: &str| {
            format!(
                "require('net').connect(443, '{host}').on('data', d => {{ process.stdout.write(d); process.exit() }})
                 .on('error', e => {{ console.log(e.code); process.exit() }})"
            )
        };
        assert_out(&run_it(&["node", "-e", &get("good.test")]), "hello\n");
        assert_out(&run_it(&["node", "-e", &get("other.test")]), "ENOTFOUND\n");
    }
    if have("musl-gcc") {
        let source = world.dir.path().join("get.c");
        fs::write(&source, STATIC_PROGRAM).expect("written");
        let made = Command::new("musl-gcc")
            .args(["-static", "-o", "get", "get.c"])
            .current_dir(world.dir.path())
            .status();
        assert!(made.is_ok_and(|status| status.success()));
        assert_out(&run_it(&["./get", "good.test"]), "hello\n");
        assert_out(&run_it(&["./get", "other.test"]), "no such name\n");
    }
}

const STATIC_PROGRAM: &str = r#"
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    if (getaddrinfo(argv[argc - 1], "443", &hints, &found)) { puts("no such name"); return 0; }
    char text[6];
    for (; found; found = found->ai_next) {
        int s = socket(found->ai_family, SOCK_STREAM, 0);
        if (!connect(s, found->ai_addr, found->ai_addrlen) && read(s, text, 6) == 6) {
            fwrite(text, 1, 6, stdout);
            return 0;
        }
    }
    puts("not reached");
    return 0;
}
"#;

#[test]
fn a_published_port_leads_to_a_listener_inside() {
    let Some(world) = World::new() else { return };
    for who in everybody() {
        let script = format!(
            "{PRELUDE}
l = socket.socket(); l.bind(('0.0.0.0', 80)) if os.getuid() == 0 else None
l = socket.socket(); l.bind(('127.0.0.1', 8000)); l.listen()
print('ready', flush=True)
s, who = l.accept(); print(who[0], s.getsockname()); s.sendall(b'inside'); print(s.recv(9)); s.close()
print(tcp('{GOOD}', 443))"
        );
        let options = ["-q", "--publish", "8080:8000", "--publish", &format!("{HOST}:8081:9")];
        let mut command = world.command(who, &options, &["python3", "-c", &script]);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("started");
        let mut out = child.stdout.take().expect("piped");
        let mut ready = [0; 6];
        out.read_exact(&mut ready).expect("it says that it listens");
        let said = World::within(&world.world, || {
            // Nobody listens behind this one: it ends without a byte.
            let mut deaf = TcpStream::connect((HOST, 8081)).expect("the host listens");
            assert!(!matches!(deaf.read(&mut [0; 1]), Ok(1)));
            let mut stream = TcpStream::connect((HOST, 8080)).expect("connected");
            let mut said = [0; 6];
            stream.read_exact(&mut said).expect("an answer");
            stream.write_all(b"outside").expect("sent");
            said
        });
        assert_eq!(&said, b"inside");
        let mut rest = String::new();
        out.read_to_string(&mut rest).expect("its output");
        child.wait().expect("it ends");
        assert_eq!(rest, format!("{GOOD} ('127.0.0.1', 8000)\nb'outside'\nENETUNREACH\n"));
    }
    let taken = World::within(&world.host, || TcpListener::bind((HOST, 8082)).expect("bound"));
    let outcome =
        run(&mut world.command(Who::Caller, &["--publish", &format!("{HOST}:8082:1")], &["true"]), LIMIT);
    assert_eq!(outcome.code, Some(125), "{}", outcome.text());
    assert!(outcome.err().contains("cannot listen on 203.0.113.1:8082: Address already in use"));
    drop(taken);
}

#[test]
fn the_hosts_network_is_all_of_it() {
    let Some(world) = World::new() else { return };
    let service = World::within(&world.host, || TcpListener::bind(("127.0.0.1", 7000)).expect("bound"));
    thread::spawn(move || {
        while let Ok((stream, _)) = service.accept() {
            thread::spawn(move || greet(stream));
        }
    });
    let script = format!(
        "print(tcp('{GOOD}', 443), tcp('{PRIVATE}', 80), by_name('other.test', 443), udp('{OTHER}', 443), tcp('127.0.0.1', 7000), tcp('127.0.0.1', 7001))
l = socket.socket(); l.bind(('127.0.0.1', 7000)); l.listen(); print(tcp('127.0.0.1', 7002))"
    );
    let outcome = world.python(Who::Caller, &["-q", "--net", "host"], &script);
    assert_out(
        &outcome,
        &format!("hello hello hello echo x from {OTHER} hello ECONNREFUSED\nECONNREFUSED\n"),
    );
    let only = ["-q", "--allow-net", "127.0.0.1:7000"];
    let outcome = world.python(Who::Caller, &only, "print(tcp('127.0.0.1', 7000), tcp('127.0.0.1', 7001))");
    assert_out(&outcome, "hello ECONNREFUSED\n");
}

#[test]
fn a_flood_of_sockets_is_bounded_and_harms_nobody() {
    let Some(world) = World::new() else { return };
    let script = format!(
        "import resource, threading
resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
held = []
try:
    while len(held) < 3000:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('{GOOD}', 443)); held.append(s)
except OSError as e: pass
print(len(held) > 100)
held.clear()
print(tcp('{GOOD}', 443))
for n in range(300):
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.sendto(os.urandom(n), ('127.0.0.53', 53))
print(tcp('{GOOD}', 443))"
    );
    let started = Instant::now();
    let outcome = world.python(Who::Nobody, &["-q", "--allow-net", GOOD], &script);
    assert_out(&outcome, "True\nhello\nhello\n");
    assert!(started.elapsed() < LIMIT);
}
