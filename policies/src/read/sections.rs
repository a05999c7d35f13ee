//! Reads a policy and its sections but `[syscalls]`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::keys;
use super::reader::{cut, Reader};
use super::syscalls;
use super::tree::{Node, Value};
use super::Extends;
use crate::constants;
use crate::model::{
    Cache, Ci, Destination, DestinationHost, Env, Files, HostPath, Limits, Located, Mount, MountMode,
    Network, Policy, Process, Publish,
};
use crate::units;

pub(super) fn policy(reader: &mut Reader<'_>, root: &Node) -> (Policy, Vec<Extends>) {
    let table = reader.table(root, &keys::TOP);
    let policy = Policy {
        description: table.get("description").and_then(|node| string(reader, node, "a description")),
        sources: Vec::new(),
        syscalls: table.get("syscalls").map(|node| syscalls::syscalls(reader, node)).unwrap_or_default(),
        files: table.get("files").map(|node| files(reader, node)).unwrap_or_default(),
        network: table.get("network").map(|node| network(reader, node)).unwrap_or_default(),
        limits: table.get("limits").map(|node| limits(reader, node)).unwrap_or_default(),
        env: table.get("env").map(|node| env(reader, node)).unwrap_or_default(),
        process: table.get("process").map(|node| process(reader, node)).unwrap_or_default(),
        ci: table.get("ci").map(|node| ci(reader, node)).unwrap_or_default(),
    };
    let extends =
        reader.all(table.get("extends"), "a list of policies, such as [\"untrusted\"]", |reader, node| {
            let name = string(reader, node, "a shipped profile or a relative path")?;
            Some(Extends { name, place: reader.place(&node.span) })
        });
    (policy, extends)
}

fn string(reader: &mut Reader<'_>, node: &Node, expected: &str) -> Option<Located<String>> {
    reader.parsed(node, expected, |text| Ok(text.to_owned()))
}

fn files(reader: &mut Reader<'_>, node: &Node) -> Files {
    let table = reader.table(node, &keys::FILES);
    Files {
        root: table.get("root").and_then(|node| reader.host_path(node)),
        overlay: table.get("overlay").and_then(|node| reader.word(node)),
        hide: reader.all(table.get("hide"), "a list of paths, such as [\"~/.ssh\"]", hidden),
        mounts: reader.all(table.get("mount"), "a list of mounts, written `[[files.mount]]`", mount),
    }
}

fn hidden(reader: &mut Reader<'_>, node: &Node) -> Option<Located<HostPath>> {
    let Value::String(text) = &node.value else { return reader.host_path(node) };
    if text.starts_with('~') && reader.context.home.is_none() {
        // Where there is no home there is nothing in it to be hidden.
        reader.warning(&node.span, format!("`{}`: no home directory is known", cut(text)), None);
        return None;
    }
    let path = reader.host_path(node)?;
    if path.path.parent().is_none() {
        reader.error(&node.span, "`/` cannot be hidden", Some("name a path below it".to_owned()));
        return None;
    }
    Some(path)
}

fn mount(reader: &mut Reader<'_>, node: &Node) -> Option<Mount> {
    let table = reader.table(node, &keys::MOUNT);
    let source = table.get("source").and_then(|node| reader.host_path(node));
    let at = table.get("at").and_then(|node| reader.inner_path(node));
    let mode = table.get("mode").and_then(|node| reader.word(node));
    let size = table.get("size").and_then(|node| size(reader, node));
    if table.get("mode").is_none() {
        let hint = "add `mode = \"ro\"`, or rw, tmpfs, overlay";
        reader.error(&node.span, "the mount has no `mode`", Some(hint.to_owned()));
    }
    let mode = mode?;
    match (mode.value, table.get("source"), table.get("at")) {
        (MountMode::Tmpfs, Some(source), _) => {
            reader.error(&source.span, "a tmpfs begins empty and has no `source`", None);
        }
        (MountMode::Tmpfs, None, None) => {
            reader.error(&node.span, "the mount has no `at`", Some("add `at = \"/…\"`".to_owned()));
        }
        (MountMode::Ro | MountMode::Rw | MountMode::Overlay, None, _) => {
            reader.error(&node.span, "the mount has no `source`", Some("add `source = \"…\"`".to_owned()));
        }
        _ => {}
    }
    if let (MountMode::Ro | MountMode::Rw, Some(size)) = (mode.value, table.get("size")) {
        reader.error(&size.span, "`size` goes with `tmpfs` and `overlay`", None);
    }
    let at = match (at, &source, table.get("at")) {
        (Some(at), ..) => at,
        // What stands there cannot be read; that is noted.
        (None, _, Some(_)) => return None,
        (None, Some(source), None) => Located::new(source.path.clone(), source.origin.clone()),
        (None, None, None) => return None,
    };
    Some(Mount { source, at, mode, size, origin: reader.source.origin(node.span.start) })
}

fn network(reader: &mut Reader<'_>, node: &Node) -> Network {
    let table = reader.table(node, &keys::NETWORK);
    Network {
        mode: table.get("mode").and_then(|node| reader.word(node)),
        allow: reader.all(table.get("allow"), "a list, such as [\"example.org:443\"]", |reader, node| {
            reader.parsed(node, "HOST[:PORT] or CIDR[:PORT]", destination)
        }),
        publish: reader.all(table.get("publish"), "a list, such as [\"8080:80\"]", |reader, node| {
            reader.parsed(node, "[ADDR:]HOSTPORT:PORT", publish)
        }),
    }
}

/// `HOST[:PORT]`, `ADDRESS[/BITS][:PORT]`, `[V6][/BITS][:PORT]`. Also what `--allow-net` takes.
pub fn destination(text: &str) -> Result<Destination, String> {
    let bad = || format!("`{}` is not HOST[:PORT] or CIDR[:PORT]", cut(text));
    // A bare IPv6 address has colons of its own.
    if let Some(host) = net(text) {
        return host.map(|host| Destination { host, port: None });
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, digits)) => (host, Some(port(digits)?)),
        None => (text, None),
    };
    let bracketed = host.strip_prefix('[').map(|rest| rest.replacen(']', "", 1));
    if let Some(host) = net(bracketed.as_deref().unwrap_or(host)) {
        return host.map(|host| Destination { host, port });
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
    };
    let name = host.strip_prefix("*.").unwrap_or(host);
    let name = name.strip_suffix('.').unwrap_or(name);
    if bracketed.is_some() || name.len() > 253 || !name.split('.').all(label) {
        return Err(bad());
    }
    if name.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(format!("`{}` is not an address", cut(host)));
    }
    Ok(Destination { host: DestinationHost::Name(host.to_ascii_lowercase()), port })
}

/// An address, or a network; `None` where it is neither.
fn net(text: &str) -> Option<Result<DestinationHost, String>> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    if bits.is_some_and(|bits| bits.contains(':')) {
        // A port follows.
        return None;
    }
    let most = if address.is_ipv4() { 32 } else { 128 };
    Some(match bits.map(str::parse) {
        None => Ok(DestinationHost::Net(address, most)),
        Some(Ok(bits)) if bits <= most => Ok(DestinationHost::Net(address, bits)),
        Some(_) => Err(format!("`{}`: a prefix has 0 to {most} bits", cut(text))),
    })
}

fn port(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|port| *port > 0 && !text.starts_with('+'));
    number.ok_or_else(|| format!("`{}` is not a port: 1 to 65535", cut(text)))
}

/// `[ADDR:]HOSTPORT:PORT`. Also what `--publish` takes.
pub fn publish(text: &str) -> Result<Publish, String> {
    let form = || format!("`{}` is not [ADDR:]HOSTPORT:PORT", cut(text));
    let (rest, inner) = text.rsplit_once(':').ok_or_else(form)?;
    let (address, host_port) = match rest.rsplit_once(':') {
        Some((address, host_port)) => (Some(address), host_port),
        None => (None, rest),
    };
    let address = address
        .map(|address| address.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| form()))
        .transpose()?;
    Ok(Publish { address, host_port: port(host_port)?, port: port(inner)? })
}

/// More processes or descriptors than Linux can number.
const MOST: u64 = 1 << 22;

fn limits(reader: &mut Reader<'_>, node: &Node) -> Limits {
    let table = reader.table(node, &keys::LIMITS);
    Limits {
        memory: table.get("memory").and_then(|node| size(reader, node)),
        pids: table.get("pids").and_then(|node| reader.number(node, 1, MOST)),
        cpus: table.get("cpus").and_then(|node| reader.number(node, 1, 8192)),
        cpu_time: table.get("cpu-time").and_then(|node| duration(reader, node)),
        timeout: table.get("timeout").and_then(|node| duration(reader, node)),
        disk: table.get("disk").and_then(|node| size(reader, node)),
        open_files: table.get("open-files").and_then(|node| reader.number(node, 3, 1 << 30)),
    }
}

fn size(reader: &mut Reader<'_>, node: &Node) -> Option<Located<u64>> {
    if let Value::Integer(_) = node.value {
        return reader.number(node, 1, i64::MAX as u64);
    }
    reader.parsed(node, "a size, such as \"4G\"", |text| match units::size(text)? {
        0 => Err("a size of 0 would leave nothing".to_owned()),
        bytes => Ok(bytes),
    })
}

fn duration(reader: &mut Reader<'_>, node: &Node) -> Option<Located<std::time::Duration>> {
    if let Value::Integer(_) = node.value {
        let seconds = reader.number(node, 1, u64::from(u32::MAX))?;
        return Some(Located::new(std::time::Duration::from_secs(seconds.value), seconds.origin));
    }
    reader.parsed(node, "a time span, such as \"20m\"", |text| match units::duration(text)? {
        span if span.is_zero() => Err("a time span of 0 would leave nothing".to_owned()),
        span => Ok(span),
    })
}

fn env(reader: &mut Reader<'_>, node: &Node) -> Env {
    let table = reader.table(node, &keys::ENV);
    let mut set = BTreeMap::new();
    let entries = table.get("set").map(|node| reader.any_table(node, "a table, such as { LANG = \"C\" }"));
    for entry in entries.unwrap_or_default() {
        if let Err(what) = variable(&entry.key) {
            reader.error(&entry.key_span, what, None);
        }
        // A variable may be empty, unlike all other strings.
        let value = match &entry.node.value {
            Value::String(text) if text.is_empty() => Some(reader.located(&entry.node, String::new())),
            _ => string(reader, &entry.node, "a string"),
        };
        if let Some(value) = value {
            set.insert(entry.key.clone(), value);
        }
    }
    Env {
        clear: table.get("clear").and_then(|node| reader.boolean(node)),
        pass: reader.all(table.get("pass"), "a list of variables, such as [\"PATH\"]", |reader, node| {
            reader.parsed(node, "a variable's name", |text| variable(text).map(|()| text.to_owned()))
        }),
        set,
    }
}

fn variable(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!("`{}` cannot be the name of a variable", cut(name)));
    }
    Ok(())
}

fn process(reader: &mut Reader<'_>, node: &Node) -> Process {
    let table = reader.table(node, &keys::PROCESS);
    Process {
        user: table.get("user").and_then(|node| reader.parsed(node, "UID[:GID]", user)),
        hostname: table.get("hostname").and_then(|node| reader.parsed(node, "a name", hostname)),
        cwd: table.get("cwd").and_then(|node| reader.inner_path(node)),
        capabilities: table.get("capabilities").map(|node| capabilities(reader, node)),
    }
}

fn user(text: &str) -> Result<String, String> {
    let parts: Vec<_> = text.split(':').collect();
    let part = |part: &str| {
        if part.bytes().all(|b| b.is_ascii_digit()) {
            // The highest number means "unchanged" in chown(2) and is nobody's.
            part.parse().is_ok_and(|id: u32| id != u32::MAX)
        } else {
            !part.contains(char::is_whitespace) && !part.starts_with('-')
        }
    };
    if parts.len() > 2 || !parts.iter().all(|text| part(text)) {
        return Err(format!("`{}` is not UID[:GID]", cut(text)));
    }
    Ok(text.to_owned())
}

/// As sethostname(2) takes it, with what hostname(7) allows in it.
fn hostname(text: &str) -> Result<String, String> {
    if text.len() > 64 {
        return Err("a name has 1 to 64 bytes".to_owned());
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')) {
        return Err(format!("`{}`: a name has letters, digits, `-` and `.`", cut(text)));
    }
    Ok(text.to_owned())
}

fn capabilities(reader: &mut Reader<'_>, node: &Node) -> Located<Vec<String>> {
    let names = reader.all(Some(node), "a list, such as [\"CAP_CHOWN\"]", |reader, node| {
        let text = reader.text(node, "a capability's name")?;
        let upper = text.to_ascii_uppercase();
        let name = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        if constants::CAPABILITIES.contains(&name.as_str()) {
            return Some(name);
        }
        let hint = reader.nearest(&name, constants::CAPABILITIES.iter().copied());
        reader.error(&node.span, format!("unknown capability `{}`", cut(text)), hint);
        None
    });
    reader.located(node, names)
}

fn ci(reader: &mut Reader<'_>, node: &Node) -> Ci {
    let table = reader.table(node, &keys::CI);
    Ci {
        artifacts: reader.all(table.get("artifacts"), "a list of paths", |reader, node| {
            string(reader, node, "a path or pattern")
        }),
        cache: reader.all(table.get("cache"), "a list of paths, such as [\"~/.cache:rw\"]", cache),
        fail_on: table.get("fail-on").and_then(|node| reader.word(node)),
    }
}

fn cache(reader: &mut Reader<'_>, node: &Node) -> Option<Located<Cache>> {
    let text = reader.text(node, "PATH[:rw]")?;
    let (path, keep) = match text.strip_suffix(":rw") {
        Some(path) => (path, true),
        None => (text, false),
    };
    let expanded: PathBuf = reader.expanded(node, path)?;
    let path = HostPath { text: path.to_owned(), path: expanded };
    Some(reader.located(node, Cache { path, keep }))
}

#[cfg(test)]
mod tests {
    use super::{destination, publish};

    #[test]
    fn destinations_go_there_and_back() {
        for text in [
            "example.org",
            "example.org:443",
            "*.example.net",
            "10.20.0.0/16:5432",
            "10.20.0.0/16",
            "127.0.0.1",
            "127.0.0.1:1",
            "::1",
            "[::1]:80",
            "2001:db8::/32",
            "[2001:db8::/32]:443",
        ] {
            assert_eq!(destination(text).map(|found| found.to_string()), Ok(text.to_owned()));
        }
        for bad in [
            "",
            ":1",
            "a:0",
            "a:65536",
            "a:+1",
            "a b",
            "1.2.3",
            "1.2.3.4/33",
            "::/129",
            "-a",
            "a..b",
            "[a]:1",
            "a/8",
        ] {
            assert!(destination(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn published_ports_go_there_and_back() {
        for text in ["8080:80", "127.0.0.1:8080:80", "[::1]:8080:80"] {
            assert_eq!(publish(text).map(|found| found.to_string()), Ok(text.to_owned()));
        }
        for bad in ["80", ":80", "80:", "0:80", "x:1:2", "1:2:3:4", "127.0.0.1:80"] {
            assert!(publish(bad).is_err(), "{bad}");
        }
    }
}
