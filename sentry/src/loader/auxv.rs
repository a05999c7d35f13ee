//! What the host told the sentry of its processor (getauxval(3)), handed on to guests. Read once at boot, before
//! nothing can be opened any more.

use std::sync::OnceLock;

/// The host's values.
#[derive(Clone, Copy, Debug)]
pub struct HostAuxv {
    pub hwcap: u64,
    pub hwcap2: u64,
    pub minsigstksz: u64,
}

/// What every x86-64 has, should boot not have read the host's.
const FALLBACK: HostAuxv = HostAuxv { hwcap: 0x078b_fbff, hwcap2: 0, minsigstksz: 3632 };

static HOST: OnceLock<HostAuxv> = OnceLock::new();

/// Reads the sentry's own auxiliary vector. Called by boot before lockdown.
pub fn capture() {
    let _ = HOST.set(std::fs::read("/proc/self/auxv").map_or(FALLBACK, |b| parse(&b)));
}

/// The captured values.
pub fn host() -> HostAuxv {
    HOST.get().copied().unwrap_or(FALLBACK)
}

fn parse(bytes: &[u8]) -> HostAuxv {
    let mut host = FALLBACK;
    for pair in bytes.chunks_exact(16) {
        let (key, value) = pair.split_at(8);
        let word = |b: &[u8]| b.try_into().map_or(0, u64::from_le_bytes);
        match word(key) {
            libc::AT_HWCAP => host.hwcap = word(value),
            libc::AT_HWCAP2 => host.hwcap2 = word(value),
            libc::AT_MINSIGSTKSZ => host.minsigstksz = word(value),
            _ => {}
        }
    }
    host
}
