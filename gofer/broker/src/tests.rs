//! The broker as a whole, over its socket, with a name server of the test's own.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use gofer_protocol::net::{NetReply, NetRequest, Transport, MAX_NET_MESSAGE, NET_VERSION};
use gofer_protocol::{Channel, Fds, Received, Writer};
use linux_abi::Errno;

use crate::{Broker, BrokerConfig};

struct Case {
    channel: Channel,
    buffer: Vec<u8>,
    broker: Option<JoinHandle<Result<(), Errno>>>,
}

impl Case {
    fn new(allow: &[&str], servers: Vec<SocketAddr>) -> Case {
        let allow = allow.iter().map(|rule| policies::read::destination(rule).unwrap()).collect();
        let broker = Broker::for_tests(&BrokerConfig { allow, everything: false }, servers);
        let (ours, theirs) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let broker = std::thread::spawn(move || broker.serve(theirs));
        let case =
            Case { channel: Channel::new(ours), buffer: vec![0; MAX_NET_MESSAGE], broker: Some(broker) };
        case.send(&NetRequest::Hello { version: NET_VERSION });
        case
    }

    fn send(&self, request: &NetRequest<'_>) {
        let mut w = Writer::default();
        request.encode(&mut w);
        self.channel.send(w.as_bytes(), &[]).unwrap();
    }

    fn receive(&mut self) -> (NetReply<'_>, Option<OwnedFd>) {
        let mut fds = Fds::new();
        let Received::Message(len) = self.channel.recv(&mut self.buffer, &mut fds).unwrap() else {
            panic!("the broker is gone");
        };
        (NetReply::decode(&self.buffer[..len]).unwrap(), fds.pop())
    }

    fn connect(&mut self, transport: Transport, to: &str) -> Result<OwnedFd, String> {
        self.send(&NetRequest::Connect { id: 5, transport, to: to.parse().unwrap() });
        match self.receive() {
            (NetReply::Connected { id: 5 }, Some(fd)) => Ok(fd),
            (NetReply::Denied { name, .. }, None) => Err(format!("denied {}", String::from_utf8_lossy(name))),
            other => Err(format!("{other:?}")),
        }
    }

    /// The answer's code and addresses, and what was denied.
    fn resolve(&mut self, name: &str, kind: u16) -> (u8, usize, String) {
        self.send(&NetRequest::Resolve { id: 9, query: &query(name, kind) });
        match self.receive() {
            (NetReply::Resolved { id: 9, answer, denied }, None) => {
                (answer[3] & 15, usize::from(answer[7]), String::from_utf8_lossy(denied).into_owned())
            }
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let (unused, _) = Channel::pair().unwrap();
        drop(std::mem::replace(&mut self.channel, unused));
        let ended = self.broker.take().unwrap().join();
        assert!(std::thread::panicking() || matches!(ended, Ok(Ok(()))), "{ended:?}");
    }
}

fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut out = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    out
}

/// A name server that says `addresses` to every question of IPv4; over UDP it says that this does not fit.
fn server(addresses: &'static [[u8; 4]], cut: bool) -> SocketAddr {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            break (udp, tcp);
        }
    };
    let at = udp.local_addr().unwrap();
    let answer = move |question: &[u8], cut: bool| {
        let mut out = question.to_vec();
        out[2] = if cut { 0x82 } else { 0x80 };
        if !cut && question[question.len() - 3] == 1 {
            out[7] = addresses.len() as u8;
            for address in addresses {
                out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4]);
                out.extend_from_slice(address);
            }
        }
        out
    };
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((n, from)) = udp.recv_from(&mut buffer) {
            // Somebody else's answer comes first, and is not taken.
            let mut wrong = answer(&buffer[..n], cut);
            wrong[0] ^= 1;
            udp.send_to(&wrong, from).unwrap();
            udp.send_to(&answer(&buffer[..n], cut), from).unwrap();
        }
    });
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        while let Ok((mut s, _)) = tcp.accept() {
            let mut len = [0; 2];
            s.read_exact(&mut len).unwrap();
            let mut question = vec![0; usize::from(u16::from_be_bytes(len))];
            s.read_exact(&mut question).unwrap();
            let out = answer(&question, false);
            s.write_all(&(out.len() as u16).to_be_bytes()).unwrap();
            // In two pieces.
            s.write_all(&out[..5]).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
            s.write_all(&out[5..]).unwrap();
        }
    });
    at
}

#[test]
fn an_address_that_is_allowed_is_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string();
    let mut case = Case::new(&[&to], vec![]);
    let socket = std::net::TcpStream::from(case.connect(Transport::Tcp, &to).unwrap());
    let (_, from) = listener.accept().unwrap();
    assert_eq!(socket.local_addr().unwrap(), from);
    for other in ["127.0.0.1:1", "0.0.0.0:80", "[::]:80", "[::ffff:127.0.0.2]:80", "203.0.113.1:80"] {
        for transport in [Transport::Tcp, Transport::Udp] {
            assert_eq!(case.connect(transport, other).unwrap_err(), "denied ", "{other}");
        }
    }
}

#[test]
fn a_name_is_good_for_what_it_resolved_to_and_no_more() {
    let servers =
        vec![server(&[[203, 0, 113, 5], [127, 0, 0, 1], [10, 0, 0, 1], [169, 254, 169, 254]], false)];
    let mut case = Case::new(&["example.org:443"], servers);
    assert_eq!(case.connect(Transport::Udp, "203.0.113.5:443").unwrap_err(), "denied ");
    // The private ones are left out.
    assert_eq!(case.resolve("Example.org", 1), (0, 1, String::new()));
    assert_eq!(case.resolve("example.org", 28), (0, 0, String::new()));
    assert_eq!(case.resolve("example.org", 15), (0, 0, String::new()));
    assert_eq!(case.resolve("other.org", 1), (3, 0, "other.org".to_owned()));
    assert_eq!(case.resolve("www.example.org", 28), (3, 0, "www.example.org".to_owned()));
    assert_eq!(case.resolve("localhost", 1), (0, 1, String::new()));
    assert!(
        !matches!(case.connect(Transport::Udp, "203.0.113.5:443"), Err(why) if why.starts_with("denied"))
    );
    assert_eq!(case.connect(Transport::Udp, "203.0.113.5:80").unwrap_err(), "denied example.org");
    assert_eq!(case.connect(Transport::Udp, "127.0.0.1:443").unwrap_err(), "denied ");
    assert_eq!(case.connect(Transport::Udp, "10.0.0.1:443").unwrap_err(), "denied ");
}

#[test]
fn an_answer_in_a_private_network_is_believed_where_a_rule_names_that() {
    let servers = vec![server(&[[10, 0, 0, 1], [10, 0, 0, 2]], false)];
    let mut case = Case::new(&["example.org", "10.0.0.1:80"], servers);
    assert_eq!(case.resolve("example.org", 1), (0, 1, String::new()));
}

#[test]
fn a_long_answer_comes_over_tcp() {
    let mut case = Case::new(&["*.example.org"], vec![server(&[[203, 0, 113, 5]; 1], true)]);
    assert_eq!(case.resolve("a.b.example.org", 1), (0, 1, String::new()));
}

#[test]
fn the_next_server_is_asked_where_one_is_not_there() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut case = Case::new(&["example.org"], vec![gone, server(&[[203, 0, 113, 5]], false)]);
    assert_eq!(case.resolve("example.org", 1), (0, 1, String::new()));
    let mut case = Case::new(&["example.org"], vec![gone]);
    assert_eq!(case.resolve("example.org", 1), (2, 0, String::new()));
}

#[test]
fn nonsense_ends_the_connection() {
    for bytes in [&b"\xff"[..], &[2, 0, 0], &[1, 9, 0, 0, 0]] {
        let case = Case::new(&[], vec![]);
        case.channel.send(bytes, &[]).unwrap();
        let mut buffer = [0; 64];
        assert!(!matches!(case.channel.recv(&mut buffer, &mut Fds::new()), Ok(Received::Message(_))));
    }
}
