//! `keyferry workflow check|diagram|simulate`: work on definitions, without a cloud, and without a server unless a run's
//! way is asked for.

use std::{collections::BTreeSet, fs, path::Path, process::ExitCode, sync::Arc};

use clap::Subcommand;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Common,
    client::Connection,
    input::read_json,
    output::{Failure, Output, plain, print, say},
    shipped,
};
use crate::{
    aws::{Aws, AwsOptions},
    config::Config,
    engine::{self, Definition, DiagramFormat, Highlight, Resource, Script, Simulation, language::Problem},
    forms::Forms,
    steps::{self, Domain},
    worker::DiagramState,
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check definitions; every problem is printed with its JSON pointer, and the exit code is 1 if there is one
    Check {
        /// Definitions in the Amazon States Language
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
    },
    /// Draw a definition; with a run, the way it took and where it stands
    Diagram(Diagram),
    /// Run a definition with no cloud and a virtual clock; the exit code is 0 however the simulated run ends
    Simulate(Simulate),
}

#[derive(Debug, clap::Args)]
pub struct Simulate {
    /// A definition in the Amazon States Language
    file: String,
    /// A file with the run's input as JSON, - for standard input; without it the input is {}
    #[arg(long, value_name = "FILE")]
    input: Option<String>,
    /// A file that maps the names of Task states to their outcomes: {"STATE": [{"succeed": VALUE},
    /// {"fail": {"error": E, "cause": C}}, {"timeout": true}]}. The n-th invocation takes the n-th; a Task that is not
    /// named, or whose outcomes are used up, succeeds with its input. A timeout takes the state's TimeoutSeconds, 60
    /// without one
    #[arg(long, value_name = "FILE")]
    script: Option<String>,
    /// All chance (jitter, random numbers) is drawn from this
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

#[derive(Debug, clap::Args)]
pub struct Diagram {
    /// A definition in the Amazon States Language; with --run it may be left out: a run keeps its own
    #[arg(required_unless_present = "run")]
    file: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Mark where this run stands and the way it took; asks the server
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// stateDiagram-v2 text
    #[default]
    Mermaid,
    Svg,
}

impl Diagram {
    async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let state = match &self.run {
            Some(run) => Some(self.connection.client()?.get::<DiagramState>(&["runs", run, "diagram"], &[]).await?),
            None => None,
        };
        let file = self.file.as_deref().unwrap_or("the run's definition");
        let source = match (&state, &self.file) {
            (Some(state), _) => state.source.clone(),
            (None, _) => {
                fs::read_to_string(file).map_err(|error| Failure::Failed(format!("cannot read {file}: {error}")))?
            }
        };
        let definition = load(file, &source)?;
        let highlight = state.map(|state| Highlight::of(state.entered, state.current)).unwrap_or_default();
        let format = match self.format {
            Format::Mermaid => DiagramFormat::Mermaid,
            Format::Svg => DiagramFormat::Svg,
        };
        let drawn = engine::diagram(&definition, &highlight, format);
        print(common.output, &json!({"format": self.format, "diagram": drawn}), || drawn.trim_end().to_owned())?;
        Ok(ExitCode::SUCCESS)
    }
}

fn load(file: &str, source: &str) -> Result<Definition, Failure> {
    let loaded = Definition::load(source).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|problem| line(file, problem)).collect();
        Failure::Failed(format!("the definition cannot be used:\n{}", lines.join("\n")))
    })?;
    Ok(loaded.definition)
}

/// What was found in one file.
#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        match self {
            Self::Check { files } => check(&files, common),
            Self::Diagram(diagram) => diagram.execute(common).await,
            Self::Simulate(simulate) => simulate.execute(common),
        }
    }
}

fn check(files: &[String], common: &Common) -> Result<ExitCode, Failure> {
    let forms = Forms::shipped().map_err(|error| Failure::from_error(&error))?;
    let config = Arc::new(Config::default());
    // Registering steps opens no connection: nothing is asked of AWS before one runs.
    let aws = Aws::new(AwsOptions { config: Some(&config), ..AwsOptions::default() });
    let steps = steps::register(&Domain::new(Arc::new(aws), config, 1.0));
    // Definitions that are checked together may start each other.
    let together: BTreeSet<&str> = files.iter().filter_map(|file| name_of(file)).collect();
    let is_registered = |resource: &Resource| match resource {
        Resource::Form(name) => forms.get(name).is_some(),
        Resource::Workflow(name) => {
            together.contains(name.as_str()) || shipped::DEFINITIONS.iter().any(|(shipped, _)| shipped == name)
        }
        Resource::Step(name) => steps.iter().any(|step| step.name() == name),
        Resource::Other(_) => false,
    };
    let checked: Vec<Checked> = files.iter().map(|file| check_one(file, is_registered)).collect();
    let good = checked.iter().all(|checked| checked.problems.is_empty());
    if common.output == Output::Text {
        for checked in &checked {
            checked.warnings.iter().for_each(|warning| say(&format!("warning: {}", line(&checked.file, warning))));
        }
    }
    print(common.output, &json!({"files": checked}), || text(&checked))?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The name that a definition's file gives it: `final-steps` for `workflows/final-steps.asl.json`.
fn name_of(file: &str) -> Option<&str> {
    let name = Path::new(file).file_name()?.to_str()?;
    Some(name.strip_suffix(".json").map_or(name, |stem| stem.strip_suffix(".asl").unwrap_or(stem)))
}

fn check_one(file: &str, is_registered: impl Fn(&Resource) -> bool) -> Checked {
    match fs::read_to_string(file) {
        Ok(source) => {
            let report = engine::check(&source, is_registered);
            Checked { file: file.to_owned(), problems: report.problems, warnings: report.warnings }
        }
        Err(error) => {
            let problem = Problem::new("", format!("the file cannot be read: {error}"));
            Checked { file: file.to_owned(), problems: vec![problem], warnings: Vec::new() }
        }
    }
}

fn line(file: &str, problem: &Problem) -> String {
    format!("{file}#{}: {}", problem.pointer, problem.reason)
}

fn text(checked: &[Checked]) -> String {
    let lines: Vec<String> = checked
        .iter()
        .flat_map(|checked| {
            let good = checked.problems.is_empty().then(|| format!("{}: ok", checked.file));
            good.into_iter().chain(checked.problems.iter().map(|problem| line(&checked.file, problem)))
        })
        .collect();
    lines.join("\n")
}

impl Simulate {
    fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let source = fs::read_to_string(&self.file)
            .map_err(|error| Failure::Failed(format!("cannot read {}: {error}", self.file)))?;
        let definition = load(&self.file, &source)?;
        let input = self.input.as_deref().map_or_else(|| Ok(json!({})), read_json)?;
        let script: Script = match &self.script {
            Some(file) => serde_json::from_value(read_json(file)?)
                .map_err(|error| Failure::Failed(format!("{file} is not a script: {error}")))?,
            None => Script::new(),
        };
        let simulation =
            engine::simulate(&definition, input, &script, self.seed).map_err(|error| Failure::from_error(&error))?;
        print(common.output, &simulation, || simulated(&simulation))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn simulated(simulation: &Simulation) -> String {
    let status = serde_json::to_value(simulation.status).map_or_else(|_| String::new(), |status| plain(&status));
    let mut lines = vec![format!("{status} after {} s", simulation.elapsed_s)];
    lines.push(format!("  way: {}", simulation.trace.join(" -> ")));
    lines.extend(simulation.output.as_ref().map(|output: &Value| format!("  output: {output}")));
    let cause = simulation.cause.as_deref().unwrap_or_default();
    lines.extend(simulation.error.as_ref().map(|error| format!("  error: {error}: {cause}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_is_the_definitions() {
        assert_eq!(name_of("workflows/final-steps.asl.json"), Some("final-steps"));
        assert_eq!(name_of("a.json"), Some("a"));
    }
}
