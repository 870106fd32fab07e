//! S1: for one key at most one approval stands in the books of all networks, and no attempt was received twice.

use crate::{
    auditor::{joined::Joined, report::Findings},
    history::Method,
};

pub(in crate::auditor) fn check(joined: &Joined<'_>, findings: &mut Findings) {
    for record in joined.records() {
        for operation in &record.operations {
            let charges = matches!(operation.method, Method::Authorize | Method::Increment | Method::Refund);
            let mut standing = Vec::new();
            for attempt in &operation.attempts {
                for (books, booked) in joined.booked(&attempt.id) {
                    if booked.copy > 1 {
                        let text = format!("{} received attempt {} {} times", books.network, attempt.id, booked.copy);
                        findings.broken("S1", &record.id, text);
                    }
                    if charges && booked.standing() > 0 {
                        standing.push(&*booked.id);
                    }
                }
            }
            if standing.len() > 1 {
                let text = format!("key {} has standing approvals {}", operation.request_id, standing.join(" and "));
                findings.broken("S1", &record.id, text);
            }
        }
    }
}
