//! What all parts of the platform share: the listener, the tables of threads and processes, the pool, the kernel.

use std::collections::{HashMap, VecDeque};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use linux_abi::Result;
use parking_lot::{Condvar, Mutex, RwLock};

use crate::clone::Clones;
use crate::doorbell::Doorbell;
use crate::listener::{Listener, Notif};
use crate::slot::DOORBELL;
use crate::spin::{self, Spinner};
use crate::thread::Taken;
use crate::{CloneSpec, Event, GuestKernel, Reply, Space, Thread};

/// Threads that were told to end and whose doorbells may still be on the way.
const LEAVING: usize = 256;
/// Fresh stubs kept ready.
const POOL: usize = 2;

type Taker = Box<dyn FnOnce(Result<Arc<Thread>>) + Send>;

pub(crate) struct Core {
    pub(crate) listener: Listener,
    pub(crate) cpus: usize,
    /// Every mapping asks first.
    pub(crate) gated: bool,
    /// By host TID, while the thread is ours.
    threads: RwLock<HashMap<i32, Arc<Thread>>>,
    /// Host TIDs of threads that were told to end lately.
    leaving: Mutex<VecDeque<i32>>,
    /// By process id, until reaped.
    spaces: Mutex<HashMap<i32, Arc<Space>>>,
    pub(crate) clones: Mutex<Clones>,
    pub(crate) kernel: OnceLock<Arc<dyn GuestKernel>>,
    pub(crate) zygote: OnceLock<Arc<Thread>>,
    pool: Mutex<Pool>,
    pub(crate) refill: Condvar,
    ids: AtomicU64,
    pub(crate) stop: AtomicBool,
    /// Guest threads that wait for no reply.
    running: AtomicI64,
    pub(crate) spinner: Spinner,
    pub(crate) doorbell: Doorbell,
}

#[derive(Default)]
struct Pool {
    ready: Vec<Arc<Thread>>,
    takers: Vec<Taker>,
    /// The zygote waits for a reply.
    idle: bool,
}

impl Core {
    pub(crate) fn new(listener: Listener, cpus: usize, gated: bool) -> Core {
        Core {
            listener,
            cpus,
            gated,
            threads: RwLock::default(),
            leaving: Mutex::default(),
            spaces: Mutex::default(),
            clones: Mutex::default(),
            kernel: OnceLock::new(),
            zygote: OnceLock::new(),
            pool: Mutex::default(),
            refill: Condvar::new(),
            ids: AtomicU64::new(1),
            stop: AtomicBool::new(false),
            running: AtomicI64::new(0),
            spinner: Spinner::new(),
            doorbell: Doorbell::default(),
        }
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts guest threads that run.
    pub(crate) fn ran(&self, change: i64) {
        self.running.fetch_add(change, Ordering::Relaxed);
    }

    /// Whether, with one guest thread running that now waits for us, a processor would idle. Threads that sleep in a
    /// call of their own count as running here, so they are looked for where that matters.
    pub(crate) fn processor_idle(&self) -> bool {
        let cpus = self.cpus as i64;
        let running = self.running.load(Ordering::Relaxed).max(1);
        if running < cpus {
            return true;
        }
        let asleep = |t: &&Arc<Thread>| t.slot().asleep.load(Ordering::Relaxed) != 0;
        running - (self.threads.read().values().filter(asleep).count() as i64) < cpus
    }

    pub(crate) fn run_ready(&self) {
        if let Some(kernel) = self.kernel.get() {
            kernel.run_ready();
        }
    }

    /// A token that nobody can guess, never 0.
    pub(crate) fn random(&self) -> u64 {
        loop {
            let mut token = 0u64;
            // SAFETY: fills the local. An interrupted call leaves it 0 (getrandom(2)).
            unsafe { libc::getrandom((&raw mut token).cast(), 8, 0) };
            if token != 0 {
                return token;
            }
        }
    }

    pub(crate) fn thread(&self, tid: i32) -> Option<Arc<Thread>> {
        self.threads.read().get(&tid).cloned()
    }

    /// Enters a thread, and its process if it is the first of it, into the tables.
    pub(crate) fn admit(&self, thread: &Arc<Thread>) {
        thread.space().add(thread);
        self.leaving.lock().retain(|tid| *tid != thread.tid());
        self.threads.write().insert(thread.tid(), thread.clone());
        if thread.space().pid() == thread.tid() {
            self.spaces.lock().insert(thread.tid(), thread.space().clone());
        }
    }

    /// A thread is told to end: its host TID means nothing any more, but for a doorbell that it has just rung.
    pub(crate) fn leave(&self, thread: &Thread) {
        let mut leaving = self.leaving.lock();
        if leaving.len() == LEAVING {
            leaving.pop_front();
        }
        leaving.push_back(thread.tid());
        drop(leaving);
        self.forget(thread);
    }

    /// Takes a thread out of the tables.
    pub(crate) fn forget(&self, thread: &Thread) {
        let mut threads = self.threads.write();
        if threads.get(&thread.tid()).is_some_and(|t| t.id() == thread.id()) {
            threads.remove(&thread.tid());
        }
    }

    pub(crate) fn take_space(&self, pid: i32) -> Option<Arc<Space>> {
        self.spaces.lock().remove(&pid)
    }

    pub(crate) fn all_spaces(&self) -> Vec<Arc<Space>> {
        self.spaces.lock().values().cloned().collect()
    }

    /// One notification, run to completion.
    pub(crate) fn notified(self: &Arc<Core>, notif: &Notif) {
        let thread = self.thread(notif.pid as i32);
        match notif.nr as u32 as u64 {
            DOORBELL => match thread {
                Some(thread) => {
                    if self.zygote.get().is_none_or(|z| z.id() != thread.id()) {
                        spin::rang(self, &thread);
                    }
                    self.run(&thread, Some(notif.id));
                }
                // It rang just when a spinning worker took what it had posted, and has been told to end since.
                None if notif.args[1] == 0 && self.leaving.lock().contains(&(notif.pid as i32)) => {
                    self.listener.answer(notif.id);
                }
                None => self.newcomer(notif),
            },
            nr => match thread {
                Some(thread) => thread.allow(notif, nr),
                None => self.listener.refuse(notif.id, libc::EPERM),
            },
        }
    }

    /// Takes what `thread` has posted, if anything, and handles it.
    pub(crate) fn run(self: &Arc<Core>, thread: &Arc<Thread>, notif: Option<u64>) {
        match thread.take(notif) {
            Taken::Nothing => {}
            Taken::Deliver(event) => self.deliver(thread, event),
            Taken::Cloned(token, result) => self.clone_returned(token, result),
        }
    }

    /// Gives an event to the kernel; the zygote's are ours.
    pub(crate) fn deliver(self: &Arc<Core>, thread: &Arc<Thread>, event: Event) {
        if self.zygote.get().is_some_and(|z| z.id() == thread.id()) {
            return self.zygote_event(event);
        }
        let Some(kernel) = self.kernel.get() else { return };
        // A bug in one handler ends that guest process, not the sandbox.
        let run = std::panic::AssertUnwindSafe(|| kernel.event(thread, event));
        if std::panic::catch_unwind(run).is_err() {
            tracing::error!(?thread, "a handler failed; its process is killed");
            thread.space().kill_tampered("a handler failed");
        }
    }

    /// Lets a stub map a descriptor at its fixed number.
    pub(crate) fn let_map(&self, thread: &Thread, notif: &Notif, fd: BorrowedFd<'_>) {
        let together = spin::together(self, thread);
        let added = self.listener.add_fd(notif.id, fd, notif.args[4] as u32);
        drop(together);
        match added {
            Ok(()) => self.listener.proceed(notif.id),
            Err(e) => self.listener.refuse(notif.id, e.raw_os_error().unwrap_or(libc::EMFILE)),
        }
    }

    fn zygote_event(self: &Arc<Core>, event: Event) {
        let mut pool = self.pool.lock();
        pool.idle = true;
        let mut served = None;
        match event {
            Event::Cloned(Ok(thread)) => match pool.takers.pop() {
                Some(taker) => served = Some((taker, Ok(thread))),
                None => pool.ready.push(thread),
            },
            Event::Cloned(Err(errno)) => served = pool.takers.pop().map(|taker| (taker, Err(errno))),
            _ => {}
        }
        let more = !pool.takers.is_empty() || pool.ready.len() < POOL;
        drop(pool);
        if let Some((taker, result)) = served {
            taker(result);
        }
        if more {
            self.order();
        }
    }

    /// Tells the zygote, if it is idle, to fork.
    fn order(&self) {
        let mut pool = self.pool.lock();
        if !std::mem::take(&mut pool.idle) {
            return;
        }
        drop(pool);
        if let Some(zygote) = self.zygote.get() {
            zygote.reply(Reply::Clone(CloneSpec { share_vm: false, sp: 0, tls: None }));
        }
    }

    /// A fresh stub for `taker`: at once from the pool, or when the zygote has made one.
    pub(crate) fn fresh(&self, taker: Taker) {
        let mut pool = self.pool.lock();
        match pool.ready.pop() {
            Some(thread) => {
                drop(pool);
                self.refill.notify_one();
                taker(Ok(thread));
            }
            None => {
                pool.takers.insert(0, taker);
                drop(pool);
                self.order();
            }
        }
    }

    /// Refills the pool a little after something was taken from it, off the hot path.
    pub(crate) fn refill_loop(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let mut pool = self.pool.lock();
            if pool.ready.len() >= POOL || !pool.idle {
                self.refill.wait(&mut pool);
            }
            drop(pool);
            std::thread::sleep(std::time::Duration::from_millis(1));
            self.order_if_short();
        }
    }

    fn order_if_short(&self) {
        if self.pool.lock().ready.len() < POOL {
            self.order();
        }
    }
}
