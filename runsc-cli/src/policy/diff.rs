//! `runsc policy diff`: what one policy lets through that another does not.

use std::ffi::OsString;

use clap::Args;
use policies::diff::{diff, Change, Effect};
use serde_json::{json, Value};

use crate::failure::Failure;
use crate::log;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A policy file, or a shipped profile by name
    #[arg(value_name = "FILE|NAME")]
    before: OsString,
    /// The policy that is compared with it
    #[arg(value_name = "FILE|NAME")]
    after: OsString,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// 0 where nothing differs, else 1, as diff(1).
pub(super) fn run(options: &Options) -> Result<u8, Failure> {
    let before = super::load(&options.before)?.policy;
    let after = super::load(&options.after)?.policy;
    let changes = diff(&before, &after);
    if options.json {
        super::print_json(&changes.iter().map(as_json).collect());
    } else {
        log::print(&as_text(&changes));
    }
    Ok(u8::from(!changes.is_empty()))
}

fn as_text(changes: &[Change]) -> String {
    let titles = [
        (Effect::Allows, "+", "newly let through"),
        (Effect::Denies, "-", "newly denied"),
        (Effect::Changes, "~", "otherwise different"),
    ];
    let mut out = String::new();
    for (effect, sign, title) in titles {
        let mut lines: Vec<String> = Vec::new();
        let of = || changes.iter().filter(|change| change.effect == effect);
        // Calls that change alike stand in one line.
        let mut alike: Vec<(&str, &str, Vec<&str>)> = Vec::new();
        for change in of().filter(|change| change.is_call && change.example.is_none()) {
            match alike
                .iter_mut()
                .find(|(before, after, _)| *before == change.before && *after == change.after)
            {
                Some((.., names)) => names.push(&change.what),
                None => alike.push((&change.before, &change.after, vec![&change.what])),
            }
        }
        lines.extend(
            alike
                .into_iter()
                .map(|(before, after, names)| format!("{sign} {before} → {after}: {}", names.join(", "))),
        );
        for change in of().filter(|change| !change.is_call || change.example.is_some()) {
            lines.push(format!("{sign} {}", one(change)));
        }
        if !lines.is_empty() {
            out.push_str(&format!("{title}:\n"));
            lines.iter().for_each(|line| out.push_str(&format!("  {}\n", log::plain(line))));
        }
    }
    out
}

fn one(change: &Change) -> String {
    let Change { what, before, after, .. } = change;
    if let Some(args) = change.example {
        let args: Vec<_> = args.iter().map(shown).collect();
        return format!("{before} → {after}: {what}, for some arguments, such as ({})", args.join(", "));
    }
    match (before.is_empty(), after.is_empty()) {
        (true, _) => format!("{what}: {after}"),
        (_, true) => format!("{what}: no longer {before}"),
        _ => format!("{what}: {before} → {after}"),
    }
}

fn shown(value: &u64) -> String {
    if *value < 4096 {
        value.to_string()
    } else {
        format!("{value:#x}")
    }
}

fn as_json(change: &Change) -> Value {
    let effect = match change.effect {
        Effect::Allows => "allows",
        Effect::Denies => "denies",
        Effect::Changes => "changes",
    };
    let key = if change.is_call { "call" } else { "key" };
    json!({
        "effect": effect,
        key: change.what,
        "before": change.before,
        "after": change.after,
        "example": change.example,
    })
}
