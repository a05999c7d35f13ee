//! The compiled chain against the plain reading of the rules, on random policies and calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use policies::calls;
use policies::decide::{interpret, By, Decider};
use policies::groups;
use policies::model::{
    Action, CallName, Condition, GroupEntry, Located, Operator, Origin, Policy, Rule, Syscalls, Width,
};

struct Random(u64);

impl Random {
    fn seeded() -> Random {
        let text = std::env::var("RUNSC_TEST_SEED").unwrap_or_else(|_| "runsc".to_owned());
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Random(hash | 1)
    }
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }
    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
    /// Few different values, so that comparisons hold now and then; with halves that differ.
    fn value(&mut self) -> u64 {
        let half = [0, 1, 2, 3, 7, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
        match self.below(3) {
            0 => self.of(&half),
            1 => self.of(&half) << 32 | self.of(&half),
            _ => self.below(6),
        }
    }
}

fn origin(line: u32) -> Origin {
    Origin { file: Arc::from("test.toml"), line, column: 1 }
}

fn action(random: &mut Random) -> Action {
    match random.below(7) {
        0 | 1 => Action::Allow,
        2 => Action::Log,
        3 => Action::Errno(random.of(&[1, 2, 13, 38, 4095])),
        4 => Action::Errno(1),
        5 => Action::Trap,
        _ => Action::Kill,
    }
}

fn condition(random: &mut Random) -> Condition {
    let operator = random.of(&[
        Operator::Equal,
        Operator::NotEqual,
        Operator::Less,
        Operator::LessOrEqual,
        Operator::Greater,
        Operator::GreaterOrEqual,
    ]);
    let maskable = matches!(operator, Operator::Equal | Operator::NotEqual);
    let mask = (maskable && random.below(2) == 0).then(|| random.value());
    let mut value = random.value();
    if random.below(3) > 0 {
        value &= mask.unwrap_or(u64::MAX);
    }
    Condition {
        arg: random.below(6) as u8,
        explicit_width: random.of(&[None, None, Some(Width::Bits32), Some(Width::Bits64)]),
        mask,
        operator,
        value,
        text: String::new(),
    }
}

/// Calls that rules and questions are about: few, so that rules meet.
const CALLS: [i64; 8] = [0, 1, 16, 41, 59, 202, 257, 435];

fn policy(random: &mut Random, rules: u64) -> Policy {
    let at = |random: &mut Random, line| {
        let names = (0..1 + random.below(3))
            .map(|_| match random.below(8) {
                0 => {
                    let group = random.of(groups::all()).name;
                    CallName { text: group.to_owned(), calls: groups::members(group).to_vec() }
                }
                _ => {
                    let call = random.of(&CALLS);
                    CallName { text: calls::name(call).unwrap_or("?").to_owned(), calls: vec![call] }
                }
            })
            .map(|name| Located::new(name, origin(line)))
            .collect();
        let when = (0..random.below(4)).map(|_| Located::new(condition(random), origin(line))).collect();
        Rule { names, when, action: action(random), errno: None, origin: origin(line) }
    };
    let rules = (0..rules).map(|line| at(random, line as u32 + 1)).collect();
    let groups: BTreeMap<_, _> = (0..random.below(4))
        .map(|i| {
            let name = random.of(groups::all()).name.to_owned();
            (name, GroupEntry { action: action(random), origin: origin(1000 + i as u32) })
        })
        .collect();
    let default = (random.below(2) == 0).then(|| Located::new(action(random), origin(2000)));
    Policy { syscalls: Syscalls { default, default_errno: None, groups, rules }, ..Policy::default() }
}

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
