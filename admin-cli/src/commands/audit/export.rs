//! `audit export`.

use switch_proto::operator::v1::ListAuditRecordsRequest;

use crate::{
    cli::Global,
    failure::Failure,
    output::{Sheet, hex_bytes, line},
    print,
    progress::Progress,
    session::Session,
    trail::{self, KIND, Reader},
};

pub(super) async fn export(global: &Global) -> Result<Sheet, Failure> {
    let reader = Reader::new()?;
    let ask = async |channel, request| trail::client(channel).list_audit_records(request).await;
    let (mut page_token, mut written) = (String::new(), 0);
    let progress = Progress::of("exporting", global.talk());
    loop {
        // Each page has the command's time: a trail of years takes longer than one answer.
        let session = Session::new(global)?;
        let request = ListAuditRecordsRequest { page_size: PAGE, page_token, newest_first: false };
        let page = session.read(request, ask).await?;
        for item in reader.items(&page.records)? {
            print(&format!("{}\n", line(KIND, &item)))?;
            written += 1;
        }
        progress.at(written, page.last_number);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            drop(progress);
            let last = page.records.last().map_or_else(|| page.last_hash.clone(), |record| record.hash.clone());
            global.talk().say(format_args!("{written} records, the last has hash {}", hex_bytes(&last)));
            return Ok(Sheet::text(String::new()));
        }
    }
}

const PAGE: i32 = 1_000;
