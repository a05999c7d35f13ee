//! connect(2) and sends that lead out of the sandbox: the broker is asked, and waited for as for anything else.

use std::net::SocketAddr;
use std::sync::Arc;

use linux_abi::Errno;

use crate::kernel::{Ctx, Restart, Stop, SysResult};
use crate::net::outside::{Answer, Asking, Outside};
use crate::net::socket::Status;
use crate::net::{names, Addr, Socket};
use crate::vfs::{notes, File};
use crate::wait_queue::PollEvents;

/// Waits until the broker has answered. What is waited for later in the same run must be the socket's own queue for
/// writing, since a run registers once.
fn ask(cx: &mut Ctx<'_>, s: &Arc<Socket>, to: SocketAddr) -> Result<Arc<dyn Outside>, Stop> {
    loop {
        match s.ask(to) {
            Asking::Done(Answer::Connected(socket)) => return Ok(socket),
            Asking::Done(Answer::Failed(e)) => return Err(e.into()),
            // Nobody inside has the port, and of the host's loopback only what the policy names is there.
            Asking::Done(Answer::Denied(_)) if names::is_local(to.ip()) => {
                return Err(Errno::ECONNREFUSED.into())
            }
            Asking::Done(Answer::Denied(name)) => {
                denied(s, to, &name);
                return Err(Errno::ENETUNREACH.into());
            }
            Asking::Wait(asked) => {
                let queues = [(&asked.queue, PollEvents::IN), (&s.queue, PollEvents::WRITABLE)];
                cx.wait(&queues, Restart::Sys)?;
            }
        }
    }
}

/// Notes an attempt that the policy refused: the errno is that of a machine without a route there (connect(2)).
pub(super) fn denied(s: &Socket, to: SocketAddr, name: &[u8]) {
    let to = names::destination(to);
    // With no port nothing is reached: programs ask so which address of their own would be used. And where there is no
    // network at all, no single address is missing.
    if to.port() == 0 && s.is_dgram() || names::is_local(to.ip()) || names::offline() {
        return;
    }
    let to = SocketAddr::new(to.ip().to_canonical(), to.port());
    notes::refused_network(to, name);
}

/// connect(2) to an address outside.
pub(super) fn connect(cx: &mut Ctx<'_>, file: &File, s: &Arc<Socket>, to: SocketAddr) -> SysResult {
    check_source(s, to)?;
    if s.is_dgram() {
        let leg = ask(cx, s, to)?;
        s.connect_leg(to, leg);
        return Ok(0);
    }
    if !s.connecting_out() {
        match s.status() {
            Status::Idle => {}
            // The outcome of a connect that was answered `EINPROGRESS` is told once.
            Status::Connected if s.collect_in_progress() => return Ok(0),
            Status::Connected | Status::Listening => return Err(Errno::EISCONN.into()),
        }
        let leg = ask(cx, s, to)?;
        s.connect_leg(to, leg);
        if file.nonblocking() {
            s.note_in_progress();
            return Err(Errno::EINPROGRESS.into());
        }
    } else if file.nonblocking() && cx.block.runs == 0 {
        return match s.outcome_of_connect() {
            None => Err(Errno::EALREADY.into()),
            Some(Ok(())) => Ok(0),
            Some(Err(e)) => Err(e.into()),
        };
    }
    loop {
        match s.outcome_of_connect() {
            Some(Ok(())) => {
                s.collect_in_progress();
                return Ok(0);
            }
            Some(Err(e)) => return Err(e.into()),
            None if cx.timed_out() => {
                s.note_in_progress();
                return Err(Errno::EINPROGRESS.into());
            }
            None => cx.wait(&[(&s.queue, PollEvents::WRITABLE)], Restart::Sys)?,
        }
    }
}

/// A socket bound to loopback sends nothing elsewhere (`ip_route_output`: `EINVAL`).
fn check_source(s: &Socket, to: SocketAddr) -> Result<(), Errno> {
    match s.local() {
        Addr::Inet(from)
            if from.ip().to_canonical().is_loopback() && !to.ip().to_canonical().is_loopback() =>
        {
            Err(Errno::EINVAL)
        }
        _ => Ok(()),
    }
}

/// Sees to it that a UDP socket can send to `to`.
pub(super) fn prepare_send(cx: &mut Ctx<'_>, s: &Arc<Socket>, to: SocketAddr) -> Result<(), Stop> {
    if !s.is_dgram() || s.has_leg_to(to) {
        return Ok(());
    }
    if !s.leads_out(to) {
        denied(s, to, b"");
        return Ok(());
    }
    if to.port() == 0 {
        return Err(Errno::EINVAL.into());
    }
    check_source(s, to)?;
    let leg = ask(cx, s, to)?;
    s.add_leg(to, leg);
    Ok(())
}
