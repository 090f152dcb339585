//! `keyferry demo`: an enterprise goes onto its own keys, from regions to audit report, on SQLite and the sandbox.
//!
//! It plays the people too: the customer, who makes keys under the policy that it is sent, the CSM and the engineer. All
//! that it does is looked for before it is done, so a demo that was killed goes on where it stood when it is started
//! again over the same data directory.

mod customer;
mod people;
mod seed;
mod show;

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    Common,
    app::{App, AppOptions, Cloud, Listeners, TestEnvironment},
    output::{Failure, Output, print},
    sandbox, signals,
};
use crate::{
    aws::Aws,
    engine::{Actor, Standing},
    worker::{Clock as _, NewEnterprise, RunFilter, RunView, Service, StartRun, SystemClock},
};
use show::Show;

/// The enterprise that the demo brings in, as in the process's own examples.
const ENTERPRISE: &str = "dave";
/// How many of the sandbox's seconds pass in one of the wall's: the process's hours take half a minute.
const SPEED: f64 = 1200.0;
/// Between two looks at the run.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub struct Command {
    /// Who manages the keys
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// Keep everything here, and go on with what an interrupted demo left; a temporary folder if not given
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How many of the sandbox's seconds pass in one of the wall's
    #[arg(long, value_name = "N", default_value_t = SPEED)]
    speed: f64,
    /// Write the audit report here
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// The path of the onboarding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Mode {
    /// The customer makes the keys and hands over their ARNs.
    #[default]
    CustomerManaged,
    /// The vendor makes the keys and the customer imports their material, over HTTP.
    VendorManaged,
}

impl Mode {
    fn workflow(self) -> &'static str {
        match self {
            Self::CustomerManaged => "customer-managed",
            Self::VendorManaged => "vendor-managed",
        }
    }

    /// A folder holds one demo of each path.
    fn idempotency_key(self) -> &'static str {
        match self {
            Self::CustomerManaged => "demo",
            Self::VendorManaged => "demo-vendor-managed",
        }
    }
}

/// A data directory that is deleted again unless somebody asked for it.
struct Folder {
    path: PathBuf,
    is_temporary: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_temporary {
            // A folder that cannot be deleted is left to the system's own clean-up of temporary files.
            let _: std::io::Result<()> = fs::remove_dir_all(&self.path);
        }
    }
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        if !(self.speed.is_finite() && self.speed > 0.0) {
            return Err(Failure::Usage("--speed must be a number above 0".to_owned()));
        }
        let folder = match self.data_dir {
            Some(path) => Folder { path, is_temporary: false },
            None => {
                let name = format!("keyferry-demo-{}", SystemClock.new_id());
                Folder { path: std::env::temp_dir().join(name), is_temporary: true }
            }
        };
        let config = common.load_config()?;
        let options = AppOptions {
            config: config.clone(),
            data_dir: folder.path.clone(),
            database: None,
            cloud: Cloud::Sandbox,
            customers: Some(TestEnvironment::Own),
            sandbox_url: None,
            speed: Some(self.speed),
            new: false,
        };
        let app = App::open(options).await?;
        let Some(cloud) = app.sandbox.clone() else {
            return Err(Failure::Failed("the demo needs the sandbox".to_owned()));
        };
        let aws = Aws::sandboxed(&config, &cloud);
        let service = app.service.clone();
        let (stop, stopping) = watch::channel(false);
        let listener = sandbox::listen("127.0.0.1:0").await?;
        let customer = customer::Customer::new(&service, &config, &listener, &folder.path);
        let listeners = Listeners { customer: Some(listener), ..Listeners::default() };
        let working = tokio::spawn(app.run(listeners, stopping));
        let mut show = Show::new(common.output);
        let interrupted = signals::shutdown()?;
        let ended = tokio::select! {
            ended = onboard(&service, &aws, &config, self.mode, &customer, &mut show) => ended.map(Some),
            () = signals::received(interrupted) => Ok(None),
        };
        show.end();
        stop.send_replace(true);
        working.await.map_err(|error| Failure::from_error(&error))??;
        match ended? {
            None => {
                Err(Failure::Failed(format!("interrupted: --data-dir {} goes on from here", folder.path.display())))
            }
            Some(run) => finish(&service, &run, self.report, common.output).await,
        }
    }
}

/// Brings the enterprise in; answers its run when it has ended or stands in attention.
async fn onboard(
    service: &Service,
    aws: &Aws,
    config: &crate::config::Config,
    mode: Mode,
    customer: &customer::Customer,
    show: &mut Show,
) -> Result<RunView, Failure> {
    let before = RunFilter { enterprise: Some(ENTERPRISE.to_owned()), ..RunFilter::default() };
    let before = service.runs(before).await.map_err(|error| Failure::from_error(&error))?;
    // Once there is a run the systems are its business: one that it has put aside must not be made again.
    if before.items.is_empty() {
        show.line("the vendor's data systems of dave come up");
        seed::data_systems(aws, config, show).await?;
    }
    let enterprise = NewEnterprise {
        id: ENTERPRISE.to_owned(),
        name: "Dave Inc.".to_owned(),
        partition: "aws".to_owned(),
        customer_email: Some("security@dave.example".to_owned()),
        csm_email: None,
        engineer_email: None,
        audit_emails: Vec::new(),
    };
    service.add_enterprise(enterprise).await.map_err(|error| Failure::from_error(&error))?;
    let start = StartRun {
        enterprise: ENTERPRISE.to_owned(),
        workflow: mode.workflow().to_owned(),
        input: json!({}),
        actor: Actor { name: "demo engineer".to_owned(), role: "engineer".to_owned() },
        idempotency_key: Some(mode.idempotency_key().to_owned()),
    };
    let run = service.start_run(start).await.map_err(|error| Failure::from_error(&error))?;
    loop {
        let view = service.run(&run.id).await.map_err(|error| Failure::from_error(&error))?;
        show.run(&view);
        match view.status {
            Standing::Succeeded | Standing::Failed | Standing::Cancelled => return Ok(view),
            Standing::Attention => return Ok(view),
            Standing::Working | Standing::Waiting | Standing::Paused => {
                people::answer(service, aws, mode, customer, &view, show).await?
            }
        }
        SystemClock.sleep(LOOK).await;
    }
}

async fn finish(service: &Service, run: &RunView, file: Option<PathBuf>, output: Output) -> Result<ExitCode, Failure> {
    if run.status != Standing::Succeeded {
        return Err(Failure::Failed(format!("the run {} did not end well: {}", run.id, run.summary)));
    }
    let report = service.record(ENTERPRISE, "report", "latest").await.map_err(|error| Failure::from_error(&error))?;
    let Some(report) = report.map(|record| record.body) else {
        return Err(Failure::Failed("the run succeeded without an audit report".to_owned()));
    };
    let verification = service.verify(&run.id).await.map_err(|error| Failure::from_error(&error))?;
    if let Some(file) = file {
        let text = serde_json::to_string_pretty(&report).map_err(|error| Failure::from_error(&error))?;
        fs::write(&file, text + "\n")
            .map_err(|error| Failure::Failed(format!("cannot write the report to {}: {error}", file.display())))?;
    }
    let clean = report.pointer("/summary/conclusion").and_then(Value::as_str) == Some("compliant");
    let result = json!({
        "run": run.id,
        "status": run.status,
        "history_verifies": verification.ok,
        "summary": report.get("summary"),
        "report": report,
    });
    print(output, &result, || show::summary(&report, &verification))?;
    Ok(if clean && verification.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
