//! Which layers of isolation this machine grants, and why others are missing.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

/// One layer of isolation around our processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    UserNamespace,
    PidNamespace,
    MountNamespace,
    NetworkNamespace,
    IpcNamespace,
    UtsNamespace,
    /// The sentry of a privileged caller runs as nobody. Neither held nor missing for an ordinary user.
    ForeignIdentity,
    Landlock,
    Seccomp,
}

impl Layer {
    /// As a message names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Layer::UserNamespace => "user namespace",
            Layer::PidNamespace => "process namespace",
            Layer::MountNamespace => "mount namespace",
            Layer::NetworkNamespace => "network namespace",
            Layer::IpcNamespace => "IPC namespace",
            Layer::UtsNamespace => "UTS namespace",
            Layer::ForeignIdentity => "unprivileged identity",
            Layer::Landlock => "Landlock",
            Layer::Seccomp => "seccomp",
        }
    }
}

/// A layer that the machine refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    pub layer: Layer,
    pub why: String,
}

/// Which layers hold, which are missing and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layers {
    pub held: Vec<Layer>,
    pub missing: Vec<Missing>,
}

impl Layers {
    #[must_use]
    pub fn holds(&self, layer: Layer) -> bool {
        self.held.contains(&layer)
    }

    pub(crate) fn hold(&mut self, layer: Layer) {
        if !self.holds(layer) {
            self.held.push(layer);
        }
    }

    pub(crate) fn miss(&mut self, layer: Layer, why: impl Into<String>) {
        self.missing.push(Missing { layer, why: why.into() });
    }

    /// Asks the kernel for the layers that need no trial: Landlock and seccomp.
    #[must_use]
    pub fn probe() -> Layers {
        let mut layers = Layers::default();
        match landlock_version() {
            Ok(_) => layers.hold(Layer::Landlock),
            Err(error) => {
                layers.miss(Layer::Landlock, format!("{error}; is `landlock` in the kernel's `lsm=` list?"))
            }
        }
        match seccomp_filter_available() {
            Ok(()) => layers.hold(Layer::Seccomp),
            Err(error) => layers.miss(Layer::Seccomp, error.to_string()),
        }
        layers
    }

    /// One line for the user, or `None` where nothing is missing.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        if self.missing.is_empty() {
            return None;
        }
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        for Missing { layer, why } in &self.missing {
            match reasons.iter_mut().find(|(known, _)| known == why) {
                Some((_, names)) => names.push(layer.name()),
                None => reasons.push((why, vec![layer.name()])),
            }
        }
        let parts: Vec<_> =
            reasons.iter().map(|(why, names)| format!("{} ({why})", names.join(", "))).collect();
        Some(format!("running without {}", parts.join("; ")))
    }
}

/// landlock_create_ruleset(2): the version of the interface.
pub(crate) fn landlock_version() -> io::Result<i64> {
    const VERSION: u32 = 1;
    // SAFETY: with a null attribute of size 0 and this flag the call only returns a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, VERSION) };
    if version < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(version)
}

pub(crate) fn seccomp_filter_available() -> io::Result<()> {
    const SECCOMP_GET_ACTION_AVAIL: u32 = 2;
    let action: u32 = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: the call reads one u32 from a live reference.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0u32, &raw const action) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Why a user namespace is refused, as far as the machine's settings tell.
pub(crate) fn user_namespace_hint(error: &io::Error) -> String {
    let setting = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if setting("/proc/sys/user/max_user_namespaces", "0") {
        return "sysctl user.max_user_namespaces is 0".to_owned();
    }
    if setting("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return "sysctl kernel.unprivileged_userns_clone is 0".to_owned();
    }
    if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        return "sysctl kernel.apparmor_restrict_unprivileged_userns is 1".to_owned();
    }
    match error.raw_os_error() {
        Some(libc::EPERM) => "not permitted here, perhaps by a container's seccomp profile".to_owned(),
        _ => error.to_string(),
    }
}
