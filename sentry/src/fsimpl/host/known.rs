//! What is known of a directory, and until when. The directory has a clock that goes on by one with each event of its
//! watch; a fact is believed while the directory is watched without a gap since it was learnt, and no event since then
//! was about it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};

use gofer_protocol::{Made, NodeId, WatchId};

use super::inode::HostInode;
use super::listing::Listing;
use super::watch::Event;

/// How many absent names are remembered for a directory.
const MAX_ABSENT: usize = 4096;
/// How many events are remembered by name; older ones concern all names.
const MAX_RECENT: usize = 64;
/// How far an index may lie ahead of the expected one and still be taken for the next in line.
const STRIDE: u64 = 16;
/// How often in a row a name is sought in the listing.
const MAX_MISSES: usize = 2;

/// A moment of a directory: taken before a question is asked, it tells whether the answer still holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    pub clock: u64,
    /// How often the directory itself has changed.
    pub own: u64,
    pub lost: u64,
}

/// An answer that came along with another: from a walk of several names, or of a listing's names.
pub(super) struct Ready {
    /// The directory's clock when it was true; `None`: it holds for the call in which it came.
    pub since: Option<u64>,
    pub call: u64,
    /// `None`: there is no such name.
    pub found: Option<Made>,
    /// It has no extended attributes.
    pub plain: bool,
    pub link: Option<Vec<u8>>,
    /// The watch on this directory.
    pub watch: WatchId,
    /// The next name of the walk, below this one.
    pub next: Option<(Box<[u8]>, Box<Ready>)>,
}

impl Ready {
    pub fn nodes(&self, out: &mut Vec<(NodeId, u32)>) {
        let mut at = Some(self);
        while let Some(ready) = at {
            out.extend(ready.found.map(|m| (m.node, 1)));
            at = ready.next.as_ref().map(|n| &*n.1);
        }
    }
}

/// All of it.
#[derive(Default)]
pub(super) struct Known {
    watch: WatchId,
    lost: u64,
    clock: u64,
    /// What was learnt before this time of the clock is not believed.
    floor: u64,
    /// The last events about names, and whether the name itself was concerned or only what it leads to.
    recent: VecDeque<(u64, Box<[u8]>, bool)>,
    own: u64,
    absent: HashMap<Box<[u8]>, u64>,
    pub ready: HashMap<Box<[u8]>, Ready>,
    /// Whether the tree's list of directories with answers has this one.
    pub listed: bool,
    pub listing: Option<(Arc<Listing>, u64)>,
    /// Which name of the listing is likely to be asked for next, and how many are asked for at once.
    cursor: usize,
    ahead: usize,
    misses: usize,
    /// How many names were asked for one at a time since the directory was last read.
    pub singles: usize,
    /// Somebody asks for extended attributes here.
    pub xattrs_wanted: bool,
    /// Files that were found here, in the order in which they were first asked for.
    pub line: BTreeMap<u64, Weak<HostInode>>,
    pub next_place: u64,
    expected: u64,
    window: usize,
}

impl Known {
    pub fn moment(&self, lost: u64) -> Moment {
        Moment { clock: self.clock, own: self.own, lost }
    }

    pub fn is_watched(&self, lost: u64) -> bool {
        self.watch != 0 && self.lost == lost
    }

    /// Whether what a name leads to is still what it was at that time.
    pub fn still_name(&self, name: &[u8], since: u64, lost: u64) -> bool {
        self.still(name, since, lost, true)
    }

    /// Whether the file behind a name has not been changed either.
    pub fn still_file(&self, name: &[u8], since: u64, lost: u64) -> bool {
        self.still(name, since, lost, false)
    }

    fn still(&self, name: &[u8], since: u64, lost: u64, name_only: bool) -> bool {
        let later = || self.recent.iter().rev().take_while(|(at, ..)| *at > since);
        self.is_watched(lost)
            && since >= self.floor
            && !later().any(|(_, n, of_name)| (*of_name || !name_only) && **n == *name)
    }

    /// Whether the directory itself has not changed since then.
    pub fn still_own(&self, own: u64, lost: u64) -> bool {
        self.is_watched(lost) && self.own == own
    }

    pub fn still_absent(&self, name: &[u8], lost: u64) -> bool {
        self.absent.get(name).is_some_and(|since| self.still_name(name, *since, lost))
    }

    pub fn note_absent(&mut self, name: &[u8], since: Option<u64>) {
        let Some(since) = since else { return };
        if self.absent.len() >= MAX_ABSENT {
            self.absent.clear();
        }
        self.absent.insert(name.into(), since);
    }

    /// First step of a watch that an answer has named: the moment from which that answer's facts count. `None` where
    /// the directory has this watch already, without a gap.
    pub fn begin_watch(&mut self, watch: WatchId, asked: Moment) -> Option<Moment> {
        if self.watch == watch && self.lost == asked.lost {
            return None;
        }
        self.watch = 0;
        self.forget_all();
        Some(self.moment(asked.lost))
    }

    /// Last step: it is heard of now. `early`: something has happened before that.
    pub fn end_watch(&mut self, watch: WatchId, asked: Moment, early: bool) {
        if early {
            self.forget_all();
        }
        self.watch = watch;
        self.lost = asked.lost;
    }

    pub fn not_watched(&mut self) {
        self.watch = 0;
    }

    fn forget_all(&mut self) {
        self.clock += 1;
        self.floor = self.clock;
        self.own += 1;
        self.recent.clear();
        self.absent.clear();
        self.listing = None;
    }

    pub fn hear(&mut self, watch: WatchId, event: Event<'_>) {
        match event {
            Event::Name(name) => self.touched(name, true),
            Event::File(name) => self.touched(name, false),
            Event::Itself => self.own += 1,
            Event::All => self.forget_all(),
            Event::Over if self.watch == watch => {
                self.watch = 0;
                self.forget_all();
            }
            Event::Over => {}
        }
    }

    /// Something has happened to a name, or to what it leads to.
    pub fn touched(&mut self, name: &[u8], of_name: bool) {
        self.clock += 1;
        if of_name {
            self.own += 1;
            self.listing = None;
            self.absent.remove(name);
        }
        // A file that is written to again and again has one place in the list.
        if let Some(last) = self.recent.back_mut().filter(|(_, n, kind)| *kind == of_name && **n == *name) {
            last.0 = self.clock;
            return;
        }
        if self.recent.len() >= MAX_RECENT {
            if let Some((at, ..)) = self.recent.pop_front() {
                self.floor = self.floor.max(at);
            }
        }
        self.recent.push_back((self.clock, name.into(), of_name));
    }

    /// Who is to be asked about together with the file at this place in the line: more and more as long as they are
    /// asked for in turn.
    pub fn in_line(&mut self, place: u64, most: usize) -> Vec<Weak<HostInode>> {
        let in_turn = (self.expected..self.expected.saturating_add(STRIDE)).contains(&place);
        self.window = if in_turn { (self.window * 4).clamp(4, most) } else { 1 };
        let batch: Vec<_> =
            self.line.range(place..).take(self.window).map(|(at, i)| (*at, i.clone())).collect();
        self.expected = batch.last().map_or(place, |(at, _)| *at) + 1;
        batch.into_iter().map(|(_, inode)| inode).collect()
    }

    /// The names of the listing that are likely to be asked for after this one, itself first.
    pub fn next_of_listing(&mut self, name: &[u8], most: usize) -> Vec<Box<[u8]>> {
        let Some((listing, _)) = &self.listing else { return Vec::new() };
        let from = self.cursor;
        let near = (from..listing.len().min(from + STRIDE as usize)).find(|i| listing.name(*i) == name);
        if let Some(at) = near {
            self.misses = 0;
            self.ahead = (self.ahead * 4).clamp(4, most);
            let names: Vec<_> =
                (at..listing.len()).take(self.ahead).map(|i| Box::from(listing.name(i))).collect();
            self.cursor = at + names.len();
            return names;
        }
        self.ahead = 0;
        self.misses += 1;
        if self.misses <= MAX_MISSES {
            // Looking for it has its price.
            self.cursor = listing.find(name).map_or(0, |i| i + 1);
            return Vec::new();
        }
        // They are asked for in another order, but many of them: any others may be next.
        let others = (0..listing.len()).map(|i| listing.name((self.cursor + i) % listing.len()));
        let others =
            others.filter(|n| *n != name).take(most.min(listing.len()).saturating_sub(1)).map(Box::from);
        let names: Vec<_> = std::iter::once(Box::from(name)).chain(others).collect();
        self.cursor = (self.cursor + names.len()) % listing.len().max(1);
        self.misses = 0;
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched() -> (Known, u64) {
        let mut known = Known::default();
        let asked = known.moment(0);
        let since = known.begin_watch(7, asked).unwrap();
        known.end_watch(7, asked, false);
        (known, since.clock)
    }

    #[test]
    fn facts_hold_until_an_event_is_about_them() {
        let (mut known, since) = watched();
        assert!(known.still_name(b"a", since, 0) && known.still_file(b"a", since, 0));
        known.hear(7, Event::File(b"a"));
        assert!(known.still_name(b"a", since, 0) && !known.still_file(b"a", since, 0));
        assert!(known.still_file(b"b", since, 0));
        let now = known.moment(0);
        assert!(known.still_file(b"a", now.clock, 0) && known.still_own(now.own, 0));
        known.hear(7, Event::Name(b"b"));
        assert!(!known.still_name(b"b", now.clock, 0) && !known.still_own(now.own, 0));
        // Lost events, and an event about all.
        assert!(!known.still_name(b"c", since, 1));
        known.hear(7, Event::All);
        assert!(!known.still_name(b"c", since, 0));
        known.hear(7, Event::Over);
        assert!(!known.still_name(b"c", known.moment(0).clock, 0));
    }

    #[test]
    fn many_events_make_all_older_facts_doubtful() {
        let (mut known, since) = watched();
        for i in 0..MAX_RECENT * 2 {
            known.hear(7, Event::File(format!("{i}").as_bytes()));
        }
        assert!(!known.still_file(b"never named", since, 0));
        assert!(known.still_file(b"never named", known.moment(0).clock, 0));
    }

    #[test]
    fn an_event_before_the_watch_was_known_is_not_missed() {
        let mut known = Known::default();
        let asked = known.moment(0);
        let since = known.begin_watch(7, asked).unwrap().clock;
        assert!(!known.still_name(b"a", since, 0), "not before it is heard");
        known.end_watch(7, asked, true);
        assert!(!known.still_name(b"a", since, 0));
        assert!(known.begin_watch(7, known.moment(0)).is_none());
        assert!(known.begin_watch(7, known.moment(1)).is_some(), "a gap");
    }
}
