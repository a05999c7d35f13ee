//! `explain` agrees with what happens, and `diff` sees what differs.

mod common;

use std::sync::Arc;

use common::{origin, policy, Random, CALLS};
use policies::calls;
use policies::decide::{interpret, By, Decider};
use policies::diff::{diff, Effect};
use policies::explain::{explain, Verdict};
use policies::model::{Located, Policy};
use policies::read::Format;
use policies::{load_text, Context};

fn read(text: &str) -> Policy {
    let context = Context { home: None, directory: "/".into() };
    load_text("test.toml", text, Format::Toml, &context).unwrap_or_else(|e| panic!("{e}")).policy
}

#[test]
fn explained_is_what_happens() {
    let mut random = Random::seeded();
    let mut unsure = 0;
    for _ in 0..200 {
        let count = random.of(&[0, 1, 4, 12]);
        let policy = Arc::new(policy(&mut random, count));
        let decider = Decider::new(policy.clone()).expect("compiles");
        for _ in 0..50 {
            let call = random.of(&CALLS);
            let args: [u64; 6] = std::array::from_fn(|_| random.value());
            let happens = decider.decide(call as u64, &args);
            let all = explain(&policy, call, &args.map(Some));
            assert!(all.certain);
            assert_eq!(all.otherwise, happens);
            // With less known, what happens is one of what is told.
            let some = args.map(|arg| (random.below(2) == 0).then_some(arg));
            let part = explain(&policy, call, &some);
            let told = part.steps.iter().any(|step| {
                matches!(step.verdict, Verdict::Depends | Verdict::Decides)
                    && happens.by == By::Rule(step.index)
            });
            assert!(told || part.otherwise == happens, "{happens:?} {part:?}");
            assert!(!part.certain || part.otherwise == happens);
            unsure += u32::from(!part.certain);
        }
    }
    assert!(unsure > 100, "{unsure}");
}

#[test]
fn nothing_differs_from_itself_and_all_else_shows() {
    let mut random = Random::seeded();
    for _ in 0..40 {
        let count = random.of(&[0, 2, 6]);
        let a = policy(&mut random, count);
        assert_eq!(diff(&a, &a), vec![]);
        let mut b = a.clone();
        match random.below(3) {
            0 => b.syscalls.default = Some(Located::new(common::action(&mut random), origin(1))),
            1 => drop(b.syscalls.rules.pop()),
            _ => {
                let more = policy(&mut random, 2).syscalls.rules;
                b.syscalls.rules.splice(0..0, more);
            }
        }
        let found = diff(&a, &b);
        // Whatever is found is so, and what random calls find is among it.
        for change in found.iter().filter(|change| change.is_call) {
            let Some(nr) = calls::number(&change.what) else { continue };
            let args = change.example.unwrap_or_default();
            let (x, y) = (
                interpret(&a.syscalls, nr as u64, &args).action,
                interpret(&b.syscalls, nr as u64, &args).action,
            );
            assert_ne!(x, y, "{change:?}");
        }
        for _ in 0..200 {
            let nr = random.of(&CALLS);
            let args: [u64; 6] = std::array::from_fn(|_| random.value());
            let (x, y) = (
                interpret(&a.syscalls, nr as u64, &args).action,
                interpret(&b.syscalls, nr as u64, &args).action,
            );
            let name = calls::name(nr).unwrap_or_default();
            if x != y && x.permits() != y.permits() {
                assert!(found.iter().any(|change| change.what == name), "{name} {args:x?} {x:?} {y:?}");
            }
        }
    }
}

#[test]
fn each_section_tells_what_it_lets_through() {
    let a = read(
        "[files]\nhide = [\"/etc/shadow\"]\n[network]\nmode = \"none\"\n[limits]\nmemory = \"1G\"\npids = 5\n\
         [syscalls]\n[[syscalls.rule]]\nnames = [\"socket\"]\nwhen = [\"arg0 == AF_NETLINK\"]\naction = \"errno\"\n",
    );
    let b = read("[files]\nhide = [\"/root\"]\n[limits]\nmemory = \"2G\"\n[env]\npass = [\"HOME\"]\n");
    let found = diff(&a, &b);
    let has = |effect: Effect, what: &str| found.iter().any(|c| c.effect == effect && c.what == what);
    assert!(has(Effect::Allows, "socket"), "{found:#?}");
    let socket = found.iter().find(|c| c.what == "socket").and_then(|c| c.example);
    assert_eq!(socket.map(|args| args[0] as u32), Some(libc::AF_NETLINK as u32));
    assert!(has(Effect::Allows, "limits.memory") && has(Effect::Allows, "limits.pids"), "{found:#?}");
    assert!(has(Effect::Allows, "files.hide") && has(Effect::Denies, "files.hide"), "{found:#?}");
    assert!(has(Effect::Allows, "network.mode") && has(Effect::Allows, "env.pass"), "{found:#?}");
    assert!(!found.iter().any(|c| c.what == "read"));
}
