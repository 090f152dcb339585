mod clusters;
mod encryption;
mod instances;
mod refusals;
mod secrets;
mod snapshots;
mod writing;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::super::{AwsError, Call, Caller, Changes, Rows, kms};
use super::{Content, State, handle};

const HERE: &str = "us-west-2";
const THERE: &str = "us-east-1";
const VENDOR: &str = "127450652264";
const OTHER: &str = "123456789012";

/// An emulated cloud whose clock a test moves.
struct Cloud {
    state: State,
    kms: kms::State,
    now: DateTime<Utc>,
    ledger: Vec<String>,
}

impl Cloud {
    fn new() -> Self {
        Self {
            state: State::default(),
            kms: kms::State::default(),
            now: DateTime::parse_from_rfc3339("2026-11-02T10:00:00Z").unwrap().to_utc(),
            ledger: Vec::new(),
        }
    }

    fn pass(&mut self, seconds: i64) {
        self.now += TimeDelta::seconds(seconds);
    }

    fn call_as(&mut self, account: &str, region: &str, action: &str, params: Value) -> Result<Value, AwsError> {
        let caller = Caller {
            account: account.to_owned(),
            partition: "aws".to_owned(),
            arn: format!("arn:aws:iam::{account}:root"),
        };
        let call = Call { now: self.now, caller, region: region.to_owned(), action: action.to_owned(), params };
        let answer = handle(&mut self.state, &mut self.kms, &call)?;
        if let Some(effect) = answer.effect {
            self.ledger.push(format!("{} {}", effect.resource, effect.what));
        }
        Ok(answer.body)
    }

    fn call(&mut self, action: &str, params: Value) -> Result<Value, AwsError> {
        self.call_as(VENDOR, HERE, action, params)
    }

    fn ok(&mut self, action: &str, params: Value) -> Value {
        self.call(action, params).unwrap_or_else(|error| panic!("{action}: {error:?}"))
    }

    fn refused(&mut self, action: &str, params: Value) -> (String, u16) {
        match self.call(action, params) {
            Ok(body) => panic!("{action} was let through: {body}"),
            Err(error) => (error.code, error.http_status),
        }
    }

    /// A postgres instance of 100 GB with `extra` parameters, brought to `available`.
    fn instance(&mut self, id: &str, extra: Value) -> Value {
        let created = self.ok("CreateDBInstance", create(id, extra));
        self.pass(400);
        assert_eq!(self.status(id), "available");
        created["DBInstance"].clone()
    }

    fn describe(&mut self, id: &str) -> Value {
        let body = self.ok("DescribeDBInstances", json!({ "DBInstanceIdentifier": id }));
        items(&body["DBInstances"])[0].clone()
    }

    fn status(&mut self, id: &str) -> String {
        self.describe(id)["DBInstanceStatus"].as_str().unwrap().to_owned()
    }

    fn snapshot(&mut self, id: &str) -> Value {
        let body = self.ok("DescribeDBSnapshots", json!({ "DBSnapshotIdentifier": id }));
        items(&body["DBSnapshots"])[0].clone()
    }

    fn content(&self, arn: &Value) -> Content {
        let stock = self.state.stock(&self.kms, self.now);
        stock.into_iter().find(|holding| *arn == holding.arn).unwrap().content
    }

    /// Writes to an instance's data, whatever state it is in.
    fn write(&mut self, arn: &Value) -> u64 {
        self.state.write(arn.as_str().unwrap(), self.now)
    }

    /// The same cloud read back from what it wrote.
    fn reopened(mut self) -> Self {
        let mut changes = Changes::default();
        self.state.take_changes(&mut changes).unwrap();
        let mut state = State::default();
        for (kind, key, body) in changes.rows {
            if let Some(body) = body {
                assert!(state.load(kind, &key, &body).unwrap());
            }
        }
        self.state = state;
        self
    }
}

fn create(id: &str, extra: Value) -> Value {
    merged(
        json!({
            "DBInstanceIdentifier": id, "DBInstanceClass": "db.m6g.large", "Engine": "postgres",
            "AllocatedStorage": "100", "MasterUsername": "dave", "MasterUserPassword": "correct-horse",
        }),
        extra,
    )
}

fn merged(mut base: Value, extra: Value) -> Value {
    let (Value::Object(base_map), Value::Object(extra)) = (&mut base, extra) else { panic!("objects only") };
    base_map.extend(extra);
    base
}

fn items(list: &Value) -> &Vec<Value> {
    list["items"].as_array().unwrap()
}
