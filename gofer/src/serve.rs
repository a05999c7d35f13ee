//! The loop: one message in, one answer out. With a single connection that is one recvmsg(2) and one sendmsg(2) a
//! request; with more, a poll(2) as well.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gofer_protocol::{
    begin_reply, finish_reply, Channel, Fds, Received, Request, Stated, Wire, Writer, MAX_MESSAGE, VERSION,
};
use linux_abi::Errno;
use rustix::event::{poll, PollFd, PollFlags};
use rustix::fs::AtFlags;

use crate::host::{errno, Result};
use crate::state::State;

/// A connection of the sentry.
struct Connection {
    channel: Channel,
    greeted: bool,
}

/// What is kept between messages, so that none allocates it.
struct Buffers {
    message: Box<[u8]>,
    fds: Fds,
    out: Writer,
}

/// Answers requests on `sockets` until the last one is closed.
pub fn serve(mut state: State, sockets: Vec<OwnedFd>) -> Result<()> {
    let mut connections: Vec<_> =
        sockets.into_iter().map(|s| Connection { channel: Channel::new(s), greeted: false }).collect();
    let mut buffers =
        Buffers { message: vec![0; MAX_MESSAGE].into_boxed_slice(), fds: Fds::new(), out: Writer::default() };
    while !connections.is_empty() {
        if let [only] = &mut connections[..] {
            if !only.serve_one(&mut state, &mut buffers) {
                connections.clear();
            }
            continue;
        }
        let ready = wait(&connections)?;
        let mut ready = ready.iter();
        connections.retain_mut(|c| ready.next() != Some(&true) || c.serve_one(&mut state, &mut buffers));
    }
    Ok(())
}

/// Which connections have something to say.
fn wait(connections: &[Connection]) -> Result<Vec<bool>> {
    let mut polled: Vec<_> = connections.iter().map(|c| PollFd::new(&c.channel, PollFlags::IN)).collect();
    loop {
        match poll(&mut polled, None) {
            Ok(_) => return Ok(polled.iter().map(|p| !p.revents().is_empty()).collect()),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(errno(e)),
        }
    }
}

impl Connection {
    /// Takes one message; `false` ends the connection. A message that is none ends it too: the other side is broken
    /// or hostile, and there is no telling what it would take an answer for.
    fn serve_one(&mut self, state: &mut State, b: &mut Buffers) -> bool {
        let len = match self.channel.recv(&mut b.message, &mut b.fds) {
            Ok(Received::Message(len)) => len,
            Ok(Received::Closed) => return false,
            Err(e) => {
                tracing::warn!("connection given up: {e}");
                return false;
            }
        };
        let message = b.message.get(..len).unwrap_or(&[]);
        let (id, request) = match Request::decode(message) {
            Ok(decoded) if b.fds.is_empty() => decoded,
            Ok(_) => {
                tracing::warn!("connection given up: a request with a descriptor");
                return false;
            }
            Err(e) => {
                tracing::warn!("connection given up: {e}");
                return false;
            }
        };
        match (&request, self.greeted) {
            (Request::Hello { version: VERSION }, false) => self.greeted = true,
            (Request::Hello { .. }, _) | (_, false) => {
                tracing::warn!("connection given up: no greeting of this version");
                return false;
            }
            _ => {}
        }
        if !request.has_answer() {
            handle(state, request, &mut b.out).ok();
            return true;
        }
        begin_reply(&mut b.out, id);
        let result = handle(state, request, &mut b.out);
        finish_reply(&mut b.out, result.as_ref().map(|fd| u32::from(fd.is_some())).map_err(|e| *e));
        let fd = result.ok().flatten();
        let fds: Vec<BorrowedFd<'_>> = fd.iter().map(|f| f.as_fd()).collect();
        self.channel.send(b.out.as_bytes(), &fds).is_ok()
    }
}

/// Carries a request out and writes the answer's body.
fn handle(state: &mut State, request: Request<'_>, out: &mut Writer) -> Result<Option<OwnedFd>> {
    match request {
        Request::Hello { .. } => state.trees()?.encode(out),
        Request::Walk { node, watch, names } => state.walk(node, watch, &names)?.encode(out),
        Request::Look { dir, watch, xattrs, names } => state.look(dir, watch, xattrs, &names)?.encode(out),
        Request::Watches => return state.watches().map(Some),
        Request::Stat { node, watch } => {
            // Watched first, then read, so that no change falls in between.
            let watch = state.watch(node, watch);
            Stated { attr: state.stat(node)?, watch }.encode(out)
        }
        Request::Open { node, flags } => {
            let (attr, fd) = state.open(node, flags)?;
            attr.encode(out);
            return Ok(Some(fd));
        }
        Request::Readdir { node, cookie, entries, watch } => {
            state.readdir(node, cookie, entries, watch)?.encode(out)
        }
        Request::Readlink { node } => state.readlink(node)?.encode(out),
        Request::Statfs { node } => state.statfs(node)?.encode(out),
        Request::GetXattr { node, name } => state.get_xattr(node, name)?.encode(out),
        Request::ListXattr { node } => state.list_xattr(node)?.encode(out),
        Request::Create { dir, name, mode, flags, owner } => {
            let (made, fd) = state.create(dir, name, mode, flags, owner)?;
            made.encode(out);
            return Ok(Some(fd));
        }
        Request::Mkdir { dir, name, mode, owner } => state.mkdir(dir, name, mode, owner)?.encode(out),
        Request::Symlink { dir, name, target, owner } => state.symlink(dir, name, target, owner)?.encode(out),
        Request::Mknod { dir, name, mode, owner } => state.mknod(dir, name, mode, owner)?.encode(out),
        Request::Link { node, dir, name } => state.link(node, dir, name)?.encode(out),
        Request::Unlink { dir, name } => state.unlink(dir, name, AtFlags::empty())?,
        Request::Rmdir { dir, name } => state.unlink(dir, name, AtFlags::REMOVEDIR)?,
        Request::Rename { dir, name, new_dir, new_name, flags } => {
            state.rename(dir, name, new_dir, new_name, flags)?
        }
        Request::SetAttr { node, set } => state.set_attr(node, set)?.encode(out),
        Request::SetXattr { node, name, value, flags } => state.set_xattr(node, name, value, flags)?,
        Request::RemoveXattr { node, name } => state.remove_xattr(node, name)?,
        Request::Scratch => return state.scratch().map(Some),
        Request::Sync { node, whole } => state.sync(node, whole)?,
        Request::Forget { nodes } => nodes.into_iter().for_each(|(n, count)| state.forget(n, count)),
    }
    if out.len() > MAX_MESSAGE {
        return Err(Errno::EMSGSIZE);
    }
    Ok(None)
}
