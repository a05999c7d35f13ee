//! A policy in the shape of its file: what the JSON Schema is made of, and what is written as JSON.
//!
//! The reader (`crate::read`) knows more than a schema can say; a test holds the two together, key by key. The comments
//! below are what an editor shows.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{json_schema, JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::Value;

use crate::model::{ActionName, FailOn, MountMode, NetworkMode, Overlay, Policy};
use crate::write::{self, Number};
use crate::{calls, constants, groups, profiles};

/// What a program may do, for runsc.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(title = "runsc policy", deny_unknown_fields)]
pub struct Document {
    /// What the policy is for, in a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Shipped profiles by name, or other files by relative path. What comes later wins, and this file over all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "extends")]
    extends: Vec<String>,
    /// Which system calls do what.
    #[serde(skip_serializing_if = "Option::is_none")]
    syscalls: Option<Syscalls>,
    /// Which files there are, and where writes go.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Files>,
    /// Whom the program can talk to.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<Network>,
    /// How much it may take. What is absent has no limit but the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
    /// The environment variables inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<Env>,
    /// Who and where the program is inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process>,
    /// For `runsc ci` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    ci: Option<Ci>,
}

/// The first rule that matches decides; else the strictest of the groups that hold the call; else the default.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
struct Syscalls {
    /// What happens to a call that nothing else names (allow).
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<ActionName>,
    /// The error of each `errno` that has none of its own (EPERM).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "errno")]
    default_errno: Option<Number>,
    /// Named sets of calls (`runsc policy list --groups`), and what happens to them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "group_table")]
    groups: BTreeMap<String, ActionName>,
    /// Rules, in order of precedence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rule: Vec<Rule>,
}

/// What happens to some calls, or to those with certain arguments.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
struct Rule {
    /// Calls by name, or groups.
    #[schemars(schema_with = "call_names")]
    names: Vec<String>,
    /// Conditions on arguments, all of which must hold: `argN OP VALUE` or `argN & MASK == VALUE`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    when: Vec<String>,
    /// What happens to the calls.
    action: ActionName,
    /// The error that the calls fail with, for the action `errno`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "errno")]
    errno: Option<Number>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
struct Files {
    /// The directory that becomes `/` (the host's `/`).
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    /// Where writes go (memory).
    #[serde(skip_serializing_if = "Option::is_none")]
    overlay: Option<Overlay>,
    /// Paths that do not exist inside. `~` is your home directory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hide: Vec<String>,
    /// Host paths shown inside, and file systems in memory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mount: Vec<Mount>,
}

/// A host path shown inside, or a file system in memory.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
struct Mount {
    /// A path of the host: absolute, from `~`, or from this file's directory. Not for tmpfs.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// Where it is inside (where it is outside).
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    /// How it is shown.
    mode: MountMode,
    /// How much it may hold, for tmpfs and overlay.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "size")]
    size: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
struct Network {
    /// What there is of a network (loopback).
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<NetworkMode>,
    /// What can be reached outside: `HOST[:PORT]` or `CIDR[:PORT]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow: Vec<String>,
    /// Ports of the host that lead inside: `[ADDR:]HOSTPORT:PORT`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    publish: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
struct Limits {
    /// Memory, all processes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "size")]
    memory: Option<String>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pids: Option<u64>,
    /// Processors that it sees and runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    cpus: Option<u64>,
    /// Processor time, all processes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    cpu_time: Option<String>,
    /// After which time it is ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    timeout: Option<String>,
    /// What it may write into the overlay and file systems in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "size")]
    disk: Option<String>,
    /// Open files of each process.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 3))]
    open_files: Option<u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
struct Env {
    /// Whether only what `pass` and `set` name gets in (false).
    #[serde(skip_serializing_if = "Option::is_none")]
    clear: Option<bool>,
    /// Variables that are taken over, also those that lead to agents and displays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pass: Vec<String>,
    /// Variables with their values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    set: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
struct Process {
    /// `UID[:GID]`, by number or name. 0 is root inside, and nobody outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// The machine's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    /// The working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    cwd: Option<String>,
    /// Capabilities, virtual ones (all for uid 0, none otherwise).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "capabilities")]
    capabilities: Option<Vec<String>>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
struct Ci {
    /// What is kept after the run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    artifacts: Vec<String>,
    /// Directories that runs share, `PATH[:rw]`; with `rw` the job's writes are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cache: Vec<String>,
    /// Whether a job that was refused something fails, with 120 (never).
    #[serde(skip_serializing_if = "Option::is_none")]
    fail_on: Option<FailOn>,
}

/// The JSON Schema of policy files.
#[must_use]
pub fn schema() -> Schema {
    let settings =
        SchemaSettings::draft07().for_serialize().with(|settings| settings.inline_subschemas = true);
    let settings = settings.with_transform(RecursiveTransform(without_null));
    settings.into_generator().into_root_schema_for::<Document>()
}

/// What may be absent cannot be null: TOML has none.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(schemas)) = object.get_mut("anyOf") {
        schemas.retain(|schema| schema.get("type").is_none_or(|kind| kind != "null"));
        if let [Value::Object(only)] = schemas.as_mut_slice() {
            let only = std::mem::take(only);
            object.remove("anyOf");
            // What the field says goes before what its type says.
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
}

fn extends(_: &mut SchemaGenerator) -> Schema {
    let names = profiles::ALL.map(|profile| profile.name);
    json_schema!({ "type": "array", "items": { "anyOf": [{ "enum": names }, { "type": "string", "minLength": 1 }] } })
}

fn errno(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<_> = constants::errnos().collect();
    json_schema!({
        "anyOf": [{ "enum": names }, { "type": "integer", "minimum": 1, "maximum": constants::LARGEST_ERRNO }],
    })
}

fn group_table(generator: &mut SchemaGenerator) -> Schema {
    let names: Vec<_> = groups::all().iter().map(|group| group.name).collect();
    let action = generator.subschema_for::<ActionName>();
    json_schema!({ "type": "object", "propertyNames": { "enum": names }, "additionalProperties": action })
}

fn call_names(_: &mut SchemaGenerator) -> Schema {
    let mut names: Vec<_> = calls::all().map(|(name, _)| name).collect();
    names.extend(groups::all().iter().map(|group| group.name));
    names.sort_unstable();
    // A name that this version does not know is passed over with a warning.
    json_schema!({
        "type": "array", "minItems": 1,
        "items": { "anyOf": [{ "enum": names }, { "type": "string", "pattern": "^[a-z_][a-z0-9_]*$" }] },
    })
}

fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {
            "type": "string",
            "pattern": r"^\s*arg[0-5](\.(32|64))?\s*(&[^=!<>&]+(==|!=)|==|!=|<=|>=|<|>)[^=!<>&]+$",
            "examples": ["arg0 == AF_NETLINK", "arg1 & SOCK_TYPE_MASK == SOCK_RAW"],
        },
    })
}

fn size(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [
            { "type": "string", "pattern": r"^[0-9.]+\s*([KkMmGgTt]?(iB|B)?)$", "examples": ["512M", "4G"] },
            { "type": "integer", "minimum": 1 },
        ],
    })
}

fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [
            { "type": "string", "pattern": "^[0-9.]+(ms|s|m|min|h|d)?$", "examples": ["90s", "20m"] },
            { "type": "integer", "minimum": 1 },
        ],
    })
}

fn capabilities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": { "enum": constants::CAPABILITIES.as_slice() } })
}

impl From<&Policy> for Document {
    /// What a whole policy comes to: it extends nothing any more.
    fn from(policy: &Policy) -> Self {
        Self {
            description: policy.description.as_ref().map(|text| text.value.clone()),
            extends: Vec::new(),
            syscalls: unless_empty(&policy.syscalls, || syscalls(&policy.syscalls)),
            files: unless_empty(&policy.files, || files(&policy.files)),
            network: unless_empty(&policy.network, || network(&policy.network)),
            limits: unless_empty(&policy.limits, || limits(&policy.limits)),
            env: unless_empty(&policy.env, || env(&policy.env)),
            process: unless_empty(&policy.process, || process(&policy.process)),
            ci: unless_empty(&policy.ci, || ci(&policy.ci)),
        }
    }
}

fn unless_empty<S: Default + PartialEq, T>(section: &S, make: impl FnOnce() -> T) -> Option<T> {
    (*section != S::default()).then(make)
}

fn texts<T>(list: &[crate::model::Located<T>], text: impl Fn(&T) -> String) -> Vec<String> {
    list.iter().map(|item| text(&item.value)).collect()
}

fn syscalls(section: &crate::model::Syscalls) -> Syscalls {
    Syscalls {
        default: section.default.as_ref().map(|action| action.name()),
        default_errno: section.default_errno.as_ref().map(|errno| write::errno(errno.value)),
        groups: section.groups.iter().map(|(name, entry)| (name.clone(), entry.action.name())).collect(),
        rule: section.rules.iter().map(rule).collect(),
    }
}

fn rule(rule: &crate::model::Rule) -> Rule {
    Rule {
        names: texts(&rule.names, |name| name.text.clone()),
        when: texts(&rule.when, |condition| condition.text.clone()),
        action: rule.action.name(),
        errno: rule.errno.as_ref().map(|errno| write::errno(errno.value)),
    }
}

fn files(section: &crate::model::Files) -> Files {
    Files {
        root: section.root.as_ref().map(|path| write::host_path(&path.value)),
        overlay: section.overlay.as_ref().map(|overlay| overlay.value),
        hide: texts(&section.hide, write::host_path),
        mount: section.mounts.iter().map(mount).collect(),
    }
}

fn mount(mount: &crate::model::Mount) -> Mount {
    Mount {
        source: mount.source.as_ref().map(|path| write::host_path(&path.value)),
        at: Some(mount.at.value.display().to_string()),
        mode: mount.mode.value,
        size: mount.size.as_ref().map(|size| write::size(size.value)),
    }
}

fn network(section: &crate::model::Network) -> Network {
    Network {
        mode: section.mode.as_ref().map(|mode| mode.value),
        allow: texts(&section.allow, ToString::to_string),
        publish: texts(&section.publish, ToString::to_string),
    }
}

fn limits(section: &crate::model::Limits) -> Limits {
    let size =
        |value: &Option<crate::model::Located<u64>>| value.as_ref().map(|value| write::size(value.value));
    let span = |value: &Option<crate::model::Located<std::time::Duration>>| {
        value.as_ref().map(|value| write::duration(value.value))
    };
    let number = |value: &Option<crate::model::Located<u64>>| value.as_ref().map(|value| value.value);
    Limits {
        memory: size(&section.memory),
        pids: number(&section.pids),
        cpus: number(&section.cpus),
        cpu_time: span(&section.cpu_time),
        timeout: span(&section.timeout),
        disk: size(&section.disk),
        open_files: number(&section.open_files),
    }
}

fn env(section: &crate::model::Env) -> Env {
    Env {
        clear: section.clear.as_ref().map(|clear| clear.value),
        pass: texts(&section.pass, Clone::clone),
        set: section.set.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect(),
    }
}

fn process(section: &crate::model::Process) -> Process {
    Process {
        user: section.user.as_ref().map(|user| user.value.clone()),
        hostname: section.hostname.as_ref().map(|name| name.value.clone()),
        cwd: section.cwd.as_ref().map(|path| path.value.display().to_string()),
        capabilities: section.capabilities.as_ref().map(|names| names.value.clone()),
    }
}

fn ci(section: &crate::model::Ci) -> Ci {
    Ci {
        artifacts: texts(&section.artifacts, Clone::clone),
        cache: texts(&section.cache, ToString::to_string),
        fail_on: section.fail_on.as_ref().map(|outcome| outcome.value),
    }
}
