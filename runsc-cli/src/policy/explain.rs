//! `runsc policy explain`: which rule decides a call, and where it was written.

use std::ffi::OsString;

use clap::Args as ClapArgs;
use policies::decide::By;
use policies::diagnostic::did_you_mean;
use policies::diff::show;
use policies::explain::{explain, Args, Explanation, Step, Verdict};
use policies::model::{Action, Policy};
use policies::{calls, constants, Loaded};
use serde_json::{json, Value};

use crate::failure::Failure;
use crate::log;

#[derive(Debug, ClapArgs)]
pub(crate) struct Options {
    /// A policy file, or a shipped profile by name
    #[arg(value_name = "FILE|NAME")]
    policy: OsString,
    /// The call, by name or number
    call: String,
    /// Its arguments: numbers, or constants joined with `|`; `_` for one that is not known
    #[arg(value_name = "ARG", num_args = 0..=6, allow_hyphen_values = true)]
    args: Vec<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let (name, call) = call(&options.call)?;
    let args = arguments(&options.args)?;
    let loaded = super::load(&options.policy)?;
    let found = explain(&loaded.policy, call, &args);
    let title = match options.args.is_empty() {
        true => name.clone(),
        false => format!("{name}({})", options.args.join(", ")),
    };
    if options.json {
        super::print_json(&as_json(&loaded.policy, &name, call, &args, &found));
    } else {
        log::print(&as_text(&loaded, &title, &found));
    }
    Ok(())
}

fn call(text: &str) -> Result<(String, i64), Failure> {
    if let Some(number) = calls::number(text) {
        return Ok((text.to_owned(), number));
    }
    match text.parse::<i64>() {
        Ok(number) if number >= 0 => {
            Ok((calls::name(number).map_or_else(|| text.to_owned(), str::to_owned), number))
        }
        _ => {
            let failure = Failure::new(format!("no call is named `{}`", log::plain(text)));
            Err(match did_you_mean(text, calls::all().map(|(name, _)| name)) {
                Some(hint) => failure.hint(hint),
                None => failure,
            })
        }
    }
}

fn arguments(texts: &[String]) -> Result<Args, Failure> {
    let mut out: Args = [None; 6];
    for (place, text) in out.iter_mut().zip(texts) {
        *place = match text.as_str() {
            "_" => None,
            text => Some(value(text)?),
        };
    }
    Ok(out)
}

fn value(text: &str) -> Result<u64, Failure> {
    text.split('|').map(str::trim).try_fold(0, |all, part| match constants::value(part) {
        Some(value) => Ok(all | value),
        None => {
            let failure =
                Failure::new(format!("`{}` is neither a number nor a known constant", log::plain(part)));
            Err(failure.hint(did_you_mean(part, constants::names()).unwrap_or_else(|| {
                "`runsc policy list --constants` shows all; `_` stands for an argument that is not known"
                    .to_owned()
            })))
        }
    })
}

fn conditions(step: &Step<'_>) -> String {
    step.rule.when.iter().map(|when| when.text.as_str()).collect::<Vec<_>>().join(", ")
}

fn as_text(loaded: &Loaded, title: &str, found: &Explanation<'_>) -> String {
    let policy = &loaded.policy;
    let mut out = Vec::new();
    match found.certain {
        true => out.push(format!("{title}: {}", show(found.otherwise.action))),
        false => out.push(format!("{title}: depends on its arguments")),
    }
    for step in &found.steps {
        let at = &step.rule.origin;
        let when = conditions(step);
        let action = show(step.rule.action);
        let line = match step.verdict {
            Verdict::Decides if when.is_empty() => format!("{at}: this rule decides, for all arguments"),
            Verdict::Decides => format!("{at}: this rule decides, since {when}"),
            Verdict::Depends => format!("{at}: {action} if {when}"),
            Verdict::Fails(index) => {
                let failed = step.rule.when.get(index).map_or("", |when| when.text.as_str());
                format!("{at}: passed over, not {failed}")
            }
            Verdict::NotReached => format!("{at}: not reached ({action})"),
        };
        out.push(format!("  {line}"));
    }
    let otherwise = &found.otherwise;
    let lead = if found.certain { String::new() } else { format!("otherwise {}: ", show(otherwise.action)) };
    let at = otherwise.origin(&policy.syscalls);
    let place = at.map_or_else(String::new, |origin| format!("{origin}: "));
    match &otherwise.by {
        By::Rule(_) if found.certain => {}
        By::Rule(_) => out.push(format!("  {place}{lead}the rule above")),
        By::Group(name) => out.push(format!("  {place}{lead}the group {name}")),
        By::Default if at.is_some() => out.push(format!("  {place}{lead}the default")),
        By::Default => out.push(format!("  {lead}no file gives a default, so all calls are allowed")),
    }
    if let Some(line) = at.and_then(|origin| loaded.sources.line(origin)) {
        out.push(format!("    {}", line.trim_start()));
    }
    if !policy.sources.is_empty() {
        out.push(format!("  read from {}", policy.sources.join(", which extends ")));
    }
    out.iter().map(|line| format!("{}\n", log::plain(line))).collect()
}

fn action(action: Action) -> Value {
    match action {
        Action::Errno(n) => {
            json!({ "action": "errno", "errno": constants::errno_name(n).map_or(json!(n), |name| json!(name)) })
        }
        other => json!({ "action": other.name().to_string() }),
    }
}

fn merged(mut first: Value, second: Value) -> Value {
    if let (Some(into), Value::Object(more)) = (first.as_object_mut(), second) {
        into.extend(more);
    }
    first
}

fn as_json(policy: &Policy, name: &str, call: i64, args: &Args, found: &Explanation<'_>) -> Value {
    let steps: Vec<Value> = found
        .steps
        .iter()
        .map(|step| {
            let verdict = match step.verdict {
                Verdict::Decides => "decides",
                Verdict::Depends => "depends",
                Verdict::Fails(_) => "passed-over",
                Verdict::NotReached => "not-reached",
            };
            let failed = match step.verdict {
                Verdict::Fails(index) => step.rule.when.get(index).map(|when| when.text.clone()),
                _ => None,
            };
            let when: Vec<_> = step.rule.when.iter().map(|when| when.text.as_str()).collect();
            let origin = &step.rule.origin;
            let row = json!({ "verdict": verdict, "when": when, "fails": failed, "origin": origin });
            merged(row, action(step.rule.action))
        })
        .collect();
    let by = match &found.otherwise.by {
        By::Rule(_) => json!("rule"),
        By::Group(group) => json!(group),
        By::Default => json!("default"),
    };
    let decision = json!({
        "call": name,
        "number": call,
        "args": args,
        "certain": found.certain,
        "by": by,
        "origin": found.otherwise.origin(&policy.syscalls),
        "rules": steps,
        "sources": policy.sources,
    });
    merged(decision, action(found.otherwise.action))
}
