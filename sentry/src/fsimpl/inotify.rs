//! inotify(7): watches on files, and the queue of what happened to them.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use crate::cred::Cred;
use crate::fsimpl::anon::AnonInode;
use crate::mm::Sink;
use crate::vfs::notify::{self, Event, Listener, Mark};
use crate::vfs::{File, FileOps, InodeRef, Ioctl, Positioning};
use crate::wait_queue::{PollEvents, WaitQueue};

/// A limit of `/proc/sys/fs/inotify`, and the most that it can be set to.
pub struct Setting {
    value: AtomicUsize,
    most: usize,
}

impl Setting {
    const fn new(value: usize, most: usize) -> Setting {
        Setting { value: AtomicUsize::new(value), most }
    }
    pub fn get(&self) -> usize {
        self.value.load(Ordering::Relaxed)
    }
    /// `EINVAL` beyond what the sentry can bear.
    pub fn set(&self, value: usize) -> Result<()> {
        if value > self.most {
            return Err(Errno::EINVAL);
        }
        self.value.store(value, Ordering::Relaxed);
        Ok(())
    }
}

pub static MAX_QUEUED: Setting = Setting::new(16_384, 1 << 20);
pub static MAX_INSTANCES: Setting = Setting::new(128, 1 << 16);
pub static MAX_WATCHES: Setting = Setting::new(65_536, 1 << 20);

/// What a user has: instances and watches.
#[derive(Default)]
struct Used {
    instances: usize,
    watches: usize,
}

static USED: LazyLock<Mutex<HashMap<u32, Used>>> = LazyLock::new(Mutex::default);

/// Counts one more instance or watch of a user, or says that there are too many.
fn take(uid: u32, limit: &Setting, which: impl Fn(&mut Used) -> &mut usize, full: Errno) -> Result<()> {
    let mut used = USED.lock();
    let n = which(used.entry(uid).or_default());
    if *n >= limit.get() {
        return Err(full);
    }
    *n += 1;
    Ok(())
}

fn give(uid: u32, watches: usize, instances: usize) {
    let mut used = USED.lock();
    if let Some(u) = used.get_mut(&uid) {
        u.watches = u.watches.saturating_sub(watches);
        u.instances = u.instances.saturating_sub(instances);
        if u.watches == 0 && u.instances == 0 {
            used.remove(&uid);
        }
    }
}

/// The head of `struct inotify_event`; names are padded to a multiple of it.
const HEAD: usize = 16;

#[derive(PartialEq, Eq)]
struct Queued {
    wd: i32,
    mask: u32,
    cookie: u32,
    name: Box<[u8]>,
}

impl Queued {
    /// The name's field: with its NUL, padded; nothing where there is no name.
    fn name_len(&self) -> usize {
        match self.name.len() {
            0 => 0,
            n => (n + 1).next_multiple_of(HEAD),
        }
    }
    fn size(&self) -> usize {
        HEAD + self.name_len()
    }
    fn bytes(&self) -> Vec<u8> {
        let mut b = Vec::with_capacity(self.size());
        b.extend_from_slice(&self.wd.to_le_bytes());
        b.extend_from_slice(&self.mask.to_le_bytes());
        b.extend_from_slice(&self.cookie.to_le_bytes());
        b.extend_from_slice(&(self.name_len() as u32).to_le_bytes());
        b.extend_from_slice(&self.name);
        b.resize(self.size(), 0);
        b
    }
}

#[derive(Default)]
struct State {
    /// The watches by number, and their numbers by the inode's address.
    marks: BTreeMap<i32, Arc<Mark>>,
    numbers: HashMap<usize, i32>,
    last_number: i32,
    events: VecDeque<Queued>,
    bytes: usize,
    /// An overflow is told of once, until that was read.
    overflown: bool,
}

/// One instance.
pub struct Inotify {
    me: Weak<Inotify>,
    state: Mutex<State>,
    queue: WaitQueue,
    uid: u32,
    max_queued: usize,
}

fn address(inode: &InodeRef) -> usize {
    Arc::as_ptr(inode).cast::<()>() as usize
}

/// inotify_init1(2); `EMFILE` where the user has too many.
pub fn create(cred: &Cred, flags: u32) -> Result<Arc<File>> {
    take(cred.uid, &MAX_INSTANCES, |u| &mut u.instances, Errno::EMFILE)?;
    let ops = Arc::new_cyclic(|me| Inotify {
        me: me.clone(),
        state: Mutex::default(),
        queue: WaitQueue::new(),
        uid: cred.uid,
        max_queued: MAX_QUEUED.get(),
    });
    let flags = libc::O_RDONLY as u32 | flags;
    Ok(File::anonymous(ops, Some(AnonInode::plain(cred)), flags, "anon_inode:inotify".into()))
}

impl Inotify {
    /// inotify_add_watch(2): the number of the watch. `mask` has been checked.
    pub fn watch(&self, inode: &InodeRef, mask: u32) -> Result<i32> {
        let kept = mask & (libc::IN_ALL_EVENTS | libc::IN_ONESHOT | libc::IN_EXCL_UNLINK);
        let mut s = self.state.lock();
        let old = s.numbers.get(&address(inode)).and_then(|n| s.marks.get(n)).cloned();
        if let Some(old) = old {
            if mask & libc::IN_MASK_CREATE != 0 {
                return Err(Errno::EEXIST);
            }
            let add = mask & libc::IN_MASK_ADD != 0;
            old.set_mask(if add { old.mask() | kept } else { kept });
            return Ok(old.number);
        }
        take(self.uid, &MAX_WATCHES, |u| &mut u.watches, Errno::ENOSPC)?;
        // Numbers go round before one is given again (idr_alloc_cyclic of Linux).
        let mut number = s.last_number.checked_add(1).unwrap_or(1);
        while s.marks.contains_key(&number) {
            number = number.checked_add(1).unwrap_or(1);
        }
        s.last_number = number;
        let mark = Mark::new(number, inode.clone(), kept, self.me.clone());
        s.marks.insert(number, mark.clone());
        s.numbers.insert(address(inode), number);
        drop(s);
        notify::add(mark);
        Ok(number)
    }

    /// inotify_rm_watch(2).
    pub fn unwatch(&self, number: i32) -> Result<()> {
        let mark = self.state.lock().marks.get(&number).cloned().ok_or(Errno::EINVAL)?;
        if notify::remove(&mark) {
            self.over(&mark);
        }
        Ok(())
    }

    fn enqueue(&self, event: Queued) {
        {
            let mut s = self.state.lock();
            if s.events.len() >= self.max_queued {
                if std::mem::replace(&mut s.overflown, true) {
                    return;
                }
                let lost = Queued { wd: -1, mask: libc::IN_Q_OVERFLOW, cookie: 0, name: Box::default() };
                s.bytes += lost.size();
                s.events.push_back(lost);
            } else {
                // One that equals the last is told of once; the cookie does not tell them apart.
                let same = |l: &Queued| {
                    l.mask & libc::IN_IGNORED == 0
                        && (l.wd, l.mask, &l.name) == (event.wd, event.mask, &event.name)
                };
                if s.events.back().is_some_and(same) {
                    return;
                }
                s.bytes += event.size();
                s.events.push_back(event);
            }
        }
        self.queue.wake(PollEvents::IN | PollEvents::RDNORM);
    }
}

impl Listener for Inotify {
    fn event(&self, mark: &Mark, event: Event<'_>) {
        let Event { mask, cookie, name } = event;
        self.enqueue(Queued { wd: mark.number, mask, cookie, name: name.into() });
    }
    fn over(&self, mark: &Mark) {
        self.enqueue(Queued { wd: mark.number, mask: libc::IN_IGNORED, cookie: 0, name: Box::default() });
        let gone = {
            let mut s = self.state.lock();
            s.numbers.remove(&address(mark.inode()));
            s.marks.remove(&mark.number)
        };
        give(self.uid, usize::from(gone.is_some()), 0);
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        let marks = std::mem::take(&mut self.state.get_mut().marks);
        for m in marks.values() {
            notify::remove(m);
        }
        give(self.uid, marks.len(), 1);
    }
}

impl FileOps for Inotify {
    fn positioning(&self) -> Positioning {
        Positioning::Stream
    }

    fn read(&self, _file: &File, _pos: u64, to: &mut dyn Sink) -> Result<usize> {
        let mut done = 0;
        loop {
            let event = {
                let mut s = self.state.lock();
                match s.events.front() {
                    None if done == 0 => return Err(Errno::EAGAIN),
                    None => return Ok(done),
                    // The next one does not fit.
                    Some(e) if e.size() > to.remaining() => {
                        return if done == 0 { Err(Errno::EINVAL) } else { Ok(done) };
                    }
                    Some(_) => {}
                }
                let Some(event) = s.events.pop_front() else { continue };
                s.bytes -= event.size();
                s.overflown &= event.mask & libc::IN_Q_OVERFLOW == 0;
                event
            };
            match to.put(&event.bytes()) {
                Ok(n) => done += n,
                Err(e) if done == 0 => return Err(e),
                Err(_) => return Ok(done),
            }
        }
    }

    fn poll(&self, _file: &File) -> PollEvents {
        match self.state.lock().events.is_empty() {
            true => PollEvents::empty(),
            false => PollEvents::IN | PollEvents::RDNORM,
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn tells_by_signal(&self) -> bool {
        true
    }

    fn ioctl(&self, _file: &File, io: &Ioctl<'_, '_>) -> Result<i64> {
        if u64::from(io.request) != libc::FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let n = self.state.lock().bytes as i32;
        io.mem.write(io.arg, &n.to_le_bytes())?;
        Ok(0)
    }

    fn fdinfo(&self) -> String {
        let marks: Vec<Arc<Mark>> = self.state.lock().marks.values().cloned().collect();
        let mut out = String::new();
        for m in marks {
            let Ok(a) = m.inode().attrs() else { continue };
            // The device in the kernel's own form: 12 bits of major number over 20 of minor.
            let dev = u64::from(libc::major(a.dev)) << 20 | u64::from(libc::minor(a.dev));
            let mask = m.mask() & libc::IN_ALL_EVENTS;
            let _ = writeln!(
                out,
                "inotify wd:{:x} ino:{:x} sdev:{dev:x} mask:{mask:x} ignored_mask:0 ",
                m.number, a.ino
            );
        }
        out
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
