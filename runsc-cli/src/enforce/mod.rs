//! A user's policy at work: what of it the sentry is told ([`rules`]), and what the user is told when it refuses
//! something ([`denied`], with the lines that would allow it from [`tip`]).

pub(crate) mod denied;
pub(crate) mod rules;
pub(crate) mod source;
pub(crate) mod tip;
