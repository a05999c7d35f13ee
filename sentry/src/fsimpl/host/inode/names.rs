//! The names in a directory of the host: what is asked of the gofer, and what came along with an answer.

use std::sync::Arc;

use gofer_protocol::{Entries, Found, Made, Watch, MAX_LOOK};
use linux_abi::{Errno, Result};

use super::{gone, HostInode, Stamp, MANY, MAX_READY};
use crate::fsimpl::host::known::{Moment, Ready};
use crate::fsimpl::host::listing::Listing;
use crate::vfs::inode::{DirEntry, FileKind};
use crate::vfs::notes;

impl HostInode {
    /// An answer about a name that has just come, and is under no watch.
    pub(super) fn answer(&self, found: Option<Made>, link: Option<Vec<u8>>) -> Ready {
        Ready { since: None, call: notes::call_number(), found, plain: false, link, watch: 0, next: None }
    }

    /// Drops the answers that nobody has asked for.
    pub fn drop_answers(&self) {
        let ready = {
            let mut known = self.known.lock();
            known.listed = false;
            std::mem::take(&mut known.ready)
        };
        self.give_back(ready.into_values());
    }

    /// Keeps an answer for the question that is likely to follow.
    pub(super) fn keep_ready(&self, name: &[u8], ready: Ready) {
        let gone = {
            let mut known = self.known.lock();
            if known.ready.len() >= MAX_READY && !known.ready.contains_key(name) {
                Some(ready)
            } else {
                known.ready.insert(name.into(), ready)
            }
        };
        self.give_back(gone);
        let known = std::mem::replace(&mut self.known.lock().listed, true);
        if !known {
            self.shared.keeps_answers(self.me.clone());
        }
    }

    pub(super) fn take_ready(&self, name: &[u8]) -> Option<Ready> {
        let lost = self.shared.watcher.lost();
        let (ready, holds) = {
            let mut known = self.known.lock();
            if known.ready.is_empty() {
                return None;
            }
            let ready = known.ready.remove(name)?;
            let same_call = ready.call != 0 && ready.call == notes::call_number();
            let holds = same_call || ready.since.is_some_and(|since| known.still_file(name, since, lost));
            (ready, holds)
        };
        if holds {
            Some(ready)
        } else {
            self.give_back([ready]);
            None
        }
    }

    /// What is remembered of the directory's entries.
    pub fn listing(&self) -> Option<Arc<Listing>> {
        self.shared.watcher.catch_up();
        let known = self.known.lock();
        let (listing, own) = known.listing.as_ref()?;
        known.still_own(*own, self.shared.watcher.lost()).then(|| listing.clone())
    }

    /// Remembers the entries, if nothing has come or gone since the reading began.
    pub fn keep_listing(&self, listing: Listing, began: Moment) {
        self.shared.watcher.catch_up();
        let entries = listing.len();
        {
            let mut known = self.known.lock();
            if !known.still_own(began.own, began.lost) {
                return;
            }
            known.listing = Some((Arc::new(listing), began.own));
        }
        self.shared.keeps_listing(self.me.clone(), entries);
    }

    pub fn drop_listing(&self) {
        let listing = self.known.lock().listing.take();
        drop(listing);
    }

    /// Asks the gofer for one name, and for those that are likely to be asked for next.
    pub(super) fn fetch(&self, name: &[u8]) -> Result<Ready> {
        self.read_if_many();
        let ahead = self.known.lock().next_of_listing(name, MAX_LOOK);
        if ahead.len() > 1 {
            return self.fetch_several(name, &ahead);
        }
        let asked = self.moment();
        let (watch, watched) = self.watch_if_needed();
        let reply = self.shared.client.walk(self.node, watch, &[name]).map_err(gone)?;
        let since = if watched { Some(asked) } else { self.note_watch(reply.watch, asked) };
        let since = since.map(|m| m.clock);
        match (reply.found.first(), reply.stop) {
            (Some(step), _) => Ok(Ready { since, ..self.answer(Some(step.made), reply.link) }),
            (None, Some(Errno::ENOENT)) => Ok(Ready { since, ..self.answer(None, None) }),
            (None, stop) => Err(gone(stop.unwrap_or(Errno::EIO))),
        }
    }

    /// Where name after name is asked for, it is worth its while to know which there are.
    pub(super) fn read_if_many(&self) {
        {
            let mut known = self.known.lock();
            known.singles += 1;
            if known.singles != MANY || known.listing.is_some() {
                return;
            }
        }
        let asked = self.moment();
        let client = &self.shared.client;
        let Ok(reply) = client.readdir(self.node, 0, Entries::Names, Watch::Yes) else { return };
        let Some(since) = self.note_watch(reply.watch, asked) else { return };
        // One message's worth: of a larger directory the order in which it is asked for is not known.
        if !reply.end {
            return;
        }
        let mut listing = Listing::default();
        for entry in reply.entries {
            let kind = FileKind::from_mode(u32::from(entry.d_type) << 12).unwrap_or(FileKind::Regular);
            let entry = DirEntry { name: entry.name, ino: entry.ino, kind, cookie: entry.next_cookie };
            if !listing.push(&entry) {
                return;
            }
        }
        self.keep_listing(listing, since);
    }

    pub(super) fn watch_if_needed(&self) -> (Watch, bool) {
        if self.is_watched() {
            (Watch::No, true)
        } else {
            (Watch::Yes, false)
        }
    }

    pub(super) fn fetch_several(&self, name: &[u8], names: &[Box<[u8]>]) -> Result<Ready> {
        let asked = self.moment();
        let (watch, watched) = self.watch_if_needed();
        let list: Vec<&[u8]> = names.iter().map(|n| &**n).collect();
        let reply = self.shared.client.look(self.node, watch, self.xattrs_too(), &list).map_err(gone)?;
        let since = if watched { Some(asked) } else { self.note_watch(reply.watch, asked) };
        let since = since.map(|m| m.clock);
        let mut own = Err(Errno::EIO);
        for (one, found) in list.iter().zip(reply.found) {
            let ready = match found {
                Ok(Found { made, plain }) => Ok(Ready { since, plain, ..self.answer(Some(made), None) }),
                Err(Errno::ENOENT) => Ok(Ready { since, ..self.answer(None, None) }),
                Err(e) => Err(gone(e)),
            };
            match ready {
                ready if *one == name => own = ready,
                Ok(ready) => self.keep_ready(one, ready),
                Err(_) => {}
            }
        }
        own
    }

    /// Makes an inode of an answer, or notes the absence.
    pub(super) fn adopt(&self, name: &[u8], ready: Ready) -> Result<Arc<HostInode>> {
        let Some(made) = ready.found else {
            self.known.lock().note_absent(name, ready.since);
            return Err(Errno::ENOENT);
        };
        let me = self.me.upgrade().ok_or(Errno::EIO)?;
        let place = Some((me, name.into()));
        let (inode, new) = HostInode::new(self.shared.clone(), &made, ready.link, place, ready.since)?;
        if let (true, Some(since), true) = (ready.plain, ready.since, made.attr.nlink == 1) {
            inode.note_plain(since);
        }
        let mut since = None;
        if ready.watch != 0 && new {
            since = inode.note_watch(ready.watch, inode.moment());
            // They were read after the watch was there.
            if let Some(since) = since {
                inode.learn(made.attr, Some(Stamp::at_clock(since.own)));
            }
        }
        if let Some((name, mut next)) = ready.next {
            next.since = since.map(|m| m.clock);
            inode.keep_ready(&name, *next);
        }
        Ok(inode)
    }

    pub(super) fn child(&self, name: &[u8]) -> Result<Arc<HostInode>> {
        self.shared.watcher.catch_up();
        let ready = match self.take_ready(name) {
            Some(ready) => ready,
            None => self.fetch(name)?,
        };
        self.adopt(name, ready)
    }

    /// The file that now stands where this one was, after the gofer has said that it is another.
    pub(super) fn successor(&self) -> Result<Arc<HostInode>> {
        let (parent, name) = self.place.as_ref().ok_or(Errno::ENOENT)?;
        parent.changed(name);
        let new = parent.child(name)?;
        if new.node == self.node {
            Err(Errno::ENOENT)
        } else {
            Ok(new)
        }
    }
}
