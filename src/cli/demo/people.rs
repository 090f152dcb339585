//! The people of the demo: each answers what waits for them, as the process has it.

use serde_json::{Value, json};

use super::{
    ENTERPRISE, Mode,
    customer::Customer,
    seed::{self, CUSTOMER, PRIMARY, RECOVERY},
    show::Show,
};
use crate::{
    aws::Aws,
    cli::output::Failure,
    engine::Actor,
    worker::{ErrorKind, RunView, Service},
};

/// Answers the forms that the run waits for.
pub(super) async fn answer(
    service: &Service,
    aws: &Aws,
    mode: Mode,
    customer: &Customer,
    view: &RunView,
    show: &mut Show,
) -> Result<(), Failure> {
    let forms = view.waiting_for.iter().filter_map(|waiting| Some((waiting.form.as_deref()?, &waiting.visit)));
    for (form, visit) in forms {
        let (role, said, answer) = match form {
            "regions" => (
                "engineer",
                "the regions are us-west-2, and us-east-1 for disaster recovery".to_owned(),
                json!({
                    "primary": PRIMARY, "disaster_recovery": RECOVERY, "additional": [], "instances": {},
                    "aws_account": (mode == Mode::CustomerManaged).then_some(CUSTOMER),
                }),
            ),
            // The import itself answers it.
            "key-import" => {
                customer.import(show).await?;
                continue;
            }
            "key-arns" => (
                "customer",
                "makes a key in each region, under the policy it was sent".to_owned(),
                keys(service, aws).await?,
            ),
            "window" => (
                "csm",
                "the window is now, for 8 hours".to_owned(),
                json!({ "start": "now", "duration_hours": 8, "writers_stopped": true }),
            ),
            "purge-approval" => {
                // The form may have been answered between the look and now.
                let Ok(input) = service.form_input(&view.id, form).await else { continue };
                show.proof(&input);
                let said = format!("approves the purge of the {} that are listed, by the list's hash", input["count"]);
                let reason = "the successors were verified and serve";
                ("engineer", said, json!({ "approve": true, "plan": input["plan"], "reason": reason }))
            }
            other => {
                return Err(Failure::Failed(format!("the demo did not expect the form {other}: {}", view.summary)));
            }
        };
        let actor = Actor { name: format!("demo {role}"), role: role.to_owned() };
        match service.answer(&view.id, form, visit, answer, actor).await {
            Ok(_) => show.person(role, &said),
            // The form was answered between the look and now.
            Err(error) if error.kind == ErrorKind::Conflict || error.kind == ErrorKind::Refused => {}
            Err(error) => return Err(Failure::from_error(&error)),
        }
    }
    Ok(())
}

/// The customer makes its keys, each under the policy that was rendered for its region.
async fn keys(service: &Service, aws: &Aws) -> Result<Value, Failure> {
    let mut keys = serde_json::Map::new();
    for region in [PRIMARY, RECOVERY] {
        let policy =
            service.record(ENTERPRISE, "key-policy", region).await.map_err(|error| Failure::from_error(&error))?;
        let Some(policy) = policy else {
            return Err(Failure::Failed(format!("no key policy was rendered for {region}")));
        };
        let kms = seed::customer(aws, region).await;
        keys.insert(region.to_owned(), Value::from(seed::key(&kms, Some(&policy.body.to_string())).await?));
    }
    Ok(json!({ "keys": keys }))
}
