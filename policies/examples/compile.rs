//! How long 2,000 rules take to compile, and a decision with and without rules on the call. Run with `--release`.

use std::sync::Arc;
use std::time::Instant;

use policies::decide::Decider;
use policies::model::{Action, CallName, Condition, Located, Operator, Origin, Policy, Rule, Syscalls};

fn main() {
    let calls: Vec<(&str, i64)> = policies::calls::all().collect();
    let origin = Origin { file: "example".into(), line: 1, column: 1 };
    let at = |name: &str, call: i64, value: u64| {
        let condition = Condition {
            arg: (value % 6) as u8,
            explicit_width: None,
            mask: value.is_multiple_of(3).then_some(0xff),
            operator: if value.is_multiple_of(7) { Operator::NotEqual } else { Operator::Equal },
            value,
            text: String::new(),
        };
        Rule {
            names: vec![Located::new(CallName { text: name.to_owned(), calls: vec![call] }, origin.clone())],
            when: vec![Located::new(condition, origin.clone())],
            action: if value.is_multiple_of(2) { Action::Errno(1) } else { Action::Allow },
            errno: None,
            origin: origin.clone(),
        }
    };
    for count in [100, 2000] {
        let picked = calls.iter().filter(|(name, _)| *name != "getppid").cycle().take(count);
        let rules = picked.enumerate().map(|(i, (name, call))| at(name, *call, i as u64)).collect();
        let policy = Policy { syscalls: Syscalls { rules, ..Syscalls::default() }, ..Policy::default() };
        let policy = Arc::new(policy);
        let best = (0..10).map(|_| {
            let start = Instant::now();
            let decider = Decider::new(policy.clone());
            (start.elapsed(), decider)
        });
        let Some((time, Ok(decider))) = best.min_by_key(|(time, _)| *time) else { return };
        println!("{count} rules: compiled in {time:?}, segments and instructions {:?}", decider.size());
        for (name, nr) in [("getppid, without a rule", 110), ("read, with rules", 0)] {
            let start = Instant::now();
            let mut denied = 0u32;
            for i in 0..1_000_000u64 {
                let args = std::hint::black_box([i % 8; 6]);
                denied += u32::from(!decider.action(nr, &args).permits());
            }
            println!(
                "  {name}: {:.1} ns a decision ({denied} denied)",
                start.elapsed().as_nanos() as f64 / 1e6
            );
        }
    }
}
