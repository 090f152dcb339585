//! `keyferry customer wrap-key`: for machines that hold the key and reach no network.

use std::process::ExitCode;

use super::{Source, opened, wrap_all};
use crate::cli::{
    input::read_json,
    output::{Failure, Output, print},
};

#[derive(Debug, clap::Args)]
pub struct Command {
    /// The answer to import-key-request, `-` for standard input
    #[arg(long, value_name = "FILE")]
    request: String,
    /// Wrap for this region alone, if each region is to have a key of its own
    #[arg(long)]
    region: Option<String>,
    #[command(flatten)]
    source: Source,
}

impl Command {
    pub fn execute(self) -> Result<ExitCode, Failure> {
        let request = opened(read_json(&self.request)?)?;
        let upload = wrap_all(&self.source.material()?, request, self.region.as_deref())?;
        // The result is the body of the next call, whatever form results are printed in.
        print(Output::Json, &upload, String::new)?;
        Ok(ExitCode::SUCCESS)
    }
}
