//! Where the policy of a run comes from.

use std::path::PathBuf;

use policies::model::{HostPath, Located, Origin, Policy};

use crate::failure::Failure;

/// What `do` hides unasked, where it exists: secrets below the home directory and the system's.
const HOME_SECRETS: [&str; 20] = [
    ".ssh",
    ".aws",
    ".gnupg",
    ".azure",
    ".kube",
    ".netrc",
    ".git-credentials",
    ".pgpass",
    ".my.cnf",
    ".vault-token",
    ".password-store",
    ".docker/config.json",
    ".config/gcloud",
    ".config/gh",
    ".config/op",
    ".config/hub",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".local/share/keyrings",
    ".pypirc",
];
const SYSTEM_SECRETS: [&str; 7] = [
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssl/private",
];
/// The policy of this name. Until policies are read from files there is one, `untrusted`.
pub(crate) fn load(name: &str) -> Result<Policy, Failure> {
    if !is_shipped(name) {
        return Err(Failure::new(format!("--policy: no policy `{name}`"))
            .hint("`untrusted` is the only one in this version"));
    }
    let mut policy = Policy::default();
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    let mut secrets: Vec<PathBuf> = SYSTEM_SECRETS.iter().map(PathBuf::from).collect();
    secrets.extend(home.into_iter().flat_map(|home| HOME_SECRETS.map(|name| home.join(name))));
    secrets.retain(|path| path.symlink_metadata().is_ok());
    policy.files.hide = secrets
        .into_iter()
        .map(|path| {
            let text = path.display().to_string();
            Located::new(HostPath { text, path }, Origin { file: name.into(), line: 1, column: 1 })
        })
        .collect();
    Ok(policy)
}

/// Whether a shipped profile has this name.
pub(crate) fn is_shipped(name: &str) -> bool {
    name == "untrusted"
}

/// The line that an origin names.
pub(crate) fn line(_origin: &Origin) -> Option<String> {
    None
}
