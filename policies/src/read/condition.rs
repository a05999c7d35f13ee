//! `argN[.32|.64] [& MASK] OP VALUE`, where mask and value are numbers or constants, joined with `|`.

use std::ops::Range;

use crate::constants;
use crate::diagnostic::did_you_mean;
use crate::model::{Condition, Operator, Width};

/// What is wrong, and with which bytes of the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// Longest first, so that `<=` is not read as `<`.
const OPERATORS: [(&str, Operator); 6] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

const FORM: &str = "write `argN OP VALUE` or `argN & MASK == VALUE`, such as `arg0 == AF_NETLINK`";

/// Reads a condition.
pub(super) fn parse(text: &str) -> Result<Condition, Mistake> {
    let whole = |message: String| Mistake { span: 0..text.len(), message, hint: Some(FORM.to_owned()) };
    let found = text.find(['=', '!', '<', '>']).and_then(|at| {
        let rest = text.get(at..)?;
        OPERATORS.iter().find(|(symbol, _)| rest.starts_with(symbol)).map(|found| (at, found))
    });
    let Some((at, (symbol, operator))) = found else {
        let what =
            if text.contains('=') { "`=` is not a comparison: use `==`" } else { "no comparison in it" };
        return Err(whole(what.to_owned()));
    };
    let (left, right) = (text.get(..at).unwrap_or_default(), at + symbol.len());
    let (argument, mask) = match left.find('&') {
        Some(and) => (left.get(..and).unwrap_or_default(), Some((and + 1)..at)),
        None => (left, None),
    };
    if mask.is_some() && !matches!(operator, Operator::Equal | Operator::NotEqual) {
        return Err(whole(format!("a mask goes with `==` and `!=`, not with `{symbol}`")));
    }
    let (arg, explicit_width) = self::argument(argument).ok_or_else(|| Mistake {
        span: trimmed(text, 0..argument.len()),
        message: format!("`{}` is none of arg0 to arg5", argument.trim()),
        hint: None,
    })?;
    let mask = mask.map(|span| value(text, span)).transpose()?;
    let value = value(text, right..text.len())?;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(Condition { arg, explicit_width, mask, operator: *operator, value, text })
}

fn argument(text: &str) -> Option<(u8, Option<Width>)> {
    let text = text.trim();
    let (name, width) = match text.split_once('.') {
        Some((name, "32")) => (name, Some(Width::Bits32)),
        Some((name, "64")) => (name, Some(Width::Bits64)),
        Some(_) => return None,
        None => (text, None),
    };
    let digit = name.strip_prefix("arg").filter(|digit| digit.len() == 1)?;
    digit.parse().ok().filter(|arg| *arg < 6).map(|arg| (arg, width))
}

fn value(text: &str, span: Range<usize>) -> Result<u64, Mistake> {
    let mut all = 0;
    let mut start = span.start;
    for part in text.get(span.clone()).unwrap_or_default().split('|') {
        let place = trimmed(text, start..start + part.len());
        start += part.len() + 1;
        let word = part.trim();
        all |= constants::value(word).ok_or_else(|| Mistake {
            message: match word {
                "" => "a value is missing".to_owned(),
                _ if word.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                    format!("`{word}` is no number of 64 bits")
                }
                _ => format!("unknown constant `{word}`"),
            },
            hint: did_you_mean(word, constants::names())
                .or_else(|| Some("`runsc policy list --constants` shows all".to_owned())),
            span: place,
        })?;
    }
    Ok(all)
}

/// The span without the blanks at its ends.
fn trimmed(text: &str, span: Range<usize>) -> Range<usize> {
    let part = text.get(span.clone()).unwrap_or_default();
    let start = span.start + (part.len() - part.trim_start().len());
    start..(start + part.trim().len()).max(start)
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::model::{Operator, Width};

    #[test]
    fn the_forms_of_a_condition() {
        let read = |text: &str| parse(text).unwrap_or_else(|mistake| panic!("{text}: {mistake:?}"));
        let plain = read("arg0 == AF_NETLINK");
        assert_eq!((plain.arg, plain.mask, plain.operator, plain.value), (0, None, Operator::Equal, 16));
        let masked = read("  arg1&SOCK_TYPE_MASK ==SOCK_RAW ");
        assert_eq!((masked.arg, masked.mask, masked.value), (1, Some(15), 3));
        assert_eq!(masked.text, "arg1&SOCK_TYPE_MASK ==SOCK_RAW");
        assert_eq!(read("arg2.64 >= 0x1_0").operator, Operator::GreaterOrEqual);
        assert_eq!(read("arg2.32 != 1").explicit_width, Some(Width::Bits32));
        assert_eq!(read("arg2 < 7").operator, Operator::Less);
        assert_eq!(read("arg2 <= 7").operator, Operator::LessOrEqual);
        assert_eq!(read("arg1 & PROT_EXEC != 0").operator, Operator::NotEqual);
        assert_eq!(read("arg2 == O_RDWR | O_CREAT").value, 0o102);
        assert_eq!(read("arg0 == AT_FDCWD").value, -100_i64 as u64);
        assert_eq!(read("arg0 == -1").value, u64::MAX);
    }

    #[test]
    fn comparisons_look_at_the_bits_that_the_kernel_looks_at() {
        let socket = crate::calls::number("socket").expect("a call");
        let condition = parse("arg0 == AF_NETLINK").expect("reads");
        assert!(condition.holds(socket, &[0xdead_0000_0010, 0, 0, 0, 0, 0]));
        let wide = parse("arg0.64 == AF_NETLINK").expect("reads");
        assert!(!wide.holds(socket, &[0xdead_0000_0010, 0, 0, 0, 0, 0]));
        let openat = crate::calls::number("openat").expect("a call");
        let condition = parse("arg0 == AT_FDCWD").expect("reads");
        assert!(condition.holds(openat, &[0xffff_ff9c, 0, 0, 0, 0, 0]));
        assert!(condition.holds(openat, &[u64::MAX - 99, 0, 0, 0, 0, 0]));
        let negated = parse("arg1 & 6 != 2").expect("reads");
        assert!(negated.holds(socket, &[0, 4, 0, 0, 0, 0]) && !negated.holds(socket, &[0, 3, 0, 0, 0, 0]));
    }

    #[test]
    fn mistakes_are_named_where_they_stand() {
        let wrong = |text: &str| {
            let mistake = parse(text).expect_err(text);
            (
                text.get(mistake.span).expect("within").to_owned(),
                mistake.message,
                mistake.hint.unwrap_or_default(),
            )
        };
        let (at, message, hint) = wrong("arg0 == AF_NETLNIK");
        assert_eq!((at.as_str(), message.as_str()), ("AF_NETLNIK", "unknown constant `AF_NETLNIK`"));
        assert!(hint.contains("AF_NETLINK"), "{hint}");
        assert_eq!(wrong("arg6 == 1").0, "arg6");
        assert_eq!(wrong("fd == 1").0, "fd");
        assert!(wrong("arg0 = 1").1.contains("use `==`"));
        assert!(wrong("arg0").1.contains("no comparison"));
        assert!(wrong("arg0 & 1 < 2").1.contains("mask"));
        assert!(wrong("arg0 == ").1.contains("missing"));
        assert!(wrong("arg0 == 1 |").1.contains("missing"));
        assert!(wrong("arg0 == 0x1ffffffffffffffff").1.contains("64 bits"));
        for text in ["", "=", "arg", "arg0 =", "ä == ö", "arg0 & == 1", "==", "arg0 ==== 1", "arg00 == 1"] {
            wrong(text);
        }
    }
}
