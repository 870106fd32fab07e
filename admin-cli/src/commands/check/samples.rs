//! Answers of `check`.

use super::{Args, Format, Health, judge, unknown};
use crate::commands::{
    cluster::samples::{answers, status_of},
    samples::{NODES, Sample},
};

pub(in crate::commands) fn all() -> Vec<Sample> {
    let args = |format| Args { format, parked_warning: 1, owed_warning: 1_000 };
    let formats = |text: &dyn Fn(&Args) -> String| {
        let shown = |(name, format)| (format!("--format {name}"), text(&args(format)));
        [("nagios", Format::Nagios), ("prometheus", Format::Prometheus)].map(shown).to_vec()
    };
    let mut well = answers();
    well[1].1 = Ok(status_of(NODES[1]));
    let away = answers().swap_remove(1).1.expect_err("it is away");
    vec![
        Sample::text("check", formats(&|args| judge(&Health::of(well.clone()), args).text)),
        Sample::text("check", formats(&|args| judge(&Health::of(answers()), args).text)).case("warning"),
        Sample::text("check", formats(&|args| unknown(args, &away).text)).case("unknown"),
    ]
}
