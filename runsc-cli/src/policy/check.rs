//! `runsc policy check`.

use std::ffi::OsString;

use clap::Args;
use policies::diagnostic::{Diagnostic, Severity};
use policies::Context;
use serde_json::json;

use crate::failure::{Failure, OUR_FAILURE};
use crate::log;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Policy files, or shipped profiles by name
    #[arg(required = true, value_name = "FILE|NAME")]
    files: Vec<OsString>,
    /// Print the findings as JSON on standard output
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Result<u8, Failure> {
    let context = Context::of_caller();
    let mut reports = Vec::new();
    let mut bad = false;
    for file in &options.files {
        let name = file.to_string_lossy();
        let findings = match policies::load_any(file, &context, &policies::foreign::Options::default()) {
            Ok(loaded) => policies::check(&loaded),
            Err(errors) => errors.0,
        };
        let errors = count(&findings, Severity::Error);
        bad |= errors > 0;
        if options.json {
            reports.push(json!({ "file": name, "valid": errors == 0, "findings": findings }));
        } else {
            for finding in &findings {
                log::error(&finding.to_string());
            }
            log::print(&format!("{}: {}\n", log::plain(&name), verdict(&findings)));
        }
    }
    if options.json {
        super::print_json(&json!(reports));
    }
    Ok(if bad { OUR_FAILURE } else { 0 })
}

fn count(findings: &[Diagnostic], severity: Severity) -> usize {
    findings.iter().filter(|finding| finding.severity == severity).count()
}

fn verdict(findings: &[Diagnostic]) -> String {
    let plural = |count: usize, what: &str| match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        _ => Some(format!("{count} {what}s")),
    };
    let errors = plural(count(findings, Severity::Error), "error");
    let warnings = plural(count(findings, Severity::Warning), "warning");
    match (errors, warnings) {
        (None, None) => "good".to_owned(),
        (None, Some(warnings)) => format!("can be used, {warnings}"),
        (Some(errors), None) => errors,
        (Some(errors), Some(warnings)) => format!("{errors}, {warnings}"),
    }
}
