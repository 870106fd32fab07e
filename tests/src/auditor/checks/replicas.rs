//! S11: at one index every node holds the same, and at rest every node holds the same.

use crate::auditor::{evidence::Evidence, report::Findings};

pub(in crate::auditor) fn check(evidence: &Evidence, findings: &mut Findings) {
    let Some((first, others)) = evidence.exports.split_first() else { return };
    for other in others {
        let pair = format!("{} and {}", first.node, other.node);
        if first.applied_index != other.applied_index {
            // Whoever collected this waited for nodes at rest and did not get them.
            let text = format!("exported at {} and {}", first.applied_index, other.applied_index);
            findings.unknown("S11", &pair, text, None);
            continue;
        }
        if first.state_hash != other.state_hash {
            findings.broken("S11", &pair, format!("state hashes differ at index {}", first.applied_index));
        }
        if first.rows != other.rows {
            let at = first.rows.iter().zip(&other.rows).position(|(a, b)| a != b);
            let id = at.and_then(|at| evidence.records.get(at)).map_or("the last", |record| &*record.id);
            let text = format!(
                "{} and {} transactions at index {}, first difference at transaction {id}",
                first.rows.len(),
                other.rows.len(),
                first.applied_index
            );
            findings.broken("S11", &pair, text);
        }
    }
}
