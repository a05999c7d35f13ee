//! The sentry gives up what it does not need, in two steps around the making of the zygote: what stubs are to
//! inherit before, its own seccomp filter after.

use std::io;

use jail::{Layer, Mismatch, Role};

use crate::config::SentryConfig;

/// Before the zygote: descriptors, root directory, identity, capabilities, Landlock.
pub(crate) fn before_zygote(config: &SentryConfig) -> io::Result<()> {
    jail::enter_sentry(&config.layers, &config.fds.all())
}

/// After the zygote, and before the first worker: nothing is opened, executed or forked by this process any more.
pub(crate) fn after_zygote(config: &SentryConfig) -> io::Result<()> {
    if !config.layers.holds(Layer::Seccomp) {
        return Ok(());
    }
    let mismatch = if config.trap_refused_calls { Mismatch::Trap } else { Mismatch::Kill };
    jail::seal(Role::Sentry, mismatch)
}
