//! Random policies from a seed, for the tests that compare two readings of one policy.
#![allow(dead_code, reason = "each test file uses another part")]

use std::collections::BTreeMap;
use std::sync::Arc;

use policies::calls;
use policies::groups;
use policies::model::{
    Action, CallName, Condition, GroupEntry, Located, Operator, Origin, Policy, Rule, Syscalls, Width,
};

pub struct Random(u64);

impl Random {
    pub fn seeded() -> Random {
        let text = std::env::var("RUNSC_TEST_SEED").unwrap_or_else(|_| "runsc".to_owned());
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Random(hash | 1)
    }
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }
    pub fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
    /// Few different values, so that comparisons hold now and then; with halves that differ.
    pub fn value(&mut self) -> u64 {
        let half = [0, 1, 2, 3, 7, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
        match self.below(3) {
            0 => self.of(&half),
            1 => self.of(&half) << 32 | self.of(&half),
            _ => self.below(6),
        }
    }
}

pub fn origin(line: u32) -> Origin {
    Origin { file: Arc::from("test.toml"), line, column: 1 }
}

pub fn action(random: &mut Random) -> Action {
    match random.below(7) {
        0 | 1 => Action::Allow,
        2 => Action::Log,
        3 => Action::Errno(random.of(&[1, 2, 13, 38, 4095])),
        4 => Action::Errno(1),
        5 => Action::Trap,
        _ => Action::Kill,
    }
}

pub fn condition(random: &mut Random) -> Condition {
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
    let (arg, explicit_width) =
        (random.below(6) as u8, random.of(&[None, None, Some(Width::Bits32), Some(Width::Bits64)]));
    Condition { arg, explicit_width, mask, operator, value, text: String::new() }
}

/// Calls that rules and questions are about: few, so that rules meet.
pub const CALLS: [i64; 8] = [0, 1, 16, 41, 59, 202, 257, 435];

pub fn policy(random: &mut Random, rules: u64) -> Policy {
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
