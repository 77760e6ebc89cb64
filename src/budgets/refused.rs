//! Who is told where a budget refuses a call before it is spent: what is left may be less than any call costs, and then nothing would
//! ever come to its end.

use super::{Budgets, Mark, Reached, Short};
use crate::moment::Moment;

impl Budgets {
    /// A call was refused for want of room: what is to be told of that, once in a period and not after its end.
    #[must_use]
    pub fn refused(&self, now: Moment, short: &Short) -> Option<Reached> {
        let mut state = self.lock();
        let ids = state.ids.get(&short.scope)?.clone();
        for id in ids {
            let Some(budget) = state.get_mut(id) else { continue };
            budget.turn(now);
            let is_it = budget.spec.max.is_some() && budget.resets == short.resets;
            if is_it && budget.told < Some(Mark::Spent) && !std::mem::replace(&mut budget.told_refusal, true) {
                return Some(Reached { mark: Mark::Refuses(short.asked), budget: budget.report() });
            }
        }
        None
    }
}
