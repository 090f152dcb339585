//! STS: who am I, and sessions in other accounts.
//!
//! AssumeRole asks for no trust policy: any role of any account can be assumed, so that one sandbox can play vendor and
//! customers alike. The session acts in the role's account with every right there; what it may do to another account's
//! keys is decided by their key policies alone. Sessions last by the wall's clock, however fast the sandbox's runs: the clients
//! that hold them look at their own. Behaviour after the AWS STS API reference, version 2011-06-15.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, AwsError, Call, Caller, Changes, Rows, Table, auth, random};

/// Sessions stay known this long after their end, so that their users hear `ExpiredToken` and not a stranger's rights.
const REMEMBERED: TimeDelta = TimeDelta::days(7);

/// One issued session, under its access key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    account: String,
    partition: String,
    /// Empty for a session of GetSessionToken, which acts as its caller.
    role: String,
    name: String,
    token: String,
    pub expires: DateTime<Utc>,
}

impl Session {
    pub fn caller(&self) -> Caller {
        let Self { account, partition, role, name, .. } = self;
        if role.is_empty() {
            return Caller { account: account.clone(), partition: partition.clone(), arn: name.clone() };
        }
        Caller {
            account: account.clone(),
            partition: partition.clone(),
            arn: format!("arn:{partition}:sts::{account}:assumed-role/{role}/{name}"),
        }
    }

    /// Whether a request with this session's access key came with another token than was issued.
    pub fn token_differs(&self, token: Option<&str>) -> bool {
        token != Some(self.token.as_str())
    }
}

/// Issued sessions.
#[derive(Debug)]
pub struct State {
    sessions: Table<Session>,
}

impl Default for State {
    fn default() -> Self {
        Self { sessions: Table::new("sts/session") }
    }
}

impl Rows for State {
    fn take_changes(&mut self, changes: &mut Changes) -> Result<(), serde_json::Error> {
        self.sessions.take_changes(changes)
    }

    fn load(&mut self, kind: &str, key: &str, body: &str) -> Result<bool, serde_json::Error> {
        if kind != self.sessions.kind() {
            return Ok(false);
        }
        self.sessions.load(key, body)?;
        Ok(true)
    }
}

impl State {
    pub fn session(&self, access_key: &str) -> Option<&Session> {
        self.sessions.get(access_key)
    }
}

/// Answers one STS call.
///
/// # Errors
/// The error as AWS answers it.
pub fn handle(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    match call.action.as_str() {
        "GetCallerIdentity" => Ok(Answer::read(json!({
            "UserId": user_id(&call.caller),
            "Account": call.caller.account,
            "Arn": call.caller.arn,
        }))),
        "AssumeRole" => assume_role(state, call),
        "GetSessionToken" => session_token(state, call),
        "GetAccessKeyInfo" => access_key_info(state, call),
        other => {
            Err(AwsError::new("InvalidAction", format!("Could not find operation {other} for version 2011-06-15")))
        }
    }
}

fn user_id(caller: &Caller) -> String {
    match caller.arn.split_once(":assumed-role/") {
        Some((_, role_and_name)) => {
            let (role, name) = role_and_name.split_once('/').unwrap_or((role_and_name, ""));
            format!("{}:{name}", role_id(&caller.account, role))
        }
        None => caller.account.clone(),
    }
}

/// A role's unique id: the same for the same role, as in AWS.
fn role_id(account: &str, role: &str) -> String {
    let digest = random::named_uuid(&format!("{account}/{role}")).simple().to_string().to_uppercase();
    format!("AROA{}", &digest[..17])
}

struct Role {
    partition: String,
    account: String,
    name: String,
}

fn assume_role(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let role_arn = text(&call.params, "RoleArn").ok_or_else(|| missing("roleArn"))?;
    let name = text(&call.params, "RoleSessionName").ok_or_else(|| missing("roleSessionName"))?;
    let seconds = duration_seconds(&call.params, 3600, 43_200)?;
    check_session_name(name)?;
    check_external_id(&call.params)?;
    let role = role(role_arn)?;
    if role.partition != auth::partition(&call.region) {
        return Err(AwsError::new("ValidationError", format!("Invalid partition in role ARN {role_arn}")));
    }
    let session = Session {
        account: role.account.clone(),
        partition: role.partition.clone(),
        role: role.name.clone(),
        name: name.to_owned(),
        token: random::base32(320)?,
        expires: call.now + TimeDelta::seconds(seconds),
    };
    let arn = session.caller().arn;
    let body = json!({
        "Credentials": issue(state, session, call.now)?,
        "AssumedRoleUser": {
            "AssumedRoleId": format!("{}:{name}", role_id(&role.account, &role.name)),
            "Arn": arn,
        },
        "PackedPolicySize": if call.params.get("Policy").is_some() { json!("6") } else { Value::Null },
    });
    Ok(Answer::read(body))
}

/// Credentials for a session, which from here on are its own. A session changes no resource, so it is no entry of the ledger,
/// but it outlives the process like any row.
fn issue(state: &mut State, session: Session, now: DateTime<Utc>) -> Result<Value, AwsError> {
    let access_key = format!("ASIA{}", random::base32(16)?);
    let credentials = json!({
        "AccessKeyId": access_key,
        "SecretAccessKey": random::base32(40)?,
        "SessionToken": session.token,
        "Expiration": session.expires.to_rfc3339_opts(SecondsFormat::Secs, true),
    });
    forget_old(state, now);
    state.sessions.insert(access_key, session);
    Ok(credentials)
}

/// Temporary credentials of the caller itself; a role's session cannot ask for more of them.
fn session_token(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let seconds = duration_seconds(&call.params, 43_200, 129_600)?;
    let Caller { account, partition, arn } = &call.caller;
    if arn.contains(":assumed-role/") {
        let message = "Cannot call GetSessionToken with session credentials";
        return Err(AwsError::new("AccessDenied", message).with_status(403));
    }
    let session = Session {
        account: account.clone(),
        partition: partition.clone(),
        role: String::new(),
        name: arn.clone(),
        token: random::base32(320)?,
        expires: call.now + TimeDelta::seconds(seconds),
    };
    let credentials = issue(state, session, call.now)?;
    Ok(Answer::read(json!({"Credentials": credentials})))
}

/// Whose an access key is: a session's account; any other key is the caller's own here.
fn access_key_info(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let key = text(&call.params, "AccessKeyId").ok_or_else(|| missing("accessKeyId"))?;
    let account = state.session(key).map_or(&call.caller.account, |session| &session.account);
    Ok(Answer::read(json!({"Account": account})))
}

fn forget_old(state: &mut State, now: DateTime<Utc>) {
    let old: Vec<String> = state
        .sessions
        .iter()
        .filter(|(_, session)| now - session.expires > REMEMBERED)
        .map(|(key, _)| key.clone())
        .collect();
    for key in old {
        state.sessions.remove(&key);
    }
}

fn text<'a>(params: &'a Value, name: &str) -> Option<&'a str> {
    params.get(name).and_then(Value::as_str)
}

fn invalid(count_of_one: String) -> AwsError {
    AwsError::new("ValidationError", format!("1 validation error detected: {count_of_one}"))
}

fn missing(field: &str) -> AwsError {
    invalid(format!("Value null at '{field}' failed to satisfy constraint: Member must not be null"))
}

fn duration_seconds(params: &Value, usual: i64, most: i64) -> Result<i64, AwsError> {
    let Some(value) = text(params, "DurationSeconds") else { return Ok(usual) };
    let seconds: i64 = value
        .parse()
        .map_err(|_| AwsError::new("MalformedInput", format!("DurationSeconds '{value}' is not a number")))?;
    let constraint = match seconds {
        ..900 => "greater than or equal to 900".to_owned(),
        _ if seconds <= most => return Ok(seconds),
        _ => format!("less than or equal to {most}"),
    };
    Err(invalid(format!(
        "Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: Member must have value {constraint}"
    )))
}

fn check_session_name(name: &str) -> Result<(), AwsError> {
    let at = format!("Value '{name}' at 'roleSessionName' failed to satisfy constraint: Member must");
    if name.chars().count() < 2 {
        return Err(invalid(format!("{at} have length greater than or equal to 2")));
    }
    if name.chars().count() > 64 {
        return Err(invalid(format!("{at} have length less than or equal to 64")));
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)) {
        return Err(invalid(format!("{at} satisfy regular expression pattern: [\\w+=,.@-]*")));
    }
    Ok(())
}

fn check_external_id(params: &Value) -> Result<(), AwsError> {
    let Some(id) = text(params, "ExternalId") else { return Ok(()) };
    let at = format!("Value '{id}' at 'externalId' failed to satisfy constraint: Member must");
    if id.len() < 2 {
        return Err(invalid(format!("{at} have length greater than or equal to 2")));
    }
    if id.len() > 1224 {
        return Err(invalid(format!("{at} have length less than or equal to 1224")));
    }
    if !id.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c)) {
        return Err(invalid(format!("{at} satisfy regular expression pattern: [\\w+=,.@:\\/-]*")));
    }
    Ok(())
}

fn role(arn: &str) -> Result<Role, AwsError> {
    if arn.len() < 20 {
        return Err(invalid(format!(
            "Value '{arn}' at 'roleArn' failed to satisfy constraint: Member must have length greater than or equal to 20"
        )));
    }
    let malformed = || AwsError::new("ValidationError", format!("{arn} is invalid"));
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts[..] else { return Err(malformed()) };
    let path = resource.strip_prefix("role/").ok_or_else(malformed)?;
    let name = path.rsplit('/').next().unwrap_or(path);
    let good = partition.starts_with("aws")
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c));
    if !good {
        return Err(malformed());
    }
    Ok(Role { partition: partition.to_owned(), account: account.to_owned(), name: name.to_owned() })
}
