//! Job control on the donated terminal (tty_ioctl(4)): the kernel's own foreground process group and session. The host's
//! are never touched: its foreground group stays the launcher's, which relays what the terminal sends.

use linux_abi::Errno;

use crate::fsimpl::host::stream::HostStream;
use crate::kernel::{Ctx, SysResult, FIRST_PID};
use crate::mm::UserPtr;
use crate::vfs::File;

const TIOCSCTTY: u32 = 0x540e;
const TIOCGPGRP: u32 = 0x540f;
const TIOCSPGRP: u32 = 0x5410;
const TIOCNOTTY: u32 = 0x5422;
const TIOCGSID: u32 = 0x5429;

/// Answers a job-control request on a terminal; `None` for every other request or file.
pub fn job_control(cx: &mut Ctx<'_>, file: &File, request: u32, arg: u64) -> Option<SysResult> {
    let known = matches!(request, TIOCSCTTY | TIOCGPGRP | TIOCSPGRP | TIOCNOTTY | TIOCGSID);
    let terminal = known && file.downcast::<HostStream>().is_some_and(HostStream::is_terminal);
    terminal.then(|| answer(cx, request, arg))
}

fn answer(cx: &mut Ctx<'_>, request: u32, arg: u64) -> SysResult {
    // The terminal controls the session that the command began; a process that left it has none.
    let session = cx.kernel.group(FIRST_PID).map_or(FIRST_PID, |g| g.state.lock().sid);
    let mine = cx.task.group.state.lock().sid;
    if request == TIOCSCTTY {
        let steals = mine != session || cx.task.group.pid != session;
        return if steals { Err(Errno::EPERM.into()) } else { Ok(0) };
    }
    if mine != session {
        return Err(Errno::ENOTTY.into());
    }
    let word = UserPtr::<i32>::new(arg);
    match request {
        TIOCGPGRP => word.write(&cx.mem, &*cx.kernel.foreground.lock())?,
        TIOCGSID => word.write(&cx.mem, &session)?,
        TIOCSPGRP => {
            let pgid = word.read(&cx.mem)?;
            if pgid < 0 {
                return Err(Errno::EINVAL.into());
            }
            if cx.kernel.groups_where(|s| s.pgid == pgid).is_empty() {
                return Err(Errno::ESRCH.into());
            }
            if cx.kernel.groups_where(|s| s.pgid == pgid && s.sid == session).is_empty() {
                return Err(Errno::EPERM.into());
            }
            *cx.kernel.foreground.lock() = pgid;
        }
        // A session does not give its terminal up here; nothing that runs unmodified asks for it twice.
        _ => return Err(Errno::EPERM.into()),
    }
    Ok(0)
}
