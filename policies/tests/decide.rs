//! The compiled chain against the plain reading of the rules, on random policies and calls.

mod common;

use std::sync::Arc;

use common::{origin, policy, Random, CALLS};
use policies::decide::{interpret, By, Decider};
use policies::model::{Action, CallName, Condition, Located, Operator, Policy, Rule, Syscalls, Width};

#[test]
fn the_chain_is_what_the_rules_say() {
    let mut random = Random::seeded();
    let mut by_rule = 0;
    for round in 0..300 {
        let rules = random.of(&[0, 1, 2, 5, 12, 40]);
        let policy = Arc::new(policy(&mut random, rules));
        let decider = Decider::new(policy.clone()).expect("compiles");
        for _ in 0..200 {
            let nr = match random.below(6) {
                0 => random.below(600),
                1 => random.of(&[511, 512, 0x4000_0027, u64::from(u32::MAX)]),
                _ => random.of(&CALLS) as u64,
            };
            let args: [u64; 6] = std::array::from_fn(|_| random.value());
            let plain = interpret(&policy.syscalls, nr, &args);
            assert_eq!(
                decider.action(nr, &args),
                plain.action,
                "round {round}, call {nr} {args:x?}: {plain:?} of {:#x?}",
                policy.syscalls
            );
            if let Some(fixed) = decider.fixed(nr) {
                assert_eq!(fixed, plain.action);
            }
            assert_eq!(decider.decide(nr, &args), plain);
            assert_eq!(
                plain.origin(&policy.syscalls).is_none(),
                plain.by == By::Default && policy.syscalls.default.is_none()
            );
            by_rule += u32::from(matches!(plain.by, By::Rule(_)));
        }
    }
    assert!(by_rule > 1000, "too few calls met a rule: {by_rule}");
}

/// A program that is too long for the kernel is split, and still in order.
#[test]
fn long_runs_are_split() {
    let mut rules = Vec::new();
    for i in 0..2000u64 {
        let condition = Condition {
            arg: 1,
            explicit_width: Some(Width::Bits64),
            mask: None,
            operator: Operator::Equal,
            value: i << 20,
            text: String::new(),
        };
        rules.push(Rule {
            names: vec![Located::new(CallName { text: "ioctl".into(), calls: vec![16] }, origin(1))],
            when: vec![Located::new(condition, origin(1))],
            action: Action::Errno(1 + (i / 1000) as i32),
            errno: None,
            origin: origin(i as u32 + 1),
        });
    }
    let policy = Policy { syscalls: Syscalls { rules, ..Syscalls::default() }, ..Policy::default() };
    let decider = Decider::new(Arc::new(policy)).expect("compiles");
    assert!(decider.size().0 > 4, "{:?}", decider.size());
    for i in [0, 1, 999, 1000, 1999u64] {
        let args = [0, i << 20, 0, 0, 0, 0];
        assert_eq!(decider.action(16, &args), Action::Errno(1 + (i / 1000) as i32), "{i}");
        assert_eq!(decider.decide(16, &args).by, By::Rule(i as usize));
    }
    assert_eq!(decider.action(16, &[0, 5, 0, 0, 0, 0]), Action::Allow);
    assert_eq!(decider.fixed(0), Some(Action::Allow));
}
