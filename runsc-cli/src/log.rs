//! Our own messages: on standard error, prefixed `runsc:`, as text or as JSON. None of this fails because standard
//! error is closed.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::panic;
use std::sync::OnceLock;

use sentry::config::Log;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::registry::LookupSpan;

static SETTINGS: OnceLock<Log> = OnceLock::new();

/// Starts the log of this process.
pub(crate) fn start(settings: Log) {
    if SETTINGS.set(settings).is_err() {
        return;
    }
    let level = match settings.verbosity {
        ..=-1 => Level::ERROR,
        0 => Level::WARN,
        1 => Level::INFO,
        2 => Level::DEBUG,
        3.. => Level::TRACE,
    };
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr);
    // A second log in one process (a test, say) keeps the first.
    let _ = if settings.json {
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).without_time().finish())
    } else {
        tracing::subscriber::set_global_default(builder.event_format(Prefixed).finish())
    };
}

/// An error of ours, whether the log has started or not.
pub(crate) fn error(text: &str) {
    if SETTINGS.get().is_some() {
        tracing::error!("{text}");
    } else {
        write_lines(&mut io::stderr().lock(), text);
    }
}

/// Whether our messages are JSON.
pub(crate) fn is_json() -> bool {
    SETTINGS.get().is_some_and(|settings| settings.json)
}

/// Whether the user asked for more.
pub(crate) fn is_verbose() -> bool {
    SETTINGS.get().is_some_and(|settings| settings.verbosity > 0)
}

/// One message as JSON, unless we are to be quiet.
pub(crate) fn json(message: &serde_json::Value) {
    if SETTINGS.get().is_some_and(|settings| settings.verbosity >= 0) {
        // In one piece: guests write to the same place.
        let _ = io::stderr().lock().write_all(format!("{message}\n").as_bytes());
    }
}

/// Something to know, unless we are to be quiet.
pub(crate) fn notice(text: &str) {
    if is_json() {
        tracing::warn!("{text}");
    } else if SETTINGS.get().is_some_and(|settings| settings.verbosity >= 0) {
        write_lines(&mut io::stderr().lock(), text);
    }
}

/// Something for those who asked for more.
pub(crate) fn info(text: &str) {
    if is_verbose() {
        write_lines(&mut io::stderr().lock(), text);
    }
}

/// Help and the like, on standard output.
pub(crate) fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

fn write_lines(out: &mut impl Write, text: &str) {
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        // In one piece: guests write to the same place.
        let _ = out.write_all(format!("runsc: {}\n", plain(line)).as_bytes());
    }
}

/// A line without control characters: names and interpreters in it are not ours, and must not talk to the terminal.
pub(crate) fn plain(line: &str) -> Cow<'_, str> {
    if line.chars().any(char::is_control) {
        line.chars()
            .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
            .collect::<String>()
            .into()
    } else {
        line.into()
    }
}

/// A bug of ours reads as a message, not as a Rust panic.
pub(crate) fn panics_read_as_messages() {
    panic::set_hook(Box::new(|info| {
        let text = info
            .payload()
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| info.payload().downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let place = info.location().map(|place| format!(" ({}:{})", place.file(), place.line()));
        error(&format!(
            "internal error: {text}{}\nthis is a bug in runsc; please report it with this line",
            place.unwrap_or_default()
        ));
    }));
}

/// One event, as `runsc: message key=value`.
struct Prefixed;

impl<S, N> FormatEvent<S, N> for Prefixed
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        let prefix = match *metadata.level() {
            Level::WARN => "warning: ".to_owned(),
            Level::ERROR | Level::INFO => String::new(),
            _ => format!("{}: ", metadata.target()),
        };
        for line in format!("{}{}", text.message, text.fields).lines() {
            writeln!(out, "runsc: {prefix}{}", plain(line))?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write;
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(plain("cannot run `ä`"), "cannot run `ä`");
        assert_eq!(plain("a\x1b[2J\u{9b}\r"), "a\\u{1b}[2J\\u{9b}\\r");
    }
}
