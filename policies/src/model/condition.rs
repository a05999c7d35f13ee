//! A condition on one argument of a call: `argN[.32|.64] [& MASK] OP VALUE`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::calls;

/// How many bits of an argument are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Width {
    Bits32,
    Bits64,
}

impl Width {
    /// The bits that count.
    #[must_use]
    pub fn mask(self) -> u64 {
        match self {
            Width::Bits32 => 0xffff_ffff,
            Width::Bits64 => u64::MAX,
        }
    }
}

/// How an argument is compared; always unsigned, as BPF does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    /// As it is written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Operator::Equal => "==",
            Operator::NotEqual => "!=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
        }
    }

    fn holds(self, left: u64, right: u64) -> bool {
        match self {
            Operator::Equal => left == right,
            Operator::NotEqual => left != right,
            Operator::Less => left < right,
            Operator::LessOrEqual => left <= right,
            Operator::Greater => left > right,
            Operator::GreaterOrEqual => left >= right,
        }
    }
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Condition {
    /// 0 to 5.
    pub arg: u8,
    /// Given outright; else it is the width of that parameter of the call ([`Condition::width`]).
    pub explicit_width: Option<Width>,
    /// Only with `==` and `!=`. (`x & M != V` is the disjunction over the bits b of M of `x & b == !V & b`.)
    pub mask: Option<u64>,
    pub operator: Operator,
    /// A negative number is its two's complement in 64 bits; what counts is what fits the width.
    pub value: u64,
    /// As it was written, for messages.
    pub text: String,
}

impl Condition {
    /// How many bits of the argument count in this call. The kernel looks at 32 bits of an `int` and ignores what a
    /// program leaves in the upper half, so a comparison must, too, or it could be slipped past.
    #[must_use]
    pub fn width(&self, call: i64) -> Width {
        self.explicit_width.unwrap_or_else(|| calls::width(call, self.arg))
    }

    /// Whether it holds for this call.
    #[must_use]
    pub fn holds(&self, call: i64, args: &[u64; 6]) -> bool {
        let Some(arg) = args.get(usize::from(self.arg)) else { return false };
        let bits = self.width(call).mask();
        let left = arg & bits & self.mask.unwrap_or(u64::MAX);
        self.operator.holds(left, self.value & bits)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
