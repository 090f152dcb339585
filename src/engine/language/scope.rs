//! What an expression may see.

use std::cell::Cell;

use serde_json::{Map, Value};

/// The values that `$`, `$$` and `$name` stand for, and the chance that `States.UUID` and `States.MathRandom` draw from.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub input: &'a Value,
    pub context: &'a Context<'a>,
    /// Scopes of variables, the innermost first: it hides a name that an outer one has too.
    pub variables: &'a [&'a Map<String, Value>],
    pub chance: &'a Chance,
}

/// The context object: its small members, and the big ones, which are lent and not copied. An execution's input may have
/// a member for each of ten thousand items, and each of these asks for the context.
#[derive(Debug, Clone, Default)]
pub struct Context<'a> {
    pub own: Value,
    /// Members that stand elsewhere, by their place in the context object.
    pub lent: Vec<(&'static [&'static str], &'a Value)>,
}

impl Context<'_> {
    /// The whole context object, copied.
    pub fn whole(&self) -> Value {
        let mut whole = self.own.clone();
        for (place, value) in &self.lent {
            let mut node = &mut whole;
            for name in *place {
                if !node.is_object() {
                    *node = Value::Object(Map::new());
                }
                let Value::Object(members) = node else { break };
                node = members.entry((*name).to_owned()).or_insert(Value::Null);
            }
            (*value).clone_into(node);
        }
        whole
    }
}

impl<'a> Scope<'a> {
    /// The same scope with another input.
    pub fn with_input<'b>(self, input: &'b Value) -> Scope<'b>
    where
        'a: 'b,
    {
        Scope { input, context: self.context, variables: self.variables, chance: self.chance }
    }
}

/// A deterministic generator (SplitMix64): the same seed gives the same draws, live and in replay.
#[derive(Debug)]
pub struct Chance(Cell<u64>);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    pub fn next_u64(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0.0..1.0`.
    pub fn next_fraction(&self) -> f64 {
        let bits = u32::try_from(self.next_u64() >> 32).unwrap_or_default();
        f64::from(bits) / 4_294_967_296.0
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or_default()
    }
}
