//! As much of the name system's messages (RFC 1035) as the broker needs: one question of a guest, our own question to a
//! name server, the addresses in its answer, our answer to the guest. Nothing of a guest's message goes out and nothing
//! of a server's comes in but names of ordinary letters and addresses.
//!
//! A codec of our own, since what a crate for all of the name system adds is what the process that holds the
//! allow-list must not have: decoders of every record type, fed by the network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name in labels (RFC 1035, 2.3.4).
const MAX_NAME: usize = 255;
/// How many records of an answer are looked at, and how far aliases are followed.
const MAX_RECORDS: usize = 128;
const MAX_ALIASES: usize = 16;
/// How many addresses one answer passes on: fewer than fill 512 bytes, so that it never has to be cut short.
pub const MAX_ADDRESSES: usize = 12;

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;
const CLASS_IN: u16 = 1;
const RESPONSE: u16 = 0x8000;
const TRUNCATED: u16 = 0x0200;
const RECURSE: u16 = 0x0100;
const CAN_RECURSE: u16 = 0x0080;
const OPCODE: u16 = 0x7800;

/// What a message cannot be read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

type Result<T> = std::result::Result<T, Malformed>;

/// Answer codes (RFC 1035, 4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NoSuchName = 3,
    NotImplemented = 4,
}

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    V4,
    V6,
    /// Something else: there is none of it.
    Other,
}

/// A name: its labels as bytes, in the letters that it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Vec<u8>);

/// A guest's question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    id: u16,
    recursion: bool,
    kind_number: u16,
    pub name: Name,
    pub kind: Kind,
}

/// What a name server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The rest is to be had over TCP.
    CutShort,
    Addresses {
        list: Vec<IpAddr>,
        ttl: u32,
    },
    NoSuchName,
    /// It would not, or could not.
    Failure,
}

impl Name {
    /// In lower case, without a dot at the end, of letters, digits, `-` and `_` only.
    pub fn text(&self) -> Option<String> {
        let mut out = String::new();
        let mut rest = &self.0[..];
        while let Some((&len, tail)) = rest.split_first() {
            if len == 0 {
                break;
            }
            let (label, tail) = tail.split_at_checked(usize::from(len))?;
            if !out.is_empty() {
                out.push('.');
            }
            for byte in label {
                if !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
                    return None;
                }
                out.push(char::from(byte.to_ascii_lowercase()));
            }
            rest = tail;
        }
        (!out.is_empty()).then_some(out)
    }

    /// Names differ not by the case of letters.
    fn same(&self, other: &Name) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

/// Reads a message from its begin; names may point back into it.
struct Reader<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n).ok_or(Malformed)?;
        let got = self.all.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(got)
    }

    fn byte(&mut self) -> Result<u8> {
        self.take(1)?.first().copied().ok_or(Malformed)
    }

    fn u16(&mut self) -> Result<u16> {
        let bytes: [u8; 2] = self.take(2)?.try_into().map_err(|_| Malformed)?;
        Ok(u16::from_be_bytes(bytes))
    }

    fn u32(&mut self) -> Result<u32> {
        let bytes: [u8; 4] = self.take(4)?.try_into().map_err(|_| Malformed)?;
        Ok(u32::from_be_bytes(bytes))
    }

    /// A name; each pointer must lead further back than the one before, so that there is an end.
    fn name(&mut self) -> Result<Name> {
        let mut out = Vec::new();
        let mut after = None;
        let mut lowest = self.at;
        loop {
            let len = self.byte()?;
            match len {
                0 => break,
                1..=63 => {
                    out.push(len);
                    out.extend_from_slice(self.take(usize::from(len))?);
                }
                0xc0.. => {
                    let to = usize::from(u16::from_be_bytes([len & 0x3f, self.byte()?]));
                    after.get_or_insert(self.at);
                    if to >= lowest {
                        return Err(Malformed);
                    }
                    lowest = to;
                    self.at = to;
                }
                _ => return Err(Malformed),
            }
            if out.len() >= MAX_NAME {
                return Err(Malformed);
            }
        }
        out.push(0);
        if let Some(after) = after {
            self.at = after;
        }
        Ok(Name(out))
    }
}

/// Reads what a guest sent to its name server. `Err` has the answer, where there is anything to answer to.
pub fn question(message: &[u8]) -> std::result::Result<Question, Option<Vec<u8>>> {
    let mut r = Reader { all: message, at: 0 };
    let (Ok(id), Ok(flags)) = (r.u16(), r.u16()) else { return Err(None) };
    if flags & RESPONSE != 0 {
        return Err(None);
    }
    let refuse = |code| Err(Some(header(id, RESPONSE | code as u16, 0, 0)));
    if flags & OPCODE != 0 {
        return refuse(Code::NotImplemented);
    }
    match read_question(&mut r, id, flags) {
        Ok(question) => Ok(question),
        Err(Malformed) => refuse(Code::FormatError),
    }
}

fn read_question(r: &mut Reader<'_>, id: u16, flags: u16) -> Result<Question> {
    let counts = [r.u16()?, r.u16()?, r.u16()?, r.u16()?];
    let [1, 0, 0, extra @ (0 | 1)] = counts else { return Err(Malformed) };
    let start = r.at;
    let name = r.name()?;
    // A question's name comes first, so that there is nothing to point at.
    if r.at - start != name.0.len() {
        return Err(Malformed);
    }
    let (kind_number, class) = (r.u16()?, r.u16()?);
    if class != CLASS_IN {
        return Err(Malformed);
    }
    if extra == 1 {
        let (owner, kind) = (r.byte()?, r.u16()?);
        if owner != 0 || kind != TYPE_OPT {
            return Err(Malformed);
        }
        r.take(6)?;
        let len = r.u16()?;
        r.take(usize::from(len))?;
    }
    if r.at != r.all.len() {
        return Err(Malformed);
    }
    let kind = match kind_number {
        TYPE_A => Kind::V4,
        TYPE_AAAA => Kind::V6,
        _ => Kind::Other,
    };
    Ok(Question { id, recursion: flags & RECURSE != 0, kind_number, name, kind })
}

fn header(id: u16, flags: u16, questions: u16, answers: u16) -> Vec<u8> {
    [id, flags, questions, answers, 0, 0].iter().flat_map(|word| word.to_be_bytes()).collect()
}

impl Question {
    fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.name.0);
        out.extend_from_slice(&self.kind_number.to_be_bytes());
        out.extend_from_slice(&CLASS_IN.to_be_bytes());
    }

    /// Our question to a name server, of a number that nobody can guess.
    pub fn to_ask(&self, id: u16) -> Vec<u8> {
        let mut out = header(id, RECURSE, 1, 0);
        self.append(&mut out);
        out
    }

    /// Our answer to the guest.
    pub fn to_answer(&self, code: Code, addresses: &[IpAddr], ttl: u32) -> Vec<u8> {
        let list = &addresses[..addresses.len().min(MAX_ADDRESSES)];
        let asked = if self.recursion { RECURSE } else { 0 };
        let flags = RESPONSE | CAN_RECURSE | asked | code as u16;
        let mut out = header(self.id, flags, 1, list.len() as u16);
        self.append(&mut out);
        for ip in list {
            let (kind, bytes) = match ip {
                IpAddr::V4(ip) => (TYPE_A, ip.octets().to_vec()),
                IpAddr::V6(ip) => (TYPE_AAAA, ip.octets().to_vec()),
            };
            // The name is that of the question, right behind the header.
            out.extend_from_slice(&(0xc000 | HEADER as u16).to_be_bytes());
            out.extend_from_slice(&kind.to_be_bytes());
            out.extend_from_slice(&CLASS_IN.to_be_bytes());
            out.extend_from_slice(&ttl.to_be_bytes());
            out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
            out.extend_from_slice(&bytes);
        }
        out
    }

    /// Reads a name server's answer to [`Question::to_ask`]; `Err` where it is none, and the right one may yet come.
    pub fn read_answer(&self, id: u16, message: &[u8]) -> Result<Answer> {
        let mut r = Reader { all: message, at: 0 };
        let (got, flags) = (r.u16()?, r.u16()?);
        let [questions, answers, ..] = [r.u16()?, r.u16()?, r.u16()?, r.u16()?];
        if got != id || flags & (RESPONSE | OPCODE) != RESPONSE || questions != 1 {
            return Err(Malformed);
        }
        let (name, kind, class) = (r.name()?, r.u16()?, r.u16()?);
        if !name.same(&self.name) || kind != self.kind_number || class != CLASS_IN {
            return Err(Malformed);
        }
        if flags & TRUNCATED != 0 {
            return Ok(Answer::CutShort);
        }
        match flags & 0xf {
            0 => {}
            3 => return Ok(Answer::NoSuchName),
            _ => return Ok(Answer::Failure),
        }
        Ok(records(&mut r, answers).map_or(Answer::Failure, |records| self.follow(&records)))
    }

    /// The addresses at the end of the aliases.
    fn follow(&self, records: &[Record]) -> Answer {
        let mut target = &self.name;
        let mut ttl = u32::MAX;
        for _ in 0..MAX_ALIASES {
            let alias = records.iter().find_map(|record| match &record.data {
                Data::Alias(to) if record.owner.same(target) => Some((to, record.ttl)),
                _ => None,
            });
            let Some((to, seconds)) = alias else { break };
            ttl = ttl.min(seconds);
            target = to;
        }
        let mut list = Vec::new();
        for record in records.iter().filter(|record| record.owner.same(target)) {
            let Data::Address(ip) = record.data else { continue };
            let wanted = match self.kind {
                Kind::V4 => ip.is_ipv4(),
                Kind::V6 => ip.is_ipv6(),
                Kind::Other => false,
            };
            if wanted && list.len() < MAX_ADDRESSES && !list.contains(&ip) {
                ttl = ttl.min(record.ttl);
                list.push(ip);
            }
        }
        Answer::Addresses { ttl: if list.is_empty() { 0 } else { ttl }, list }
    }
}

struct Record {
    owner: Name,
    ttl: u32,
    data: Data,
}

enum Data {
    Address(IpAddr),
    Alias(Name),
}

fn records(r: &mut Reader<'_>, count: u16) -> Result<Vec<Record>> {
    let mut found = Vec::new();
    for _ in 0..usize::from(count).min(MAX_RECORDS) {
        let owner = r.name()?;
        let (kind, class, ttl, len) = (r.u16()?, r.u16()?, r.u32()?, usize::from(r.u16()?));
        let start = r.at;
        let bytes = r.take(len)?;
        let data = match kind {
            _ if class != CLASS_IN => continue,
            TYPE_A => <[u8; 4]>::try_from(bytes).map(|b| Data::Address(Ipv4Addr::from(b).into())),
            TYPE_AAAA => <[u8; 16]>::try_from(bytes).map(|b| Data::Address(Ipv6Addr::from(b).into())),
            TYPE_CNAME => {
                let mut inner = Reader { all: r.all, at: start };
                let to = inner.name()?;
                if inner.at != start + len {
                    return Err(Malformed);
                }
                Ok(Data::Alias(to))
            }
            _ => continue,
        };
        // The highest bit makes it zero (RFC 2181, 8).
        let ttl = if ttl > i32::MAX as u32 { 0 } else { ttl };
        found.push(Record { owner, ttl, data: data.map_err(|_| Malformed)? });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for label in name.split('.') {
            out.push(label.len() as u8);
            out.extend_from_slice(label.as_bytes());
        }
        out.push(0);
        out
    }

    fn asked(name: &str, kind: u16) -> Vec<u8> {
        let mut out = header(0x1234, RECURSE, 1, 0);
        out.extend_from_slice(&labels(name));
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&1u16.to_be_bytes());
        out
    }

    fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
        let mut out = owner.to_vec();
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&1u16.to_be_bytes());
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&(data.len() as u16).to_be_bytes());
        out.extend_from_slice(data);
        out
    }

    fn answered(question: &Question, id: u16, flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
        let mut out = header(id, RESPONSE | flags, 1, records.len() as u16);
        question.append(&mut out);
        records.iter().for_each(|record| out.extend_from_slice(record));
        out
    }

    #[test]
    fn a_guests_question() {
        let q = question(&asked("WWW.Example.org", 28)).unwrap();
        assert_eq!((q.name.text().unwrap().as_str(), q.kind), ("www.example.org", Kind::V6));
        // With EDNS as glibc sends it.
        let mut edns = asked("a.b", 1);
        edns[11] = 1;
        edns.extend_from_slice(&[0, 0, 41, 4, 176, 0, 0, 0, 0, 0, 0]);
        assert!(question(&edns).is_ok());
        edns.push(0);
        assert_eq!(question(&edns), Err(Some(header(0x1234, RESPONSE | 1, 0, 0))));
        // Names that only look like others.
        for odd in ["a b", "a\0b", "a/b", "ä"] {
            assert_eq!(question(&asked(odd, 1)).unwrap().name.text(), None, "{odd}");
        }
        let mut dotted = asked("aXb", 1);
        dotted[14] = b'.';
        assert_eq!(question(&dotted).unwrap().name.text(), None);
        // Pointers, answers, nothing.
        assert!(question(&header(1, RECURSE, 1, 0)).is_err());
        let mut pointer = header(1, RECURSE, 1, 0);
        pointer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
        assert!(question(&pointer).is_err());
        assert_eq!(question(&header(1, RESPONSE, 0, 0)), Err(None));
        assert_eq!(question(b"x"), Err(None));
    }

    #[test]
    fn an_answer_through_aliases() {
        let q = question(&asked("www.example.org", 1)).unwrap();
        let back = |text: &str| labels(text);
        let list = [
            record(&[0xc0, 12], 5, 300, &back("cdn.example.net")),
            record(&back("CDN.example.net"), 1, 60, &[203, 0, 113, 5]),
            record(&back("cdn.example.net"), 1, 600, &[203, 0, 113, 6]),
            record(&back("other.example.net"), 1, 1, &[10, 0, 0, 1]),
            record(&[0xc0, 12], 16, 1, b"\x01x"),
        ];
        let answer = q.read_answer(7, &answered(&q, 7, 0, &list));
        let expected = vec!["203.0.113.5".parse().unwrap(), "203.0.113.6".parse().unwrap()];
        assert_eq!(answer, Ok(Answer::Addresses { list: expected, ttl: 60 }));
        assert_eq!(q.read_answer(8, &answered(&q, 7, 0, &list)), Err(Malformed));
        let other = question(&asked("www.example.com", 1)).unwrap();
        assert_eq!(other.read_answer(7, &answered(&q, 7, 0, &list)), Err(Malformed));
        assert_eq!(q.read_answer(7, &answered(&q, 7, TRUNCATED, &list)), Ok(Answer::CutShort));
        assert_eq!(q.read_answer(7, &answered(&q, 7, 3, &[])), Ok(Answer::NoSuchName));
        assert_eq!(q.read_answer(7, &answered(&q, 7, 5, &[])), Ok(Answer::Failure));
        // An alias of itself has an end.
        let circle = [record(&[0xc0, 12], 5, 300, &[0xc0, 12])];
        assert_eq!(
            q.read_answer(7, &answered(&q, 7, 0, &circle)),
            Ok(Answer::Addresses { list: vec![], ttl: 0 })
        );
    }

    #[test]
    fn our_own_answer_can_be_read() {
        let q = question(&asked("a.example", 28)).unwrap();
        let list: Vec<IpAddr> =
            (0..40).map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n).into()).collect();
        let bytes = q.to_answer(Code::NoError, &list, 30);
        assert!(bytes.len() <= 512);
        let read = q.read_answer(0x1234, &bytes);
        assert_eq!(read, Ok(Answer::Addresses { list: list[..MAX_ADDRESSES].to_vec(), ttl: 30 }));
    }

    #[test]
    fn bent_and_random_messages_are_only_refused() {
        let q = question(&asked("www.example.org", 1)).unwrap();
        let good = answered(
            &q,
            7,
            0,
            &[
                record(&[0xc0, 12], 5, 300, &labels("cdn.example.net")),
                record(&[0xc0, 0x2d], 1, 60, &[203, 0, 113, 5]),
            ],
        );
        let query = asked("www.example.org", 1);
        let mut state = 88_172_645_463_325_252u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..200_000 {
            for original in [&good, &query] {
                let mut bent = original.clone();
                for _ in 0..1 + random() % 4 {
                    let at = random() as usize % bent.len();
                    bent[at] = if random() % 3 == 0 { 0xc0 } else { random() as u8 };
                }
                bent.truncate(random() as usize % (bent.len() + 40));
                let _ = question(&bent);
                let _ = q.read_answer(7, &bent);
            }
        }
    }

    #[test]
    fn the_longest_name_and_one_more() {
        let long = [&"a".repeat(63)[..], &"b".repeat(63), &"c".repeat(63), &"d".repeat(61)].join(".");
        assert!(question(&asked(&long, 1)).is_ok());
        assert!(question(&asked(&format!("{long}e"), 1)).is_err());
    }
}
