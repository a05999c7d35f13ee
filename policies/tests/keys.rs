//! Every key: an example in REFERENCE.md that can be read, one here that cannot, and a line of the schema.

use std::collections::BTreeSet;
use std::path::PathBuf;

use policies::document::{self, Document};
use policies::model::Policy;
use policies::read::Format;
use policies::write::{self, Comments};
use policies::{load_text, profiles, Context};
use serde_json::Value;

const REFERENCE: &str = include_str!("../REFERENCE.md");

/// A key, a text that uses it wrongly, and what is said.
const BAD: &[(&str, &str, &str)] = &[
    ("description", "description = 1", "1:15: expected a description, found a number"),
    (
        "extends",
        "extends = \"ci\"",
        "1:11: expected a list of policies, such as [\"untrusted\"], found a string",
    ),
    ("syscalls", "syscalls = 1", "1:12: expected the table [syscalls]"),
    ("syscalls.default", "[syscalls]\ndefault = \"alow\"", "2:11: `alow` is none of allow, log"),
    ("syscalls.default-errno", "[syscalls]\ndefault-errno = \"EPREM\"", "did you mean `EPERM`?"),
    ("syscalls.groups", "[syscalls]\ngroups = { \"@mont\" = \"errno\" }", "2:12: unknown group `@mont`"),
    ("syscalls.rule", "[syscalls]\nrule = { names = [\"read\"] }", "2:8: expected a list of rules"),
    ("syscalls.rule.names", "[[syscalls.rule]]\nnames = []\naction = \"log\"", "2:9: the list is empty"),
    (
        "syscalls.rule.when",
        "[[syscalls.rule]]\nnames = [\"read\"]\nwhen = [\"arg9 == 1\"]\naction = \"log\"",
        "3:10: `arg9` is none of arg0 to arg5",
    ),
    ("syscalls.rule.action", "[[syscalls.rule]]\nnames = [\"read\"]", "1:1: the rule has no `action`"),
    (
        "syscalls.rule.errno",
        "[[syscalls.rule]]\nnames = [\"read\"]\naction = \"kill\"\nerrno = \"EPERM\"",
        "4:9: `errno` goes with the action `errno`, not with `kill`",
    ),
    ("files", "files = []", "1:9: expected the table [files], found a list"),
    ("files.root", "[files]\nroot = \"/../..\"", "2:8: `/../..` leads above /"),
    ("files.overlay", "[files]\noverlay = \"disc\"", "did you mean `disk`?"),
    ("files.hide", "[files]\nhide = [\"~bob/x\"]", "2:9: `~bob/x`: another user's home"),
    ("files.mount", "[files]\nmount = \"/a\"", "2:9: expected a list of mounts"),
    (
        "files.mount.source",
        "[[files.mount]]\nsource = \"/a\"\nat = \"/b\"\nmode = \"tmpfs\"",
        "2:10: a tmpfs begins empty and has no `source`",
    ),
    (
        "files.mount.at",
        "[[files.mount]]\nsource = \"/a\"\nat = \"b\"\nmode = \"ro\"",
        "3:6: `b` is not an absolute path",
    ),
    ("files.mount.mode", "[[files.mount]]\nsource = \"/a\"", "1:1: the mount has no `mode`"),
    (
        "files.mount.size",
        "[[files.mount]]\nsource = \"/a\"\nmode = \"ro\"\nsize = \"1G\"",
        "4:8: `size` goes with `tmpfs` and `overlay`",
    ),
    ("network", "network = \"none\"", "1:11: expected the table [network]"),
    ("network.mode", "[network]\nmode = \"localhost\"", "2:8: `localhost` is none of none, loopback, host"),
    ("network.allow", "[network]\nallow = [\"example.org:99999\"]", "2:10: `99999` is not a port"),
    ("network.publish", "[network]\npublish = [\"80\"]", "2:12: `80` is not [ADDR:]HOSTPORT:PORT"),
    ("limits", "limits = true", "1:10: expected the table [limits], found true or false"),
    ("limits.memory", "[limits]\nmemory = \"4X\"", "2:10: unknown unit `X`"),
    ("limits.pids", "[limits]\npids = -1", "2:8: expected a number from 1"),
    ("limits.cpus", "[limits]\ncpus = \"two\"", "2:8: expected a number, found a string"),
    ("limits.cpu-time", "[limits]\ncpu-time = \"20 years\"", "2:12: unknown unit ` years`"),
    ("limits.timeout", "[limits]\ntimeout = \"0s\"", "2:11: a time span of 0"),
    ("limits.disk", "[limits]\ndisk = 0", "2:8: expected a number from 1"),
    ("limits.open-files", "[limits]\nopen_files = 3", "2:1: unknown key `open_files`"),
    ("env", "env = 1", "1:7: expected the table [env]"),
    ("env.clear", "[env]\nclear = \"yes\"", "2:9: expected true or false, found a string"),
    ("env.pass", "[env]\npass = [\"A=1\"]", "2:9: `A=1` cannot be the name of a variable"),
    ("env.set", "[env]\nset = { A = 1 }", "2:13: expected a string, found a number"),
    ("process", "process = 1979-05-27", "1:11: expected the table [process], found a date"),
    ("process.user", "[process]\nuser = \"1:2:3\"", "2:8: `1:2:3` is not UID[:GID]"),
    ("process.hostname", "[process]\nhostname = \"a b\"", "2:12: `a b`: a name has letters"),
    ("process.cwd", "[process]\ncwd = \"build\"", "2:7: `build` is not an absolute path"),
    ("process.capabilities", "[process]\ncapabilities = [\"CAP_CHWON\"]", "did you mean `CAP_CHOWN`?"),
    ("ci", "ci = \"x\"", "1:6: expected the table [ci]"),
    ("ci.artifacts", "[ci]\nartifacts = [1]", "2:14: expected a path or pattern, found a number"),
    ("ci.cache", "[ci]\ncache = [\"\"]", "2:10: expected PATH[:rw], found an empty string"),
    ("ci.fail-on", "[ci]\nfail-on = \"violations\"", "did you mean `violation`?"),
];

fn read(text: &str) -> Result<Policy, String> {
    let context = Context { home: Some(PathBuf::from("/home/ann")), directory: PathBuf::from("/work") };
    let loaded = load_text("t.toml", text, Format::Toml, &context);
    loaded.map(|loaded| loaded.policy).map_err(|errors| errors.to_string())
}

/// The keys of the schema, with dots between; entries of `groups` and `set` are not keys of the format.
fn keys(schema: &Value, prefix: &str, all: &mut BTreeSet<String>) {
    let schema = schema.get("items").unwrap_or(schema);
    // What may be absent is "this or null".
    let alternatives = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    for schema in alternatives.chain([schema]) {
        for (key, value) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            keys(value, &name, all);
            all.insert(name);
        }
    }
}

fn schema_keys() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    keys(document::schema().as_value(), "", &mut all);
    assert!(all.len() > 30, "{all:?}");
    all
}

/// The examples of the reference: the heading above each, and its text.
fn examples() -> Vec<(String, String)> {
    let (mut all, mut heading, mut open) = (Vec::new(), String::new(), None::<String>);
    for line in REFERENCE.lines() {
        match (&mut open, line) {
            (Some(_), "```") => all.extend(open.take().map(|text| (heading.clone(), text))),
            (Some(text), line) => text.extend([line, "\n"]),
            (None, "```toml") => open = Some(String::new()),
            (None, line) if line.starts_with('#') => {
                heading = line.trim_start_matches('#').trim().trim_matches(['`', '[', ']']).to_owned();
            }
            (None, _) => {}
        }
    }
    assert!(all.len() > 30);
    all
}

#[test]
fn every_key_has_an_example_that_can_be_read() {
    let examples = examples();
    for (heading, text) in &examples {
        read(text).unwrap_or_else(|errors| panic!("{heading}: {errors}"));
    }
    for key in schema_keys() {
        // A section's heading is `[name]`, and its keys have the examples.
        let found = examples.iter().any(|(heading, text)| *heading == key && text.contains(last(&key)));
        let section = REFERENCE.contains(&format!("\n## `[{key}]`\n"));
        assert!(found || section, "REFERENCE.md has no example for `{key}`");
    }
}

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

#[test]
fn every_key_has_an_example_that_is_refused_at_its_place() {
    let known: BTreeSet<_> = BAD.iter().map(|(key, ..)| (*key).to_owned()).collect();
    assert_eq!(known, schema_keys(), "keys of the schema, and bad examples");
    for (key, text, said) in BAD {
        let errors = read(text).expect_err(key);
        assert!(errors.contains(said), "{key}: {errors}");
        assert!(errors.starts_with("t.toml:"), "{key}: {errors}");
    }
}

/// The tables of fixed keys, each with what it must have.
fn tables(schema: &Value, at: &str, all: &mut Vec<(String, Vec<String>)>) {
    match schema {
        Value::Object(object) => {
            if object.contains_key("properties") {
                assert_eq!(object.get("additionalProperties"), Some(&Value::Bool(false)), "{at}");
                let required = object.get("required").and_then(Value::as_array).into_iter().flatten();
                let required = required.map(|key| key.as_str().expect("a key").to_owned()).collect();
                all.push((at.to_owned(), required));
            }
            object.iter().for_each(|(key, value)| tables(value, &format!("{at}/{key}"), all));
        }
        Value::Array(items) => items.iter().for_each(|item| tables(item, at, all)),
        Value::String(word) => assert_ne!(word, "null", "{at}: nothing in a policy is null"),
        Value::Null => panic!("{at}: nothing in a policy is null"),
        _ => {}
    }
}

#[test]
fn the_schema_asks_for_no_more_than_the_reader() {
    let mut all = Vec::new();
    tables(document::schema().as_value(), "", &mut all);
    assert_eq!(all.len(), 10, "{all:?}");
    let required: Vec<_> = all.into_iter().filter(|(_, required)| !required.is_empty()).collect();
    let expected = [
        ("/properties/files/properties/mount/items", vec!["mode"]),
        ("/properties/syscalls/properties/rule/items", vec!["names", "action"]),
    ];
    let expected = expected.map(|(at, keys)| (at.to_owned(), keys.into_iter().map(str::to_owned).collect()));
    assert_eq!(required, expected);
}

#[test]
fn what_is_written_reads_the_same() {
    let profiles = profiles::ALL.iter().map(|profile| (profile.name.to_owned(), profile.text.to_owned()));
    for (name, text) in examples().into_iter().chain(profiles) {
        let policy = read(&text).unwrap_or_else(|errors| panic!("{name}: {errors}"));
        let plain = write::to_toml(&policy, Comments::None);
        let again = read(&plain).unwrap_or_else(|errors| panic!("{name}: {errors}\n{plain}"));
        assert_eq!(write::to_toml(&again, Comments::None), plain, "{name}");
        let with_origins = write::to_toml(&policy, Comments::Origins);
        let commented =
            read(&with_origins).unwrap_or_else(|errors| panic!("{name}: {errors}\n{with_origins}"));
        assert_eq!(write::to_toml(&commented, Comments::None), plain, "{name}");
        // The same as JSON.
        let json = serde_json::to_value(Document::from(&policy)).expect("a value");
        let from_toml: Value = serde_json::to_value(Document::from(&again)).expect("a value");
        assert_eq!(json, from_toml, "{name}");
        let context = Context { home: Some(PathBuf::from("/home/ann")), directory: PathBuf::from("/work") };
        let from_json = load_text("t.json", &json.to_string(), Format::Json, &context);
        let from_json = from_json.unwrap_or_else(|errors| panic!("{name}: {errors}"));
        assert_eq!(write::to_toml(&from_json.policy, Comments::None), plain, "{name}");
    }
}

#[test]
fn the_origin_of_each_line_is_shown() {
    let shown = write::to_toml(
        &read("extends = [\"strict\"]\n[limits]\npids = 7\n").expect("reads"),
        Comments::Origins,
    );
    let line =
        |start: &str| shown.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{shown}"));
    assert!(line("pids = 7 ").ends_with("# t.toml:3:8"), "{shown}");
    assert!(line("memory = ").contains("# strict:"), "{shown}");
    assert!(line("    \"~/.ssh\"").contains("# untrusted:"), "{shown}");
    assert!(line("[[syscalls.rule]]").contains("# strict:"), "{shown}");
}
