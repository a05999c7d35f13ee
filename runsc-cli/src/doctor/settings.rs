//! Settings of the host's kernel, read from `/proc/sys`.

use std::fs;

/// The value of a setting by its sysctl(8) name, where there is one.
pub(super) fn sysctl(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    Some(text.trim().to_owned())
}

/// A setting as a number.
pub(super) fn number(name: &str) -> Option<i64> {
    sysctl(name)?.parse().ok()
}

/// How to change it, now and for good.
pub(super) fn set(name: &str, value: &str) -> String {
    format!("sysctl -w {name}={value}   (for good: echo '{name}={value}' >/etc/sysctl.d/60-runsc.conf)")
}
