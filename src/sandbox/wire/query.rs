//! The Query protocol's requests: form parameters whose dotted names spell a tree.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::sandbox::AwsError;

/// No operation nests deeper than this; a deeper name is refused, so that no request can exhaust the stack.
const DEEPEST: usize = 16;

#[derive(Default)]
struct Node {
    text: Option<String>,
    children: BTreeMap<String, Node>,
}

/// Decodes form parameters into a JSON object of strings, objects and arrays.
///
/// `Filters.Filter.1.Values.Value.2=x`, `Filters.member.1.Values.member.2=x` and `Filters.1.Values.2=x` all become
/// `{"Filters": [{"Values": [.., "x"]}]}`: numbers below a name, or below its only child, are positions in a list. Missing
/// positions close up. `Action` and `Version` are left out. An empty list arrives as the empty string, as clients send it.
///
/// # Errors
/// A name that nests too deeply.
pub fn decode<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Value, AwsError> {
    let mut root = Node::default();
    for (name, value) in pairs {
        if name == "Action" || name == "Version" || name.starts_with("X-Amz-") {
            continue;
        }
        if name.split('.').count() > DEEPEST {
            return Err(AwsError::new("MalformedInput", format!("The parameter {name} nests too deeply")));
        }
        let mut node = &mut root;
        for part in name.split('.') {
            node = node.children.entry(part.to_owned()).or_default();
        }
        node.text = Some(value.to_owned());
    }
    let members = root.children.iter().map(|(name, child)| (name.clone(), value(child)));
    Ok(Value::Object(members.collect::<Map<_, _>>()))
}

fn value(node: &Node) -> Value {
    if node.children.is_empty() {
        return Value::String(node.text.clone().unwrap_or_default());
    }
    if let Some(items) = items(node) {
        return Value::Array(items);
    }
    if let Some(items) = node.children.values().next().filter(|_| node.children.len() == 1).and_then(items) {
        return Value::Array(items);
    }
    Value::Object(node.children.iter().map(|(name, child)| (name.clone(), value(child))).collect())
}

/// The node's children as a list in the order of their positions, when all are numbered.
fn items(node: &Node) -> Option<Vec<Value>> {
    if node.children.is_empty() {
        return None;
    }
    let numbered: Option<BTreeMap<u32, &Node>> =
        node.children.iter().map(|(name, child)| name.parse().ok().map(|position| (position, child))).collect();
    Some(numbered?.into_values().map(value).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decoded(form: &str) -> Value {
        let pairs: Vec<_> = form_urlencoded::parse(form.as_bytes()).collect();
        decode(pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))).unwrap()
    }

    #[test]
    fn lists_of_structures_with_lists_nest() {
        let form = "Action=DescribeDBInstances&Version=2014-10-31&Filters.Filter.1.Name=db-instance-id\
                    &Filters.Filter.1.Values.Value.1=a&Filters.Filter.1.Values.Value.2=b&MaxRecords=20";
        let expected = json!({"Filters": [{"Name": "db-instance-id", "Values": ["a", "b"]}], "MaxRecords": "20"});
        assert_eq!(decoded(form), expected);
    }

    #[test]
    fn the_member_style_and_ten_items_keep_their_order() {
        let form: Vec<String> =
            (1..=11).map(|n| format!("VpcSecurityGroupIds.VpcSecurityGroupId.{n}=sg-{n}")).collect();
        let ids: Vec<String> = (1..=11).map(|n| format!("sg-{n}")).collect();
        assert_eq!(decoded(&form.join("&")), json!({"VpcSecurityGroupIds": ids}));
        assert_eq!(decoded("Tags.member.1.Key=a&Tags.member.1.Value=1"), json!({"Tags": [{"Key": "a", "Value": "1"}]}));
    }

    #[test]
    fn a_structure_whose_only_member_is_a_list_stays_a_structure() {
        let form = "CloudwatchLogsExportConfiguration.EnableLogTypes.member.1=error";
        assert_eq!(decoded(form), json!({"CloudwatchLogsExportConfiguration": {"EnableLogTypes": ["error"]}}));
    }

    #[test]
    fn a_name_without_end_is_refused() {
        let name = "a.".repeat(5000);
        assert_eq!(decode([(name.as_str(), "x")].into_iter()).unwrap_err().code, "MalformedInput");
    }
}
