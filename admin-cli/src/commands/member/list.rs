//! `member list`.

use super::{COLUMNS, item, row};
use crate::{cli::Global, commands::cluster::status, failure::Failure, output::Sheet, session::Session};

pub(super) async fn list(global: &Global) -> Result<Sheet, Failure> {
    let members = status::ask(&Session::new(global)?).await?.members;
    Ok(Sheet::of("MemberList", members.iter().map(item)).with(COLUMNS, members.iter().map(row).collect()))
}
