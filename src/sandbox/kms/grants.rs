//! Grants.
//!
//! A grant that a caller asks for directly is never "for an AWS resource", so a policy that demands
//! `kms:GrantIsForAWSResource` denies it; RDS's own grants come through [`attach`](super::attach).

use serde_json::{Map, Value, json};

use super::{
    State,
    access::{NO_ALIAS, denied, require_enabled},
    condition::Context,
    constraints::Constraints,
    errors,
    key::{Grant, Key},
    keys::epoch,
    pairs::{ENCAPSULATE_DECAPSULATE, KEY_AGREEMENT, SIGN_VERIFY},
    policy,
    validate::{Input, missing, not_in_enum, page},
};
use crate::sandbox::{Answer, AwsError, Call, random};

const OPERATIONS: [&str; 19] = [
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
    "Sign",
    "Verify",
    "GetPublicKey",
    "CreateGrant",
    "RetireGrant",
    "DescribeKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateMac",
    "VerifyMac",
    "DeriveSharedSecret",
    "Encapsulate",
    "Decapsulate",
];
const FOR_ANY_KEY: [&str; 3] = ["CreateGrant", "RetireGrant", "DescribeKey"];
const FOR_SYMMETRIC: [&str; 8] = [
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
];
const FOR_RSA: [&str; 5] = ["Decrypt", "Encrypt", "ReEncryptFrom", "ReEncryptTo", "GetPublicKey"];
const FOR_AGREEMENT: [&str; 2] = ["DeriveSharedSecret", "GetPublicKey"];
const FOR_ENCAPSULATION: [&str; 3] = ["Encapsulate", "Decapsulate", "GetPublicKey"];
const FOR_SIGNING: [&str; 3] = ["Sign", "Verify", "GetPublicKey"];
const FOR_MAC: [&str; 2] = ["GenerateMac", "VerifyMac"];
/// Grants of one key.
const MOST: usize = 50_000;

fn principal<'a>(input: Input<'a>, name: &str) -> Result<Option<&'a str>, AwsError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c);
    input.matching(name, (1, 256), "^[\\w+=,.@:/-]+$", good)
}

/// A principal's ARN, as grants take it.
fn check_principal(text: &str, partition: &str) -> Result<(), AwsError> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let good = match parts[..] {
        ["arn", of, "iam" | "sts", "", account, resource] => {
            of == partition
                && account.len() == 12
                && account.bytes().all(|b| b.is_ascii_digit())
                && !resource.is_empty()
        }
        _ => text.ends_with(".amazonaws.com"),
    };
    if good { Ok(()) } else { Err(errors::invalid_arn(format!("ARN does not refer to a valid principal: {text}"))) }
}

fn operations(input: Input<'_>, key: &Key) -> Result<Vec<String>, AwsError> {
    if !input.has("Operations") {
        return Err(missing("Operations"));
    }
    let asked = input.texts("Operations")?;
    for operation in &asked {
        if !OPERATIONS.contains(operation) {
            return Err(not_in_enum(operation, "operations", &OPERATIONS));
        }
    }
    let fits = |operation: &&str| {
        let own: &[&str] = match key.usage.as_str() {
            "ENCRYPT_DECRYPT" if key.is_symmetric() => &FOR_SYMMETRIC,
            "ENCRYPT_DECRYPT" => &FOR_RSA,
            SIGN_VERIFY => &FOR_SIGNING,
            KEY_AGREEMENT => &FOR_AGREEMENT,
            ENCAPSULATE_DECAPSULATE => &FOR_ENCAPSULATION,
            _ => &FOR_MAC,
        };
        FOR_ANY_KEY.contains(operation) || own.contains(operation)
    };
    if asked.is_empty() || !asked.iter().all(fits) {
        return Err(errors::validation(format!(
            "Grant operations must not be empty and must be valid for a key of spec {}",
            key.spec
        )));
    }
    Ok(asked.into_iter().map(str::to_owned).collect())
}

/// How many characters of a grant's tokens are the same in all of them.
const TOKEN_STEM: usize = 120;
const LONGEST_TOKEN: usize = 8192;

impl State {
    /// A call may bring tokens of new grants. Grants take effect at once here, so a token only has to be a grant's.
    ///
    /// # Errors
    /// `InvalidGrantTokenException`, or more tokens than a call may bring.
    pub fn check_grant_tokens(&self, input: Input<'_>) -> Result<(), AwsError> {
        let tokens = input.texts("GrantTokens")?;
        if let Some(long) = tokens.iter().find(|token| !(1..=LONGEST_TOKEN).contains(&token.chars().count())) {
            let rule =
                format!("satisfy constraint: [Member must have length between 1 and {LONGEST_TOKEN}, inclusive]");
            return Err(errors::constraint(Some(long), "grantTokens", &rule));
        }
        if tokens.len() > 10 {
            return Err(errors::constraint(Some("..."), "grantTokens", "have length less than or equal to 10"));
        }
        tokens.into_iter().try_for_each(|token| self.grant_of(token).map(|_| ()))
    }

    /// The grant that a token is of.
    fn grant_of(&self, token: &str) -> Result<&Grant, AwsError> {
        let invalid = || AwsError::new("InvalidGrantTokenException", "Invalid grant token");
        let stem = token.get(..TOKEN_STEM).ok_or_else(invalid)?;
        self.grants.iter().map(|(_, grant)| grant).find(|grant| grant.token == stem).ok_or_else(invalid)
    }
}

/// A token of a grant: every call gets one of its own, and all of one grant are as good.
fn fresh_token(grant: &Grant) -> Result<String, AwsError> {
    Ok(format!("{}{}", grant.token, random::base32(40)?))
}

/// A service as a grantee comes with the resource that it acts for and with somebody who may retire the grant.
fn check_service(input: Input<'_>, constraints: &Constraints) -> Result<(), AwsError> {
    if !input.has("GranteeServicePrincipal") {
        return Ok(());
    }
    if constraints.source_arn.is_none() {
        return Err(errors::validation("A GranteeServicePrincipal requires the grant constraint SourceArn."));
    }
    if !input.has("RetiringPrincipal") && !input.has("RetiringServicePrincipal") {
        return Err(errors::validation("A GranteeServicePrincipal requires a principal that may retire the grant."));
    }
    Ok(())
}

/// How direct calls look to policies.
fn direct() -> Context {
    let mut context = Context::default();
    context.set("kms:GrantIsForAWSResource", "false");
    context
}

pub fn create(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let grantee = match (principal(input, "GranteePrincipal")?, principal(input, "GranteeServicePrincipal")?) {
        (Some(principal), None) | (None, Some(principal)) => principal,
        (None, None) => return Err(missing("GranteePrincipal")),
        (Some(_), Some(_)) => {
            return Err(errors::validation("Specify either GranteePrincipal or GranteeServicePrincipal, not both."));
        }
    };
    let retiring = match (principal(input, "RetiringPrincipal")?, principal(input, "RetiringServicePrincipal")?) {
        (Some(_), Some(_)) => {
            return Err(errors::validation("Specify either RetiringPrincipal or RetiringServicePrincipal, not both."));
        }
        (one, other) => one.or(other).map(str::to_owned),
    };
    let constraints = Constraints::read(input)?;
    check_service(input, &constraints)?;
    state.check_grant_tokens(input)?;
    let good = |c: char| c.is_ascii_alphanumeric() || ":/_-".contains(c);
    let name = input.matching("Name", (1, 256), "^[a-zA-Z0-9:/_-]+$", good)?.map(str::to_owned);
    let id = input.sized("KeyId", 1, 2048)?.ok_or_else(|| missing("KeyId"))?;
    let key = state.resolve(call, id, NO_ALIAS)?;
    let operations = operations(input, key)?;
    let constraint = constraints.kind();
    let mut context = direct();
    context.set("kms:GranteePrincipal", grantee);
    context.set_all("kms:RetiringPrincipal", retiring.clone());
    context.set_all("kms:GrantOperations", operations.clone());
    context.set_all("kms:GrantConstraintType", constraint.map(str::to_owned));
    let mut grant = Grant {
        id: hex::encode(random::bytes::<32>()?),
        key: key.arn.clone(),
        token: random::base32(TOKEN_STEM)?,
        name,
        created: call.now,
        grantee: grantee.to_owned(),
        retiring,
        issuing_account: format!("arn:{}:iam::{}:root", key.partition, call.caller.account),
        operations,
        context_equals: constraints.equals,
        context_subset: constraints.subset,
        source_arn: constraints.source_arn,
        resource: None,
    };
    state.authorize_grant(call, key, context, &grant)?;
    check_principal(&grant.grantee, &key.partition)?;
    grant.retiring.as_deref().map(|retiring| check_principal(retiring, &key.partition)).transpose()?;
    if constraint.is_some() && !key.is_symmetric() {
        return Err(errors::validation("Grant constraints are valid for symmetric encryption keys only."));
    }
    require_enabled(key, call.now)?;
    if input.flag("DryRun")? {
        return Err(errors::dry_run());
    }
    if let Some(same) = same_named(state, &grant) {
        return Ok(Answer::read(json!({"GrantToken": fresh_token(same)?, "GrantId": same.id})));
    }
    if state.grants_of(&key.arn).count() >= MOST {
        return Err(errors::limit(format!("A key has at most {MOST} grants")));
    }
    grant.operations.dedup();
    let body = json!({"GrantToken": fresh_token(&grant)?, "GrantId": grant.id});
    let (arn, id) = (grant.key.clone(), grant.id.clone());
    state.grants.insert(Grant::row_key(&arn, &id), grant);
    Ok(Answer::effect(body, arn, format!("grant {id} created")))
}

/// The grant that a repeated call with the same name asks for.
fn same_named<'a>(state: &'a State, new: &'a Grant) -> Option<&'a Grant> {
    new.name.as_ref()?;
    state.grants_of(&new.key).find(|old| {
        old.name == new.name
            && old.grantee == new.grantee
            && old.retiring == new.retiring
            && old.operations == new.operations
            && old.context_equals == new.context_equals
            && old.context_subset == new.context_subset
            && old.source_arn == new.source_arn
    })
}

fn entry(grant: &Grant) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("KeyId", json!(grant.key));
    put("GrantId", json!(grant.id));
    put("Name", json!(grant.name.clone().unwrap_or_default()));
    put("CreationDate", epoch(grant.created));
    put("GranteePrincipal", json!(grant.grantee));
    if let Some(retiring) = &grant.retiring {
        put("RetiringPrincipal", json!(retiring));
    }
    put("IssuingAccount", json!(grant.issuing_account));
    put("Operations", json!(grant.operations));
    let mut constraints = Map::new();
    if let Some(equals) = &grant.context_equals {
        constraints.insert("EncryptionContextEquals".to_owned(), json!(equals));
    }
    if let Some(subset) = &grant.context_subset {
        constraints.insert("EncryptionContextSubset".to_owned(), json!(subset));
    }
    if let Some(source) = &grant.source_arn {
        constraints.insert("SourceArn".to_owned(), json!(source));
    }
    if !constraints.is_empty() {
        put("Constraints", Value::Object(constraints));
    }
    Value::Object(out)
}

pub fn list(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let id = input.sized("GrantId", 1, 128)?;
    let grantee = principal(input, "GranteePrincipal")?.or(principal(input, "GranteeServicePrincipal")?);
    let key = state.key_with(call, NO_ALIAS, direct())?;
    let wanted =
        |grant: &&Grant| id.is_none_or(|id| grant.id == id) && grantee.is_none_or(|grantee| grant.grantee == grantee);
    let items = state.grants_of(&key.arn).filter(wanted).map(|grant| (grant.id.clone(), entry(grant))).collect();
    page(input, (50, 100), "Grants", items).map(Answer::read)
}

pub fn list_retirable(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let retiring = principal(input, "RetiringPrincipal")?.or(principal(input, "RetiringServicePrincipal")?);
    let retiring = retiring.ok_or_else(|| missing("RetiringPrincipal"))?;
    check_principal(retiring, &call.caller.partition)?;
    let region = format!(":kms:{}:", call.region);
    let items = state
        .grants
        .iter()
        .filter(|(_, grant)| grant.retiring.as_deref() == Some(retiring) && grant.key.contains(&region))
        .map(|(key, grant)| (key.clone(), entry(grant)))
        .collect();
    page(input, (50, 100), "Grants", items).map(Answer::read)
}

fn no_grant(id: &str) -> AwsError {
    errors::not_found(format!("Grant ID {id} not found"))
}

pub fn revoke(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let id = input.sized("GrantId", 1, 128)?.ok_or_else(|| missing("GrantId"))?;
    let key = state.key_with(call, NO_ALIAS, direct())?;
    let row = Grant::row_key(&key.arn, id);
    if !state.grants.contains(&row) {
        return Err(no_grant(id));
    }
    if input.flag("DryRun")? {
        return Err(errors::dry_run());
    }
    let arn = key.arn.clone();
    state.grants.remove(&row);
    Ok(Answer::effect(json!({}), arn, format!("grant {id} revoked")))
}

pub fn retire(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let token = input.sized("GrantToken", 1, LONGEST_TOKEN)?;
    let (key_id, id) = (input.sized("KeyId", 1, 2048)?, input.sized("GrantId", 1, 128)?);
    let grant = match (token, key_id, id) {
        (Some(token), None, None) => state.grant_of(token)?,
        (None, Some(key_id), Some(id)) => {
            let key = state.resolve(call, key_id, NO_ALIAS)?;
            state.grants.get(&Grant::row_key(&key.arn, id)).ok_or_else(|| no_grant(id))?
        }
        _ => return Err(errors::validation("Specify either GrantToken, or both KeyId and GrantId.")),
    };
    let retiring = grant.retiring.as_deref().is_some_and(|retiring| policy::names(retiring, &call.caller));
    let grantee = policy::names(&grant.grantee, &call.caller)
        && grant.operations.iter().any(|operation| operation == "RetireGrant");
    let issuer = grant.issuing_account == format!("arn:{}:iam::{}:root", call.caller.partition, call.caller.account);
    if !(retiring || grantee || issuer) {
        return Err(denied(call, "RetireGrant", &grant.key, false));
    }
    if input.flag("DryRun")? {
        return Err(errors::dry_run());
    }
    let (arn, id) = (grant.key.clone(), grant.id.clone());
    state.grants.remove(&Grant::row_key(&arn, &id));
    Ok(Answer::effect(json!({}), arn, format!("grant {id} retired")))
}
