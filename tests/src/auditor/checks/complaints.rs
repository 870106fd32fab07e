//! What a card network complains about is a defect of the switch, whatever the money says.

use crate::auditor::{joined::Joined, report::Findings};

pub(in crate::auditor) fn check(joined: &Joined<'_>, findings: &mut Findings) {
    for books in joined.networks() {
        for (kind, subject, words) in &books.complaints {
            findings.broken("N", subject, format!("{} complains of {kind}: {words}", books.network));
        }
    }
}
