//! What a new program finds on its stack: `argc`, `argv`, `envp`, the auxiliary vector, and the strings behind them
//! (System V ABI, x86-64; getauxval(3)).

use super::auxv;
use crate::cred::Cred;

/// What goes into the image.
pub struct Contents<'a> {
    pub top: u64,
    pub argv: &'a [Vec<u8>],
    pub envp: &'a [Vec<u8>],
    pub path: &'a [u8],
    pub random: [u8; 16],
    pub cred: &'a Cred,
    pub secure: bool,
    pub vdso: u64,
    pub headers: u64,
    pub header_count: u64,
    pub entry: u64,
    pub base: u64,
}

/// The image, to be stored at `sp`; it ends at the stack's top.
pub struct Image {
    pub sp: u64,
    pub bytes: Vec<u8>,
    pub args: (u64, u64),
    pub env: (u64, u64),
    pub auxv: Vec<u8>,
}

fn strings_len(list: &[Vec<u8>]) -> u64 {
    list.iter().map(|s| s.len() as u64 + 1).sum()
}

/// Builds the image. From the top down: a null word, the path, environment and argument strings, the platform's name,
/// sixteen random bytes, then the vectors.
pub fn build(c: &Contents<'_>) -> Image {
    let path_at = c.top - 8 - (c.path.len() as u64 + 1);
    let env_at = path_at - strings_len(c.envp);
    let args_at = env_at - strings_len(c.argv);
    let platform_at = (args_at - 16) & !15;
    let random_at = platform_at - 16;

    let host = auxv::host();
    let secure = u64::from(c.secure);
    let mut aux: Vec<(u64, u64)> = Vec::new();
    if c.vdso != 0 {
        aux.push((libc::AT_SYSINFO_EHDR, c.vdso));
    }
    aux.extend([
        (libc::AT_MINSIGSTKSZ, host.minsigstksz),
        (libc::AT_HWCAP, host.hwcap),
        (libc::AT_PAGESZ, 4096),
        (libc::AT_CLKTCK, 100),
        (libc::AT_PHDR, c.headers),
        (libc::AT_PHENT, super::elf::PHDR_LEN as u64),
        (libc::AT_PHNUM, c.header_count),
        (libc::AT_BASE, c.base),
        (libc::AT_FLAGS, 0),
        (libc::AT_ENTRY, c.entry),
        (libc::AT_UID, c.cred.uid.into()),
        (libc::AT_EUID, c.cred.euid.into()),
        (libc::AT_GID, c.cred.gid.into()),
        (libc::AT_EGID, c.cred.egid.into()),
        (libc::AT_SECURE, secure),
        (libc::AT_RANDOM, random_at),
        (libc::AT_HWCAP2, host.hwcap2),
        (libc::AT_EXECFN, path_at),
        (libc::AT_PLATFORM, platform_at),
        (libc::AT_NULL, 0),
    ]);

    let words = 1 + c.argv.len() + 1 + c.envp.len() + 1 + 2 * aux.len();
    let sp = (random_at - 8 * words as u64) & !15;
    let mut bytes = Vec::with_capacity((c.top - sp) as usize);
    let mut word = |v: u64| bytes.extend_from_slice(&v.to_le_bytes());
    word(c.argv.len() as u64);
    for (list, mut at) in [(c.argv, args_at), (c.envp, env_at)] {
        for s in list {
            word(at);
            at += s.len() as u64 + 1;
        }
        word(0);
    }
    let mut auxv_bytes = Vec::with_capacity(16 * aux.len());
    for (k, v) in aux {
        word(k);
        word(v);
        auxv_bytes.extend_from_slice(&k.to_le_bytes());
        auxv_bytes.extend_from_slice(&v.to_le_bytes());
    }
    let mut put = |at: u64, data: &[u8]| {
        bytes.resize((at - sp) as usize, 0);
        bytes.extend_from_slice(data);
    };
    put(random_at, &c.random);
    put(platform_at, b"x86_64\0");
    put(args_at, &joined(c.argv));
    put(env_at, &joined(c.envp));
    put(path_at, c.path);
    put(c.top, &[]);
    Image { sp, bytes, args: (args_at, env_at), env: (env_at, path_at), auxv: auxv_bytes }
}

fn joined(list: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(strings_len(list) as usize);
    for s in list {
        out.extend_from_slice(s);
        out.push(0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_lead_to_their_strings() {
        let cred = Cred::login(0, 0, vec![]);
        let (argv, envp) = (vec![b"a".to_vec(), b"bc".to_vec()], vec![b"X=1".to_vec()]);
        let c = Contents {
            top: 0x7fff_0000_0000,
            argv: &argv,
            envp: &envp,
            path: b"/bin/a",
            random: [7; 16],
            cred: &cred,
            secure: false,
            vdso: 0,
            headers: 0x40,
            header_count: 3,
            entry: 0x1000,
            base: 0,
        };
        let i = build(&c);
        assert_eq!(i.sp % 16, 0);
        assert_eq!(i.sp + i.bytes.len() as u64, c.top);
        let word = |n: usize| u64::from_le_bytes(i.bytes[n * 8..n * 8 + 8].try_into().unwrap());
        assert_eq!(word(0), 2);
        let text = |at: u64, n: usize| &i.bytes[(at - i.sp) as usize..][..n];
        assert_eq!(text(word(1), 2), b"a\0");
        assert_eq!(text(word(2), 3), b"bc\0");
        assert_eq!(word(3), 0);
        assert_eq!(text(word(4), 4), b"X=1\0");
        assert_eq!(word(5), 0);
        assert_eq!(text(i.args.0, 5), b"a\0bc\0");
        assert_eq!(i.args.1, i.env.0);
    }
}
