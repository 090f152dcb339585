//! The constraints of grants: how they are read, what they let through, and when one grant is within another.
//!
//! A constraint compares the names of an encryption context without regard to case and its values as they are, as the API
//! reference says under GrantConstraints. A grant that a grantee makes is held to the grant that lets it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    errors,
    key::Grant,
    validate::{Input, field},
};
use crate::sandbox::AwsError;

/// Pairs of an encryption context in one constraint.
const MOST_PAIRS: usize = 8;
/// Characters of a value in a constraint.
const LONGEST_VALUE: usize = 384;

type EncryptionContext = BTreeMap<String, String>;

/// A grant's constraints, as CreateGrant takes them. Of the two that speak of encryption contexts there is one at most.
#[derive(Debug, Default)]
pub struct Constraints {
    pub equals: Option<EncryptionContext>,
    pub subset: Option<EncryptionContext>,
    pub source_arn: Option<String>,
}

impl Constraints {
    /// Reads `Constraints`; a map without pairs constrains nothing and counts as not sent.
    ///
    /// # Errors
    /// `ValidationException`: both kinds of encryption context, more pairs or a longer value than a constraint may have.
    pub fn read(input: Input<'_>) -> Result<Self, AwsError> {
        let Some(constraints) = input.inner("Constraints") else { return Ok(Self::default()) };
        let (equals, subset) =
            (context(constraints, "EncryptionContextEquals")?, context(constraints, "EncryptionContextSubset")?);
        if equals.is_some() && subset.is_some() {
            return Err(errors::validation(
                "Specify either EncryptionContextEquals or EncryptionContextSubset, not both.",
            ));
        }
        let source_arn = constraints.sized("SourceArn", 20, 512)?.map(str::to_owned);
        Ok(Self { equals, subset, source_arn })
    }

    /// The constraint on encryption contexts, as `kms:GrantConstraintType` spells it.
    pub fn kind(&self) -> Option<&'static str> {
        let equals = self.equals.as_ref().map(|_| "EncryptionContextEquals");
        equals.or(self.subset.as_ref().map(|_| "EncryptionContextSubset"))
    }
}

fn context(constraints: Input<'_>, name: &str) -> Result<Option<EncryptionContext>, AwsError> {
    let pairs = constraints.map(name)?;
    let at = format!("constraints.{}", field(name));
    if pairs.len() > MOST_PAIRS {
        let rule = format!("have length less than or equal to {MOST_PAIRS}");
        return Err(errors::constraint(Some("..."), &at, &rule));
    }
    if let Some(long) = pairs.values().find(|value| value.chars().count() > LONGEST_VALUE) {
        let rule = format!("have length less than or equal to {LONGEST_VALUE}");
        return Err(errors::constraint(Some(long), &at, &rule));
    }
    Ok(Some(pairs).filter(|pairs| !pairs.is_empty()))
}

/// The pairs of an encryption context as constraints compare them.
fn pairs(context: &EncryptionContext) -> BTreeSet<(String, &str)> {
    context.iter().map(|(name, value)| (name.to_lowercase(), value.as_str())).collect()
}

/// Whether a grant's constraints let a direct call through. `context` is the call's encryption context; an operation without
/// one, such as DescribeKey, is not constrained by it.
pub fn hold(grant: &Grant, context: Option<&EncryptionContext>) -> bool {
    // A direct call is made on behalf of no resource.
    if grant.source_arn.is_some() {
        return false;
    }
    let Some(context) = context.map(pairs) else { return true };
    let equal = grant.context_equals.as_ref().is_none_or(|wanted| pairs(wanted) == context);
    equal && grant.context_subset.as_ref().is_none_or(|wanted| pairs(wanted).is_subset(&context))
}

/// Whether a grantee of `parent` may make `child`: it has no operation that its parent lacks, and constraints that are as
/// strict or stricter.
pub fn within(parent: &Grant, child: &Grant) -> bool {
    let operations = child.operations.iter().all(|operation| parent.operations.contains(operation));
    let source = parent.source_arn.is_none() || parent.source_arn == child.source_arn;
    operations && source && equals_within(parent, child) && subset_within(parent, child)
}

fn equals_within(parent: &Grant, child: &Grant) -> bool {
    parent
        .context_equals
        .as_ref()
        .is_none_or(|wanted| child.context_equals.as_ref().is_some_and(|own| pairs(own) == pairs(wanted)))
}

fn subset_within(parent: &Grant, child: &Grant) -> bool {
    let own = child.context_equals.as_ref().or(child.context_subset.as_ref());
    parent.context_subset.as_ref().is_none_or(|wanted| own.is_some_and(|own| pairs(wanted).is_subset(&pairs(own))))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn grant(operations: &[&str], equals: Value, subset: Value) -> Grant {
        serde_json::from_value(json!({
            "id": "g", "key": "k", "token": "t", "name": null, "created": "2026-01-01T00:00:00Z", "grantee": "p",
            "retiring": null, "issuing_account": "a", "operations": operations, "context_equals": equals,
            "context_subset": subset, "source_arn": null, "resource": null,
        }))
        .unwrap()
    }

    fn holds(equals: Value, subset: Value, context: Value) -> bool {
        hold(&grant(&["Encrypt"], equals, subset), Some(&serde_json::from_value(context).unwrap()))
    }

    #[test]
    fn names_are_compared_without_case_and_values_with_it() {
        assert!(holds(json!({"Dept": "it"}), Value::Null, json!({"dEPT": "it"})));
        assert!(!holds(json!({"Dept": "it"}), Value::Null, json!({"Dept": "IT"})));
        assert!(!holds(json!({"Dept": "it"}), Value::Null, json!({"dept": "it", "a": "1"})));
        assert!(holds(Value::Null, json!({"Dept": "it"}), json!({"dept": "it", "a": "1"})));
        assert!(!holds(Value::Null, json!({"Dept": "it"}), json!({"a": "1"})));
    }

    #[test]
    fn a_call_without_an_encryption_context_is_constrained_by_a_source_alone() {
        let mut held = grant(&["DescribeKey"], json!({"a": "1"}), Value::Null);
        assert!(hold(&held, None));
        held.source_arn = Some("arn:aws:s3:us-west-2:123456789012:bucket".to_owned());
        assert!(!hold(&held, None));
    }

    #[test]
    fn a_child_has_no_operation_that_its_parent_lacks() {
        let parent = grant(&["CreateGrant", "Encrypt"], Value::Null, Value::Null);
        assert!(within(&parent, &grant(&["Encrypt"], Value::Null, Value::Null)));
        assert!(!within(&parent, &grant(&["Encrypt", "Decrypt"], Value::Null, Value::Null)));
    }

    #[test]
    fn a_childs_constraints_are_as_strict_or_stricter() {
        let (none, one, other, two) = (Value::Null, json!({"a": "1"}), json!({"A": "1"}), json!({"a": "1", "b": "2"}));
        let child = |equals: &Value, subset: &Value| grant(&["Encrypt"], equals.clone(), subset.clone());
        let subset = child(&none, &one);
        assert!(within(&subset, &child(&none, &other)));
        assert!(within(&subset, &child(&none, &two)));
        assert!(within(&subset, &child(&two, &none)));
        assert!(!within(&subset, &child(&none, &none)));
        assert!(!within(&subset, &child(&none, &json!({"b": "2"}))));
        let equals = child(&one, &none);
        assert!(within(&equals, &child(&other, &none)));
        assert!(!within(&equals, &child(&two, &none)));
        assert!(!within(&equals, &child(&none, &two)));
        assert!(!within(&equals, &child(&none, &none)));
    }
}
