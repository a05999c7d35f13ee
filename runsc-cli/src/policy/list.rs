//! `runsc policy list`.

use clap::Args;
use policies::{calls, constants, groups, profiles, Context};
use serde_json::{json, Value};

use crate::log;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The groups of calls, each with its calls
    #[arg(long, conflicts_with = "constants")]
    groups: bool,
    /// The constants that conditions know, with their values
    #[arg(long)]
    constants: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) {
    let listed = match options {
        Options { groups: true, .. } => groups_listed(options.json),
        Options { constants: true, .. } => constants_listed(options.json),
        _ => profiles_listed(options.json),
    };
    match listed {
        Listed::Json(value) => super::print_json(&value),
        Listed::Text(text) => log::print(&text),
    }
}

enum Listed {
    Json(Value),
    Text(String),
}

fn profiles_listed(as_json: bool) -> Listed {
    let context = Context::of_caller();
    let about = |profile: &profiles::Profile| {
        let loaded = policies::load(profile.name.as_ref(), &context).ok();
        loaded.and_then(|loaded| loaded.policy.description).map(|text| text.value).unwrap_or_default()
    };
    let all = profiles::ALL.iter().map(|profile| (profile.name, about(profile)));
    if as_json {
        let rows = all.map(|(name, description)| json!({ "name": name, "description": description }));
        return Listed::Json(rows.collect());
    }
    Listed::Text(all.map(|(name, about)| format!("{name:<12}{about}\n")).collect())
}

fn groups_listed(as_json: bool) -> Listed {
    let calls = |group: &groups::Group| -> Vec<&'static str> {
        let mut names: Vec<_> =
            groups::members(group.name).iter().filter_map(|number| calls::name(*number)).collect();
        names.sort_unstable();
        names
    };
    let mut all: Vec<_> = groups::all().iter().collect();
    all.sort_unstable_by_key(|group| group.name);
    if as_json {
        let row = |group: &&groups::Group| json!({ "name": group.name, "description": group.about, "calls": calls(group) });
        return Listed::Json(all.iter().map(row).collect());
    }
    let text = |group: &groups::Group| format!("{}: {}\n{}", group.name, group.about, wrapped(&calls(group)));
    Listed::Text(all.into_iter().map(text).collect::<Vec<_>>().join("\n"))
}

fn constants_listed(as_json: bool) -> Listed {
    if as_json {
        let all = constants::families().flat_map(constants::Family::constants);
        return Listed::Json(Value::Object(
            all.map(|(name, value)| (name.to_owned(), json!(value))).collect(),
        ));
    }
    let family = |family: &constants::Family| {
        let rows = family.constants().map(|(name, value)| format!("  {name:<40} {value:#x}\n"));
        format!("{}\n{}", family.about, rows.collect::<String>())
    };
    Listed::Text(constants::families().map(family).collect::<Vec<_>>().join("\n"))
}

/// Words in lines that fit a terminal.
fn wrapped(words: &[&str]) -> String {
    const WIDTH: usize = 100;
    let mut text = String::new();
    let mut line = String::from(" ");
    for word in words {
        if line.len() + word.len() >= WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = String::from(" ");
        }
        line.push(' ');
        line.push_str(word);
    }
    text + &line + "\n"
}
