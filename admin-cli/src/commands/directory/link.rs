//! `link list`, `link get`. How links stand, `cluster status` says.

use super::{Kind, Verb, read, yes_no};
use crate::{failure::Failure, output::Sheet, records::Link, session::Session};

const KIND: Kind<Link> = Kind {
    name: "LinkList",
    noun: "link",
    columns: &["LINK", "NETWORK", "ENABLED", "ADDRESS", "SERVER NAME", "IN FLIGHT MAX", "EXCLUSIVE"],
    id: |link| &link.link_id,
    row: |link| {
        vec![
            link.link_id.clone(),
            link.network_id.clone(),
            yes_no(link.enabled),
            link.address.clone(),
            link.server_name.clone(),
            link.in_flight_max.to_string(),
            yes_no(link.exclusive),
        ]
    },
};

pub(in crate::commands) async fn carry_out(session: &Session, verb: &Verb) -> Result<Sheet, Failure> {
    let records = read(session).await?.links.into_iter().map(Link::from).collect();
    KIND.sheet(records, verb)
}
