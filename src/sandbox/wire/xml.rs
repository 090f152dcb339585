//! The Query protocol's answers in XML.

use std::fmt::Write as _;

use quick_xml::escape::escape;
use serde_json::Value;

use crate::sandbox::AwsError;

/// `<ActionResponse><ActionResult>…</ActionResult><ResponseMetadata>…`.
pub fn success(action: &str, namespace: &str, body: &Value, request_id: &str) -> String {
    let mut out = format!("<{action}Response xmlns=\"{namespace}\">");
    element(&mut out, &format!("{action}Result"), body);
    let _ = write!(out, "<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>");
    out
}

/// `<ErrorResponse>…`; errors from HTTP 500 on are the receiver's.
pub fn failure(namespace: &str, error: &AwsError, request_id: &str) -> String {
    let side = if error.http_status >= 500 { "Receiver" } else { "Sender" };
    let mut out = format!("<ErrorResponse xmlns=\"{namespace}\"><Error><Type>{side}</Type>");
    let _ = write!(out, "<Code>{}</Code><Message>{}</Message>", text(&error.code), text(&error.message));
    for (name, value) in &error.details {
        let _ = write!(out, "<{name}>{}</{name}>", text(value));
    }
    let _ = write!(out, "</Error><RequestId>{request_id}</RequestId></ErrorResponse>");
    out
}

/// Writes one element. An object's members are its children; `{"@list": "DBInstance", "items": [..]}` is a list whose
/// items are elements of that name, a bare array one of `member`s; scalars are text; null is left out whole.
pub fn element(out: &mut String, name: &str, value: &Value) {
    let before = out.len();
    let _ = write!(out, "<{name}>");
    let opened = out.len();
    match value {
        Value::Null => {
            out.truncate(before);
            return;
        }
        Value::Bool(flag) => {
            let _ = write!(out, "{flag}");
        }
        Value::Number(number) => {
            let _ = write!(out, "{number}");
        }
        Value::String(string) => out.push_str(&text(string)),
        Value::Array(items) => items.iter().for_each(|item| element(out, "member", item)),
        Value::Object(members) => match (members.get("@list"), members.get("items")) {
            (Some(Value::String(item_name)), Some(Value::Array(items))) => {
                items.iter().for_each(|item| element(out, item_name, item));
            }
            _ => members.iter().for_each(|(name, value)| element(out, name, value)),
        },
    }
    if out.len() == opened {
        out.truncate(before);
        let _ = write!(out, "<{name}/>");
    } else {
        let _ = write!(out, "</{name}>");
    }
}

/// Escaped, and without the control characters that XML 1.0 cannot hold at all.
fn text(raw: &str) -> String {
    let kept: String = raw.chars().filter(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r')).collect();
    escape(kept.as_str()).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_objects_scalars_and_nothing_are_spelled_as_aws_does() {
        let body = json!({
            "DBInstances": {"@list": "DBInstance", "items": [{"Port": 5432, "MultiAZ": false, "Name": "a<b"}]},
            "TagList": {"@list": "Tag", "items": []},
            "Marker": null,
        });
        let out = success("DescribeDBInstances", "urn:x", &body, "id");
        assert_eq!(
            out,
            "<DescribeDBInstancesResponse xmlns=\"urn:x\"><DescribeDBInstancesResult><DBInstances><DBInstance>\
             <Port>5432</Port><MultiAZ>false</MultiAZ><Name>a&lt;b</Name></DBInstance></DBInstances><TagList/>\
             </DescribeDBInstancesResult><ResponseMetadata><RequestId>id</RequestId></ResponseMetadata>\
             </DescribeDBInstancesResponse>"
        );
    }
}
