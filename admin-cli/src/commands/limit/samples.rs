//! Answers of `limit`.

use super::sheet;
use crate::commands::{
    directory::{applied, samples::shop},
    samples::{REQUEST_ID, Sample},
};

pub(in crate::commands) fn all() -> Vec<Sample> {
    let shop = shop();
    let limits = || shop.limits.iter().map(|limit| (&shop, limit));
    vec![
        Sample::of("limit list", sheet(limits())),
        Sample::of("limit get", sheet(limits().take(1))),
        Sample::of("limit set", applied(12, REQUEST_ID)),
        Sample::of("limit disable", applied(13, REQUEST_ID)),
        Sample::of("limit remove", applied(13, REQUEST_ID)),
    ]
}
