//! The shipped profiles, compiled in.

/// A shipped profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    pub name: &'static str,
    /// The file's text: `policies/profiles/NAME.toml`.
    pub text: &'static str,
}

/// All of them, by name.
pub const ALL: [Profile; 5] = [
    Profile { name: "build", text: include_str!("../profiles/build.toml") },
    Profile { name: "ci", text: include_str!("../profiles/ci.toml") },
    Profile { name: "permissive", text: include_str!("../profiles/permissive.toml") },
    Profile { name: "strict", text: include_str!("../profiles/strict.toml") },
    Profile { name: "untrusted", text: include_str!("../profiles/untrusted.toml") },
];

/// The profile of this name.
#[must_use]
pub fn find(name: &str) -> Option<Profile> {
    ALL.into_iter().find(|profile| profile.name == name)
}
