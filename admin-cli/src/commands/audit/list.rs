//! `audit list`.

use serde_json::Value;
use switch_proto::operator::v1::ListAuditRecordsRequest;

use crate::{
    cli::Global,
    commands::pages,
    failure::Failure,
    output::{Sheet, or_dash},
    session::Session,
    trail::{self, KIND, Reader},
};

pub(super) async fn list(global: &Global, limit: usize) -> Result<Sheet, Failure> {
    let session = Session::new(global)?;
    let reader = Reader::new()?;
    let ask = async |channel, request| trail::client(channel).list_audit_records(request).await;
    let (items, _) = pages(limit, async |page_size, page_token| {
        let request = ListAuditRecordsRequest { page_size, page_token, newest_first: true };
        let page = session.read(request, ask).await?;
        Ok((reader.items(&page.records)?, page.next_page_token))
    })
    .await?;
    Ok(sheet(items))
}

pub(super) fn sheet(items: Vec<Value>) -> Sheet {
    let rows = items.iter().map(|item| row(item, false)).collect();
    let wide = items.iter().map(|item| row(item, true)).collect();
    let numbers: Vec<String> = items.iter().map(|item| item["number"].to_string()).collect();
    Sheet::of(KIND, items)
        .with(&["NUMBER", "TIME", "AUTHOR", "ACT", "STAGE", "REASON", "REQUEST ID"], rows)
        .wide(&["NUMBER", "TIME", "AUTHOR", "ACT", "STAGE", "REASON", "REQUEST ID", "WHAT", "BEFORE", "AFTER"], wide)
        .named("audit", numbers)
}

fn row(item: &Value, wide: bool) -> Vec<String> {
    let entry = &item["entry"];
    let text = |value: &Value| or_dash(value.as_str().unwrap_or_default());
    let (act, what) = entry["act"]
        .as_object()
        .and_then(|act| act.iter().next())
        .map_or(("-", &Value::Null), |(act, what)| (act.as_str(), what));
    let stage = entry["stage"].as_str().and_then(|stage| stage.strip_prefix("STAGE_")).unwrap_or("-");
    let mut row = vec![
        item["number"].to_string(),
        text(&item["time"]),
        text(&entry["author"]),
        act.to_owned(),
        stage.to_owned(),
        text(&entry["reason"]),
        text(&entry["request_id"]),
    ];
    if wide {
        let cell = |value: &Value| match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        row.extend([cell(what), cell(&entry["before"]), cell(&entry["after"])]);
    }
    row
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::Output;

    #[test]
    fn a_record_is_a_row_and_its_values_are_in_the_wide_one() {
        let item = json!({
            "number": 17,
            "time": "2026-09-21T14:13:20.123Z",
            "entry": {
                "request_id": "key-1",
                "author": "spiffe://switch.test/operator/ann",
                "act": { "promote_member": "00000000000000ff" },
                "stage": "STAGE_DONE",
                "before": { "leader": "00000000000000fe" },
            },
        });
        let sheet = sheet(vec![item]);
        let expected = "\
NUMBER  TIME                      AUTHOR                             ACT             STAGE  REASON  REQUEST ID
17      2026-09-21T14:13:20.123Z  spiffe://switch.test/operator/ann  promote_member  DONE   -       key-1
";
        assert_eq!(sheet.table(), expected);
        let wide = sheet.show(Output::Wide).expect("a table");
        assert!(wide.ends_with("key-1       00000000000000ff  {\"leader\":\"00000000000000fe\"}  -\n"), "{wide}");
        assert_eq!(sheet.show(Output::Name), Ok("audit/17\n".to_owned()));
    }
}
