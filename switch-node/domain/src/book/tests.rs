//! Tests of the book: every refusal in its order of precedence, every rule that the pure core keeps, and after every command
//! the invariants of the whole table.

use crate as domain;

mod fixture;
mod invariants;
mod refusals;
mod rules_identity;
mod rules_lanes;
mod rules_retention;
mod rules_sums;
mod rules_told;
mod rules_void;
