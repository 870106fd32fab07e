//! S3: whatever was told stays told: every later read, on any node, shows the same fields, and shows it at all.

use std::collections::HashMap;

use crate::{
    auditor::{joined::Joined, report::Findings},
    history::{Method, Told},
};

pub(in crate::auditor) fn check(joined: &Joined<'_>, findings: &mut Findings) {
    if joined.reads().is_empty() {
        return;
    }
    // By transaction: each operation told, with the end of the first call that told it.
    let mut told: HashMap<&str, Vec<(&str, Method, &Told, u64)>> = HashMap::new();
    for key in joined.keys() {
        let answers = key.calls.iter().filter_map(|call| joined.stored(call).map(|told| (told, *call)));
        if let Some((answer, call)) = answers.min_by_key(|(_, call)| call.returned_us) {
            let operations = told.entry(joined.transaction_of(call, answer)).or_default();
            operations.push((key.request_id, call.method, answer, call.returned_us));
        }
    }
    for read in joined.reads() {
        for (request_id, method, answer, told_us) in told.get(&*read.transaction_id).into_iter().flatten() {
            let shown = read.operations.iter().find(|(id, shown, _)| &**id == *request_id && shown == method);
            match shown {
                Some((_, _, shown)) if !shown.agrees(answer) => {
                    let text = format!("{method:?} {request_id}: told {answer:?}, read later {shown:?}");
                    findings.broken("S3", &read.transaction_id, text);
                }
                None if *told_us < read.invoked_us => {
                    let text = format!("{method:?} {request_id} was told before this read of node {}", read.node + 1);
                    findings.broken("S3", &read.transaction_id, format!("{text}, which does not show it"));
                }
                Some(_) | None => {}
            }
        }
    }
}
