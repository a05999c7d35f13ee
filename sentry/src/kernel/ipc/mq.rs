//! POSIX message queues (mq_overview(7)): the queues by name, and what is in them. Descriptors of them are
//! `fsimpl::mqueue`'s.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::{seconds, Perm};
use crate::cred::{cap, Cred};
use crate::kernel::{signals, ThreadGroup};
use crate::signal::SigInfo;
use crate::wait_queue::{PollEvents, WaitQueue};

/// `/proc/sys/fs/mqueue/*`, and what nobody may exceed.
const QUEUES_MAX: usize = 256;
const MSG_MAX: i64 = 10;
const MSGSIZE_MAX: i64 = 8192;
const HARD_MSG_MAX: i64 = 65536;
const HARD_MSGSIZE_MAX: i64 = 16 << 20;
/// The most queues of all users together, whatever their rights: a bound on the sentry's memory.
const HARD_QUEUES_MAX: usize = 1024;
/// All that queues may hold together, for those whose limit is not bounded by `RLIMIT_MSGQUEUE`.
const HARD_BYTES: u64 = 256 << 20;
pub const PRIORITIES: u32 = 32768;
/// `si_code` of a notification.
const SI_MESGQ: i32 = -3;

/// All queues with a name, and what each user's take (`RLIMIT_MSGQUEUE`).
#[derive(Default)]
pub struct Queues {
    names: Mutex<BTreeMap<Vec<u8>, Arc<Queue>>>,
    bytes: Arc<Mutex<HashMap<u32, u64>>>,
}

/// One queue; it lives as long as it has a name or a descriptor.
pub struct Queue {
    pub max: i64,
    pub size: i64,
    pub state: Mutex<State>,
    pub queue: WaitQueue,
    charge: u64,
    user: u32,
    bytes: Arc<Mutex<HashMap<u32, u64>>>,
}

/// What changes of a queue.
pub struct State {
    pub perm: Perm,
    /// By priority.
    list: BTreeMap<u32, VecDeque<Vec<u8>>>,
    pub count: i64,
    pub held: u64,
    pub notify: Option<Notify>,
    /// Threads that wait for a message: no notification is sent to others then.
    pub receivers: usize,
    pub changed_at: i64,
}

/// Who is told when a message comes to an empty queue (mq_notify(3)).
pub struct Notify {
    pub group: Weak<ThreadGroup>,
    pub pid: i32,
    /// `SIGEV_SIGNAL` with these, or `SIGEV_NONE`.
    pub signal: Option<(i32, u64)>,
}

/// How a queue is opened.
pub struct Open<'a> {
    pub name: &'a [u8],
    pub flags: i32,
    /// With the umask applied.
    pub mode: u32,
    /// `mq_maxmsg`, `mq_msgsize`.
    pub attr: Option<(i64, i64)>,
    /// `RLIMIT_MSGQUEUE`.
    pub limit: u64,
}

impl Queues {
    /// mq_open(2).
    pub fn open(&self, cred: &Cred, open: &Open<'_>) -> Result<Arc<Queue>> {
        let mut names = self.names.lock();
        if let Some(found) = names.get(open.name) {
            if open.flags & libc::O_CREAT != 0 && open.flags & libc::O_EXCL != 0 {
                return Err(Errno::EEXIST);
            }
            let want = match open.flags & libc::O_ACCMODE {
                libc::O_RDONLY => 0o4,
                libc::O_WRONLY => 0o2,
                libc::O_RDWR => 0o6,
                _ => return Err(Errno::EINVAL),
            };
            if !cred.has(cap::DAC_OVERRIDE) {
                found.state.lock().perm.check(cred, want)?;
            }
            return Ok(found.clone());
        }
        if open.flags & libc::O_CREAT == 0 {
            return Err(Errno::ENOENT);
        }
        let may_more = cred.has(cap::SYS_RESOURCE);
        if names.len() >= if may_more { HARD_QUEUES_MAX } else { QUEUES_MAX } {
            return Err(Errno::ENOSPC);
        }
        let (max, size) = open.attr.unwrap_or((MSG_MAX, MSGSIZE_MAX));
        let most = if may_more { (HARD_MSG_MAX, HARD_MSGSIZE_MAX) } else { (MSG_MAX, MSGSIZE_MAX) };
        if max <= 0 || size <= 0 || max > most.0 || size > most.1 {
            return Err(Errno::EINVAL);
        }
        let charge = self.charge(cred.uid, max as u64, size as u64, open.limit)?;
        let perm = Perm::new(0, cred, open.mode as i32);
        let made = Arc::new(Queue {
            max,
            size,
            state: Mutex::new(State {
                perm,
                list: BTreeMap::new(),
                count: 0,
                held: 0,
                notify: None,
                receivers: 0,
                changed_at: seconds(),
            }),
            queue: WaitQueue::new(),
            charge,
            user: cred.uid,
            bytes: self.bytes.clone(),
        });
        names.insert(open.name.to_vec(), made.clone());
        Ok(made)
    }

    /// What a queue may come to hold, and what Linux reckons for its nodes, counts against the user's limit.
    fn charge(&self, user: u32, max: u64, size: u64, limit: u64) -> Result<u64> {
        const NODE: u64 = 48;
        let charge = max * NODE * 2 + max * size;
        let mut bytes = self.bytes.lock();
        let all: u64 = bytes.values().sum();
        let mine = bytes.entry(user).or_default();
        if *mine + charge > limit || all + charge > HARD_BYTES {
            return Err(Errno::EMFILE);
        }
        *mine += charge;
        Ok(charge)
    }

    /// mq_unlink(2). The directory of queues has its sticky bit set.
    pub fn unlink(&self, cred: &Cred, name: &[u8]) -> Result<()> {
        let mut names = self.names.lock();
        let found = names.get(name).ok_or(Errno::ENOENT)?;
        if found.state.lock().perm.cuid != cred.fsuid && !cred.has(cap::FOWNER) {
            return Err(Errno::EPERM);
        }
        let gone = names.remove(name);
        drop(names);
        drop(gone);
        Ok(())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if let Some(mine) = self.bytes.lock().get_mut(&self.user) {
            *mine = mine.saturating_sub(self.charge);
        }
    }
}

impl Queue {
    /// Puts a message in; `EAGAIN` where the queue is full.
    pub fn send(&self, data: &[u8], priority: u32, from: (i32, u32)) -> Result<()> {
        let told = {
            let mut s = self.state.lock();
            if s.count >= self.max {
                return Err(Errno::EAGAIN);
            }
            s.list.entry(priority).or_default().push_back(data.to_vec());
            s.count += 1;
            s.held += data.len() as u64;
            s.changed_at = seconds();
            if s.count == 1 && s.receivers == 0 {
                s.notify.take()
            } else {
                None
            }
        };
        self.queue.wake(PollEvents::IN | PollEvents::RDNORM);
        if let Some((group, (signo, value))) = told.and_then(|n| Some((n.group.upgrade()?, n.signal?))) {
            signals::send_to_group(&group, SigInfo::value(signo, SI_MESGQ, from.0, from.1, value));
        }
        Ok(())
    }

    /// The oldest message of the highest priority; `EAGAIN` where there is none.
    pub fn receive(&self) -> Result<(Vec<u8>, u32)> {
        let got = {
            let mut s = self.state.lock();
            let Some(mut first) = s.list.last_entry() else { return Err(Errno::EAGAIN) };
            let priority = *first.key();
            let data = first.get_mut().pop_front().ok_or(Errno::EAGAIN)?;
            if first.get().is_empty() {
                first.remove();
            }
            s.count -= 1;
            s.held = s.held.saturating_sub(data.len() as u64);
            (data, priority)
        };
        self.queue.wake(PollEvents::OUT | PollEvents::WRNORM);
        Ok(got)
    }

    /// mq_notify(2): one process at a time is told; `None` takes the caller's own wish back.
    pub fn notify(&self, me: i32, wish: Option<Notify>) -> Result<()> {
        let mut s = self.state.lock();
        let taken = s.notify.as_ref().is_some_and(|n| n.group.strong_count() > 0);
        match wish {
            Some(_) if taken => return Err(Errno::EBUSY),
            Some(n) => s.notify = Some(n),
            None => {
                if s.notify.as_ref().is_some_and(|n| n.pid == me) {
                    s.notify = None;
                }
            }
        }
        Ok(())
    }
}
