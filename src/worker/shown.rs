//! What an open form shows to whoever may answer it: from its input, in words.

use serde_json::Value;

/// A line each: the form's own lines (`shown`), or the findings about an earlier answer, or what was kept and why.
pub fn shown(input: &Value) -> Vec<String> {
    let list = |name: &str| input.get(name).and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let own: Vec<String> = list("shown").filter_map(Value::as_str).map(str::to_owned).collect();
    if !own.is_empty() {
        let plan = text(input, "plan");
        let named = (!plan.is_empty()).then(|| format!("the list \"plan\": \"{plan}\""));
        return named.into_iter().chain(own).collect();
    }
    let said = |parts: &[String]| parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(": ");
    let findings = list("findings").map(|finding| {
        let place = [text(finding, "region"), text(finding, "key")];
        let place: Vec<String> = place.into_iter().filter(|part| !part.is_empty()).collect();
        said(&[place.join(" "), text(finding, "code"), text(finding, "message"), text(finding, "change")])
    });
    let kept = list("kept").map(|kept| {
        let place = format!("{} in {}", text(kept, "system"), text(kept, "region"));
        said(&[place, text(kept, "error"), text(kept, "cause")])
    });
    findings.chain(kept).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_shows_its_lines_its_findings_or_what_was_kept() {
        let purge =
            json!({ "plan": "ab12", "shown": ["goes: instance a", "stays: snapshot b"], "kept": [{ "id": "b" }] });
        assert_eq!(shown(&purge), ["the list \"plan\": \"ab12\"", "goes: instance a", "stays: snapshot b"]);
        let keys = json!({ "findings": [{ "region": "us-west-2", "key": "arn", "code": "key-disabled", "message": "it is disabled", "change": "enable it" }] });
        assert_eq!(shown(&keys), ["us-west-2 arn: key-disabled: it is disabled: enable it"]);
        let review = json!({ "kept": [{ "system": "dave-extra", "region": "us-west-2", "error": "Keyferry.Mismatch", "cause": "it is smaller" }] });
        assert_eq!(shown(&review), ["dave-extra in us-west-2: Keyferry.Mismatch: it is smaller"]);
        assert_eq!(shown(&json!({})), Vec::<String>::new());
    }
}
