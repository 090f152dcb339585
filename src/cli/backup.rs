//! `keyferry backup`: a checked copy of the SQLite database, while keyferry runs.

use std::{path::PathBuf, process::ExitCode};

use serde_json::json;

use super::{
    Common,
    output::{Failure, print_each},
    place::DATA_DIR,
};
use crate::store::SqliteStore;

#[derive(Debug, clap::Args)]
pub struct Command {
    /// The file to make; it must not be there
    file: PathBuf,
    /// The data directory whose database is copied
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let database = self.data_dir.join("keyferry.db");
        let copied = SqliteStore::backup(&database, &self.file).await;
        let size = copied.map_err(|error| Failure::from_error(&error))?;
        let shown = json!({ "database": database, "backup": self.file, "bytes": size });
        print_each(common.output, &shown, || {
            format!(
                "{}: {size} bytes, read through and on the disk. Keep admin-token, mail/ and keyferry.toml with it.",
                self.file.display()
            )
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
