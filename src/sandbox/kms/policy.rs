//! Key policies: what is a policy at all, and what it says about one request.
//!
//! After the IAM JSON policy reference. A principal that is an account (its number or its root ARN) stands for every
//! principal of that account, because every caller of the sandbox has all rights its account can give.

use serde_json::{Map, Value, json};

use super::{condition, condition::Context};
use crate::sandbox::{AwsError, Caller};

/// The largest policy, in bytes.
pub const LARGEST: usize = 32_768;

/// What a policy says about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    ExplicitDeny,
    /// No statement says anything.
    Silent,
}

/// One request, as a policy sees it.
pub struct Request<'a> {
    pub caller: &'a Caller,
    /// With its prefix: `kms:Encrypt`.
    pub action: String,
    pub key_arn: &'a str,
    pub context: Context,
}

/// The policy that KMS gives a key whose creator names none.
pub fn default_policy(partition: &str, account: &str) -> String {
    let principal = format!("arn:{partition}:iam::{account}:root");
    let statement = serde_json::json!({
        "Sid": "Enable IAM User Permissions",
        "Effect": "Allow",
        "Principal": {"AWS": principal},
        "Action": "kms:*",
        "Resource": "*",
    });
    let policy = serde_json::json!({"Version": "2012-10-17", "Id": "key-default-1", "Statement": [statement]});
    serde_json::to_string_pretty(&policy).unwrap_or_else(|_| policy.to_string())
}

fn malformed(message: &str) -> AwsError {
    AwsError::new("MalformedPolicyDocumentException", message)
}

/// Checks a policy's form.
///
/// # Errors
/// `MalformedPolicyDocumentException` with what is wrong, or `LimitExceededException` for one that is too large.
pub fn check(text: &str, partition: &str) -> Result<(), AwsError> {
    if text.len() > LARGEST {
        return Err(super::errors::limit(format!("Policy is larger than {LARGEST} bytes")));
    }
    let document: Value = serde_json::from_str(text).map_err(|_| malformed("Policy contains invalid json"))?;
    let members = document.as_object().ok_or_else(|| malformed("Policy is not a JSON object"))?;
    if let Some(unknown) = members.keys().find(|name| !["Version", "Id", "Statement"].contains(&name.as_str())) {
        return Err(malformed(&format!("Policy contains an unknown element {unknown}")));
    }
    let versions = [json!("2012-10-17"), json!("2008-10-17")];
    if members.get("Version").is_some_and(|version| !versions.contains(version)) {
        return Err(malformed("Policy contains an invalid Version"));
    }
    let statements = statements(&document);
    if statements.is_empty() {
        return Err(malformed("Policy contains no statement"));
    }
    statements.iter().try_for_each(|statement| check_statement(statement, partition))
}

fn statements(document: &Value) -> Vec<&Value> {
    match document.get("Statement") {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(statement) => vec![statement],
        None => Vec::new(),
    }
}

fn check_statement(statement: &Value, partition: &str) -> Result<(), AwsError> {
    const ELEMENTS: [&str; 10] = [
        "Sid",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
        "Id",
    ];
    let members = statement.as_object().ok_or_else(|| malformed("Policy contains a statement that is no object"))?;
    if let Some(unknown) = members.keys().find(|name| !ELEMENTS.contains(&name.as_str())) {
        return Err(malformed(&format!("Policy contains a statement with the unknown element {unknown}")));
    }
    if !matches!(members.get("Effect").and_then(Value::as_str), Some("Allow" | "Deny")) {
        return Err(malformed("Policy contains a statement with an invalid Effect"));
    }
    for (one, other) in [("Principal", "NotPrincipal"), ("Action", "NotAction"), ("Resource", "NotResource")] {
        if members.contains_key(one) == members.contains_key(other) {
            return Err(malformed(&format!("Policy contains a statement without exactly one of {one} and {other}")));
        }
    }
    let principal = members.get("Principal").or_else(|| members.get("NotPrincipal"));
    if !principal.is_some_and(|principal| principal_is_good(principal, partition)) {
        return Err(malformed("Policy contains a statement with one or more invalid principals."));
    }
    let actions = members.get("Action").or_else(|| members.get("NotAction")).map(texts).unwrap_or_default();
    let action_is_good = |action: &&str| *action == "*" || action.to_ascii_lowercase().starts_with("kms:");
    if actions.is_empty() || !actions.iter().all(action_is_good) {
        return Err(malformed("Policy contains a statement with one or more invalid actions."));
    }
    let resources = members.get("Resource").or_else(|| members.get("NotResource")).map(texts).unwrap_or_default();
    if resources.is_empty() || !resources.iter().all(|resource| *resource == "*" || resource.starts_with("arn:")) {
        return Err(malformed("Policy contains a statement with one or more invalid resources."));
    }
    match members.get("Condition") {
        None => Ok(()),
        Some(Value::Object(operators)) if condition::is_well_formed(operators) => Ok(()),
        Some(_) => Err(malformed("Policy contains a statement with an invalid condition.")),
    }
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn principal_is_good(principal: &Value, partition: &str) -> bool {
    match principal {
        Value::String(text) => text == "*",
        Value::Object(members) if !members.is_empty() => members.iter().all(|(kind, value)| {
            let texts = texts(value);
            !texts.is_empty()
                && match kind.as_str() {
                    "AWS" => texts.iter().all(|text| aws_principal_is_good(text, partition)),
                    "Service" => texts.iter().all(|text| text.ends_with(".amazonaws.com")),
                    "Federated" | "CanonicalUser" => true,
                    _ => false,
                }
        }),
        _ => false,
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn aws_principal_is_good(text: &str, partition: &str) -> bool {
    if text == "*" || is_account(text) {
        return true;
    }
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", of, service, "", account, resource] = parts[..] else { return false };
    // A principal is somebody: patterns belong into conditions.
    let named =
        |prefix: &str| resource.strip_prefix(prefix).is_some_and(|name| !name.is_empty() && !name.contains(['*', '?']));
    let good = match service {
        "iam" => resource == "root" || named("user/") || named("role/"),
        "sts" => named("assumed-role/") || named("federated-user/"),
        _ => false,
    };
    of == partition && is_account(account) && good
}

/// What `policy` says about `request`; a policy that cannot be read says nothing.
pub fn evaluate(policy: &str, request: &Request<'_>) -> Verdict {
    let Ok(document) = serde_json::from_str::<Value>(policy) else { return Verdict::Silent };
    let mut verdict = Verdict::Silent;
    for statement in statements(&document) {
        let Some(members) = statement.as_object().filter(|members| applies(members, request)) else { continue };
        if members.get("Effect").and_then(Value::as_str) == Some("Deny") {
            return Verdict::ExplicitDeny;
        }
        verdict = Verdict::Allow;
    }
    verdict
}

fn applies(statement: &Map<String, Value>, request: &Request<'_>) -> bool {
    let either = |name: &str, not_name: &str, matches: &dyn Fn(&Value) -> bool| match statement.get(name) {
        Some(value) => matches(value),
        None => statement.get(not_name).is_some_and(|value| !matches(value)),
    };
    either("Principal", "NotPrincipal", &|principal| is_principal(principal, request.caller))
        && either("Action", "NotAction", &|value| {
            texts(value).iter().any(|pattern| like(&pattern.to_lowercase(), &request.action.to_lowercase()))
        })
        && either("Resource", "NotResource", &|value| texts(value).iter().any(|pattern| like(pattern, request.key_arn)))
        && match statement.get("Condition") {
            Some(Value::Object(operators)) => condition::holds(operators, &request.context),
            Some(_) => false,
            None => true,
        }
}

/// The role behind an assumed-role session's ARN, or the ARN itself.
pub fn principal_arn(caller: &Caller) -> String {
    match caller.arn.split_once(":assumed-role/") {
        Some((_, rest)) => {
            let role = rest.split('/').next().unwrap_or(rest);
            format!("arn:{}:iam::{}:role/{role}", caller.partition, caller.account)
        }
        None => caller.arn.clone(),
    }
}

fn is_principal(principal: &Value, caller: &Caller) -> bool {
    match principal {
        Value::String(text) => text == "*",
        Value::Object(members) => {
            members.get("AWS").is_some_and(|value| texts(value).iter().any(|text| names(text, caller)))
        }
        _ => false,
    }
}

/// Whether a principal's spelling means this caller.
pub fn names(text: &str, caller: &Caller) -> bool {
    text == "*"
        || text == caller.account
        || text == format!("arn:{}:iam::{}:root", caller.partition, caller.account)
        || text == caller.arn
        || role_with_path_matches(text, &principal_arn(caller))
}

/// Sessions do not say their role's path, so a role is the same role under any path.
fn role_with_path_matches(text: &str, role_arn: &str) -> bool {
    let split = |arn: &str| -> Option<(String, String)> {
        let (head, path) = arn.split_once(":role/")?;
        Some((head.to_owned(), path.rsplit('/').next()?.to_owned()))
    };
    text == role_arn || (split(text).is_some() && split(text) == split(role_arn))
}

/// Whether `text` fits a pattern of literal characters, `*` and `?`.
pub fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    p = star + 1;
                    t = from + 1;
                    retry = Some((star, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(statements: Value, context: Context) -> Verdict {
        let caller = Caller {
            account: "127450652264".to_owned(),
            partition: "aws".to_owned(),
            arn: "arn:aws:sts::127450652264:assumed-role/keyferry/session".to_owned(),
        };
        let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        let request = Request { caller: &caller, action: "kms:ReEncryptTo".to_owned(), key_arn: "arn:k", context };
        evaluate(&policy, &request)
    }

    fn allow(principal: Value, action: &str) -> Value {
        json!({"Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*"})
    }

    #[test]
    fn principals_are_accounts_roles_sessions_or_everyone() {
        for principal in [
            json!("*"),
            json!({"AWS": "*"}),
            json!({"AWS": ["127450652264"]}),
            json!({"AWS": "arn:aws:iam::127450652264:root"}),
            json!({"AWS": "arn:aws:iam::127450652264:role/keyferry"}),
            json!({"AWS": "arn:aws:sts::127450652264:assumed-role/keyferry/session"}),
        ] {
            assert_eq!(
                verdict(allow(principal.clone(), "kms:ReEncrypt*"), Context::default()),
                Verdict::Allow,
                "{principal}"
            );
        }
        for principal in [
            json!({"AWS": "arn:aws:iam::127450652264:role/other"}),
            json!({"AWS": "123456789012"}),
            json!({"Service": "rds.amazonaws.com"}),
        ] {
            assert_eq!(verdict(allow(principal.clone(), "kms:*"), Context::default()), Verdict::Silent, "{principal}");
        }
    }

    #[test]
    fn a_deny_beats_every_allow_and_actions_match_whole() {
        let deny = json!({"Effect": "Deny", "Principal": "*", "NotAction": "kms:Describe*", "Resource": "*"});
        let both = json!([allow(json!("*"), "kms:*"), deny]);
        assert_eq!(verdict(both, Context::default()), Verdict::ExplicitDeny);
        assert_eq!(verdict(allow(json!("*"), "kms:ReEncrypt"), Context::default()), Verdict::Silent);
    }

    #[test]
    fn conditions_hold_only_when_every_operator_does() {
        let with = |condition: Value, context: Context| {
            let mut statement = allow(json!("*"), "*");
            statement["Condition"] = condition;
            verdict(statement, context) == Verdict::Allow
        };
        let via = || {
            let mut context = Context::default();
            context.set("kms:ViaService", "rds.us-west-2.amazonaws.com");
            context.set_all("kms:EncryptionContextKeys", ["a".to_owned(), "b".to_owned()]);
            context.set("kms:EncryptionContext:Dept", "it");
            context
        };
        let like = json!({"StringLike": {"kms:viaservice": "rds.*.amazonaws.com"}});
        assert!(with(like.clone(), via()));
        assert!(!with(like, Context::default()));
        assert!(with(json!({"StringEqualsIfExists": {"kms:ViaService": "x"}}), Context::default()));
        assert!(with(json!({"StringNotEquals": {"kms:ViaService": "x"}}), Context::default()));
        assert!(with(json!({"Null": {"kms:ViaService": "true"}}), Context::default()));
        assert!(!with(json!({"Null": {"kms:ViaService": true}}), via()));
        assert!(with(json!({"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["a", "b", "c"]}}), via()));
        assert!(!with(json!({"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["a"]}}), via()));
        assert!(with(json!({"ForAnyValue:StringEquals": {"kms:EncryptionContextKeys": "a"}}), via()));
        assert!(!with(json!({"ForAnyValue:StringEquals": {"kms:EncryptionContextKeys": "a"}}), Context::default()));
        assert!(with(json!({"StringEquals": {"kms:EncryptionContext:Dept": "it"}}), via()));
        assert!(!with(json!({"StringEquals": {"kms:EncryptionContext:dept": "it"}}), via()));
        assert!(!with(json!({"Bool": {"kms:GrantIsForAWSResource": "true"}}), Context::default()));
    }

    #[test]
    fn wildcards_match_with_backtracking() {
        assert!(super::like("a*b?c*", "axxbbycz"));
        assert!(!super::like("a*b", "a"));
        assert!(super::like("*", ""));
        assert!(!super::like("", "a"));
    }
}
