//! Looks at the host's processes through `/proc`: who descends from whom, and what marks them.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::time::{Duration, Instant};

/// A process as `/proc` shows it.
#[derive(Debug, Clone)]
pub struct Proc {
    pub pid: i32,
    pub parent: i32,
    /// Its arguments, joined with spaces.
    pub line: String,
}

/// Every process that can be seen now; zombies too.
pub fn all() -> Vec<Proc> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).filter_map(read).collect()
}

fn read(pid: i32) -> Option<Proc> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after = &stat[stat.rfind(')')? + 2..];
    let mut fields = after.split(' ');
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    Some(Proc { pid, parent, line })
}

/// `root` and all that descends from it now.
pub fn tree(root: i32) -> Vec<Proc> {
    let all = all();
    let mut children: HashMap<i32, Vec<&Proc>> = HashMap::new();
    for p in &all {
        children.entry(p.parent).or_default().push(p);
    }
    let mut found: Vec<Proc> = all.iter().filter(|p| p.pid == root).cloned().collect();
    let mut todo = vec![root];
    while let Some(pid) = todo.pop() {
        for p in children.get(&pid).into_iter().flatten() {
            found.push((*p).clone());
            todo.push(p.pid);
        }
    }
    found
}

/// Whether process `pid` still runs (a zombie does not).
pub fn alive(pid: i32) -> bool {
    read(pid).is_some()
}

/// Those of `pids` that still run when all are gone or `limit` is over.
pub fn left_after(pids: &BTreeSet<i32>, limit: Duration) -> Vec<i32> {
    let deadline = Instant::now() + limit;
    loop {
        let left: Vec<i32> = pids.iter().copied().filter(|&p| alive(p)).collect();
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A field of `/proc/PID/status`, trimmed.
pub fn status_field(pid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.split(':').next() == Some(name))?;
    Some(line[name.len() + 1..].trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_tree_has_its_branches() {
        let mut child =
            Command::new("sh").args(["-c", "sleep 61 & wait"]).spawn().expect("sh can be started");
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut found = tree(child.id() as i32);
        while found.len() < 2 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
            found = tree(child.id() as i32);
        }
        for p in &found {
            // SAFETY: takes two numbers; processes that this test started.
            unsafe { libc::kill(p.pid, libc::SIGKILL) };
        }
        let _ = child.wait();
        assert!(found.iter().any(|p| p.line.starts_with("sleep 61")), "{found:?}");
        let pids = found.iter().map(|p| p.pid).collect();
        assert_eq!(left_after(&pids, Duration::from_secs(2)), Vec::<i32>::new());
    }

    #[test]
    fn fields_are_read() {
        assert_eq!(status_field(std::process::id() as i32, "Pid"), Some(std::process::id().to_string()));
    }
}
