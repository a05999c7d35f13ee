//! epoll(7). An item waits in its file's wait queue for as long as it is watched; when told of a change it puts itself
//! on the ready list, and epoll_wait asks the files on that list what they really have.
//!
//! Lock order: [`NESTING`] > `Epoll::scan` > `Epoll::items` > a file's own locks > `Item::interest`, `Epoll::ready`.
//! What a queue tells us ([`Item::notify`]) takes the last two only.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use crate::cred::Cred;
use crate::fsimpl::anon::AnonInode;
use crate::vfs::{File, FileOps, Ioctl, Positioning};
use crate::wait_queue::{PollEvents, Registration, WaitQueue, Waiter};

pub const EPOLLEXCLUSIVE: u32 = 1 << 28;
pub const EPOLLWAKEUP: u32 = 1 << 29;
pub const EPOLLONESHOT: u32 = 1 << 30;
pub const EPOLLET: u32 = 1 << 31;
/// Bits that say how to watch; with nothing else left an item is switched off.
const PRIVATE: u32 = EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLONESHOT | EPOLLET;
/// What may stand beside `EPOLLEXCLUSIVE` (epoll_ctl(2)).
const EXCLUSIVE_OK: u32 = 0x1 | 0x4 | 0x8 | 0x10 | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;
/// How deep epolls may watch epolls (`EP_MAX_NESTS`).
const MAX_NESTS: usize = 4;
/// The most items of one epoll (a stand-in for `fs.epoll.max_user_watches`).
const MAX_ITEMS: usize = 1 << 18;

/// Held while an epoll comes to watch another, so that no two such changes close a loop together.
static NESTING: Mutex<()> = Mutex::new(());

/// Events and user data, as epoll_ctl(2) was given them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    pub events: u32,
    pub data: u64,
}

struct Item {
    me: Weak<Item>,
    file: Weak<File>,
    epoll: Weak<Epoll>,
    interest: Mutex<Interest>,
    /// On the ready list.
    linked: AtomicBool,
    removed: AtomicBool,
    place: Mutex<Option<Registration>>,
}

impl Item {
    /// What of its interest is there now.
    fn ready(&self, file: &File) -> u32 {
        let want = self.interest.lock().events & !PRIVATE;
        if want == 0 {
            return 0;
        }
        file.ops.poll(file).bits() & want
    }
}

impl Waiter for Item {
    fn notify(&self, events: PollEvents) {
        let want = self.interest.lock().events & !PRIVATE;
        if want == 0 || (!events.is_empty() && events.bits() & want == 0) {
            return;
        }
        if let (Some(ep), Some(me)) = (self.epoll.upgrade(), self.me.upgrade()) {
            ep.link(me);
        }
    }
}

type Key = (usize, i32);

/// The address of the description and the number it was added by: what epoll(7) knows an item by. The item's weak
/// handle keeps the address from being used again.
fn key(file: &Arc<File>, fd: i32) -> Key {
    (Arc::as_ptr(file) as usize, fd)
}

pub struct Epoll {
    me: Weak<Epoll>,
    items: Mutex<HashMap<Key, Arc<Item>>>,
    ready: Mutex<VecDeque<Arc<Item>>>,
    scan: Mutex<()>,
    queue: WaitQueue,
    /// The epolls that watch this one.
    watchers: Mutex<Vec<Weak<Epoll>>>,
    /// Length of `items` at which those of closed files are swept out.
    sweep_at: Mutex<usize>,
}

/// epoll_create1(2).
pub fn create(cred: &Cred) -> Arc<File> {
    let ep = Arc::new_cyclic(|me| Epoll {
        me: me.clone(),
        items: Mutex::default(),
        ready: Mutex::default(),
        scan: Mutex::new(()),
        queue: WaitQueue::new(),
        watchers: Mutex::default(),
        sweep_at: Mutex::new(64),
    });
    let flags = libc::O_RDWR as u32;
    File::anonymous(ep, Some(AnonInode::plain(cred)), flags, "anon_inode:[eventpoll]".into())
}

impl Epoll {
    /// `EPOLL_CTL_ADD`.
    pub fn add(&self, file: &Arc<File>, fd: i32, interest: Interest) -> Result<()> {
        let queue = file.ops.wait_queue().ok_or(Errno::EPERM)?;
        let inner = file.downcast::<Epoll>();
        if interest.events & EPOLLEXCLUSIVE != 0 && (inner.is_some() || interest.events & !EXCLUSIVE_OK != 0)
        {
            return Err(Errno::EINVAL);
        }
        let _nesting = inner.map(|_| NESTING.lock());
        if let Some(inner) = inner {
            let below = inner.depth_below(self, 0)?;
            if below + 1 + self.depth_above(0) > MAX_NESTS {
                return Err(Errno::ELOOP);
            }
        }
        self.sweep();
        let mut items = self.items.lock();
        if items.contains_key(&key(file, fd)) {
            return Err(Errno::EEXIST);
        }
        if items.len() >= MAX_ITEMS {
            return Err(Errno::ENOSPC);
        }
        let item = Arc::new_cyclic(|me| Item {
            me: me.clone(),
            file: Arc::downgrade(file),
            epoll: self.me.clone(),
            interest: Mutex::new(always(interest)),
            linked: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            place: Mutex::new(None),
        });
        *item.place.lock() = Some(queue.register(PollEvents::all(), item.clone()));
        items.insert(key(file, fd), item.clone());
        drop(items);
        if let Some(inner) = inner {
            inner.watchers.lock().push(self.me.clone());
        }
        if item.ready(file) != 0 {
            self.link(item);
        }
        Ok(())
    }

    /// `EPOLL_CTL_MOD`.
    pub fn modify(&self, file: &Arc<File>, fd: i32, interest: Interest) -> Result<()> {
        if file.ops.wait_queue().is_none() {
            return Err(Errno::EPERM);
        }
        if interest.events & EPOLLEXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        let item = self.items.lock().get(&key(file, fd)).cloned().ok_or(Errno::ENOENT)?;
        {
            let mut i = item.interest.lock();
            if i.events & EPOLLEXCLUSIVE != 0 {
                return Err(Errno::EINVAL);
            }
            *i = always(interest);
        }
        if item.ready(file) != 0 {
            self.link(item);
        }
        Ok(())
    }

    /// `EPOLL_CTL_DEL`.
    pub fn remove(&self, file: &Arc<File>, fd: i32) -> Result<()> {
        if file.ops.wait_queue().is_none() {
            return Err(Errno::EPERM);
        }
        let item = self.items.lock().remove(&key(file, fd)).ok_or(Errno::ENOENT)?;
        item.removed.store(true, Ordering::SeqCst);
        let place = item.place.lock().take();
        drop(place);
        self.ready.lock().retain(|i| !Arc::ptr_eq(i, &item));
        if let Some(inner) = file.downcast::<Epoll>() {
            let mut w = inner.watchers.lock();
            if let Some(at) = w.iter().position(|w| w.ptr_eq(&self.me)) {
                w.swap_remove(at);
            }
        }
        Ok(())
    }

    /// What is ready now, at most `max`, as epoll_wait(2) gives it out.
    pub fn take_ready(&self, max: usize) -> Vec<Interest> {
        let scan = self.scan.lock();
        let mut batch = std::mem::take(&mut *self.ready.lock());
        let mut again = VecDeque::new();
        let mut out = Vec::new();
        while let Some(item) = batch.pop_front() {
            if out.len() >= max {
                batch.push_front(item);
                break;
            }
            // Before the question, so that a change after it links the item again.
            item.linked.store(false, Ordering::SeqCst);
            let Some(file) = item.file.upgrade() else { continue };
            if item.removed.load(Ordering::SeqCst) {
                continue;
            }
            let events = item.ready(&file);
            if events == 0 {
                continue;
            }
            let mut i = item.interest.lock();
            out.push(Interest { events, data: i.data });
            if i.events & EPOLLONESHOT != 0 {
                i.events &= PRIVATE;
            } else if i.events & EPOLLET == 0 && !item.linked.swap(true, Ordering::SeqCst) {
                again.push_back(item.clone());
            }
        }
        let left = {
            let mut ready = self.ready.lock();
            batch.append(&mut ready);
            batch.append(&mut again);
            *ready = batch;
            !ready.is_empty()
        };
        drop(scan);
        // Another thread may have looked while the list was in our hands.
        if left {
            self.queue.wake(PollEvents::IN | PollEvents::RDNORM);
        }
        out
    }

    fn link(&self, item: Arc<Item>) {
        if item.removed.load(Ordering::SeqCst) || item.linked.swap(true, Ordering::SeqCst) {
            return;
        }
        self.ready.lock().push_back(item);
        self.queue.wake(PollEvents::IN | PollEvents::RDNORM);
    }

    /// Drops the items of files that are closed. Their turn comes when the table has doubled.
    fn sweep(&self) {
        let mut at = self.sweep_at.lock();
        let dead: Vec<Arc<Item>> = {
            let mut items = self.items.lock();
            if items.len() < *at {
                return;
            }
            let dead = take_dead(&mut items);
            *at = (items.len() * 2).max(64);
            dead
        };
        drop(at);
        drop(dead);
    }

    /// How many levels of epolls this one watches; `ELOOP` where `target` is among them or they are too many.
    fn depth_below(&self, target: &Epoll, level: usize) -> Result<usize> {
        if std::ptr::eq(self, target) || level > MAX_NESTS {
            return Err(Errno::ELOOP);
        }
        let files: Vec<Arc<File>> = self.items.lock().values().filter_map(|i| i.file.upgrade()).collect();
        let mut depth = 0;
        for inner in files.iter().filter_map(|f| f.downcast::<Epoll>()) {
            depth = depth.max(inner.depth_below(target, level + 1)? + 1);
        }
        Ok(depth)
    }

    /// How many levels of epolls watch this one.
    fn depth_above(&self, level: usize) -> usize {
        if level > MAX_NESTS {
            return 0;
        }
        let up: Vec<Arc<Epoll>> = self.watchers.lock().iter().filter_map(Weak::upgrade).collect();
        up.iter().map(|e| e.depth_above(level + 1) + 1).max().unwrap_or(0)
    }
}

/// Errors and hang-ups are reported whether asked for or not.
fn always(i: Interest) -> Interest {
    Interest {
        events: (i.events & !EPOLLWAKEUP) | PollEvents::ERR.bits() | PollEvents::HUP.bits(),
        data: i.data,
    }
}

fn take_dead(items: &mut HashMap<Key, Arc<Item>>) -> Vec<Arc<Item>> {
    let dead: Vec<Key> = items.iter().filter(|(_, i)| i.file.strong_count() == 0).map(|(k, _)| *k).collect();
    dead.iter().filter_map(|k| items.remove(k)).collect()
}

impl FileOps for Epoll {
    /// It has requests of its own (busy polling), and so another word than `ENOTTY` for the rest.
    fn ioctl(&self, _file: &File, _io: &Ioctl<'_, '_>) -> Result<i64> {
        Err(Errno::EINVAL)
    }
    fn positioning(&self) -> Positioning {
        Positioning::Stream
    }
    fn poll(&self, _file: &File) -> PollEvents {
        let listed: Vec<Arc<Item>> = self.ready.lock().iter().cloned().collect();
        let any = listed.iter().any(|i| i.file.upgrade().is_some_and(|f| i.ready(&f) != 0));
        if any {
            PollEvents::IN | PollEvents::RDNORM
        } else {
            PollEvents::empty()
        }
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
