//! Where the configuration comes from: the defaults, then `keyferry.toml`, then `KEYFERRY_*` variables; the last wins.
//!
//! A variable names a key with two underscores for each step down: `KEYFERRY_WINDOWS__NOTICE_HOURS=48`. Names without two
//! underscores belong to the command line (`KEYFERRY_URL`, …) and are left alone. Below `aws.partitions` an underscore
//! stands for the hyphen that a shell forbids: `KEYFERRY_AWS__PARTITIONS__AWS_US_GOV__ACCOUNT`. A list is written with
//! commas or as a TOML array.

use std::{
    io,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::Config;

/// The file that is read from the working directory when no other is named.
pub const FILE_NAME: &str = "keyferry.toml";

const PREFIX: &str = "KEYFERRY_";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The message of the TOML reader names the line, the column and the key.
    #[error("the configuration file {} is not valid: {message}", path.display())]
    File { path: PathBuf, message: String },
    #[error("the variable {name} is not a setting: {message}")]
    Variable { name: String, message: String },
    /// Every value that cannot be right, one a line.
    #[error("the configuration cannot be used:\n  {}", .0.join("\n  "))]
    Values(Vec<String>),
}

impl Config {
    /// Reads the configuration: `path`, or `keyferry.toml` in the working directory if there is one, and the process's
    /// environment.
    ///
    /// # Errors
    /// A named file that cannot be read, a key that does not exist, a value that cannot be right. Nothing is used then.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let text = match path {
            Some(path) => Some((path.to_owned(), read(path)?)),
            None => match read(Path::new(FILE_NAME)) {
                Ok(text) => Some((PathBuf::from(FILE_NAME), text)),
                Err(ConfigError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            },
        };
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::from_parts(text.as_ref().map(|(path, text)| (path.as_path(), text.as_str())), variables)
    }

    /// The same from a file's text and variables that the caller holds.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_parts(
        file: Option<(&Path, &str)>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let base = match file {
            Some((path, text)) => toml::from_str::<Self>(text).map_err(|error| ConfigError::File {
                path: path.to_owned(),
                message: error.to_string().trim_end().to_owned(),
            })?,
            None => Self::default(),
        };
        let config = overlay(base, variables)?;
        let findings = config.findings();
        if findings.is_empty() { Ok(config) } else { Err(ConfigError::Values(findings)) }
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
}

/// Lays the variables over what the file gave. They are taken in the order of their names, so that the result does not
/// depend on the environment's order.
fn overlay(base: Config, variables: impl IntoIterator<Item = (String, String)>) -> Result<Config, ConfigError> {
    let mut settings: Vec<(String, String)> = variables
        .into_iter()
        .filter(|(name, _)| name.strip_prefix(PREFIX).is_some_and(|rest| rest.contains("__")))
        .collect();
    if settings.is_empty() {
        return Ok(base);
    }
    settings.sort();
    let shape = table_of(&shape(&base))?;
    let mut table = table_of(&base)?;
    for (name, text) in settings {
        let path = key_path(&name);
        let wrong = |message: String| ConfigError::Variable { name: name.clone(), message };
        let model = look_up(&shape, &path).ok_or_else(|| wrong(format!("there is no key `{}`", path.join("."))))?;
        let value = parse(model, &text).map_err(&wrong)?;
        put(&mut table, &path, value);
        Config::deserialize_table(table.clone()).map_err(wrong)?;
    }
    Config::deserialize_table(table).map_err(|message| ConfigError::Values(vec![message]))
}

impl Config {
    fn deserialize_table(table: Table) -> Result<Self, String> {
        Value::Table(table).try_into::<Self>().map_err(|error| error.to_string().trim_end().to_owned())
    }
}

fn table_of(config: &Config) -> Result<Table, ConfigError> {
    Table::try_from(config).map_err(|error| ConfigError::Values(vec![error.to_string()]))
}

/// A configuration in which every optional key is present, so that its table tells each key's type.
fn shape(base: &Config) -> Config {
    let mut shape = base.clone();
    let optional = [
        &mut shape.customer.listen,
        &mut shape.mail.smtp_host,
        &mut shape.mail.smtp_username,
        &mut shape.mail.smtp_password_env,
    ];
    for key in optional {
        key.get_or_insert_default();
    }
    shape
}

fn key_path(name: &str) -> Vec<String> {
    let mut path: Vec<String> =
        name.trim_start_matches(PREFIX).split("__").map(|segment| segment.to_ascii_lowercase()).collect();
    if let [section, map, partition, ..] = path.as_mut_slice()
        && section == "aws"
        && map == "partitions"
    {
        *partition = partition.replace('_', "-");
    }
    path
}

fn look_up<'a>(table: &'a Table, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let value = table.get(first)?;
    if rest.is_empty() { Some(value) } else { look_up(value.as_table()?, rest) }
}

fn put(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            table.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            if let Some(inner) = table.entry(first.clone()).or_insert_with(|| Value::Table(Table::new())).as_table_mut()
            {
                put(inner, rest, value);
            }
        }
    }
}

/// Reads a variable's text as the type that the key has.
fn parse(model: &Value, text: &str) -> Result<Value, String> {
    let number = |error: &dyn std::fmt::Display| format!("`{text}` is not a number: {error}");
    match model {
        Value::String(_) => Ok(Value::String(text.to_owned())),
        Value::Integer(_) => text.trim().parse().map(Value::Integer).map_err(|error| number(&error)),
        Value::Float(_) => text.trim().parse().map(Value::Float).map_err(|error| number(&error)),
        Value::Boolean(_) => {
            text.trim().parse().map(Value::Boolean).map_err(|_| format!("`{text}` is not true or false"))
        }
        Value::Array(_) if text.trim_start().starts_with('[') => {
            let wrapped = toml::from_str::<Table>(&format!("value = {text}")).map_err(|error| error.to_string())?;
            wrapped.get("value").cloned().ok_or_else(|| format!("`{text}` is not a list"))
        }
        Value::Array(_) => {
            Ok(Value::Array(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect()))
        }
        Value::Table(_) | Value::Datetime(_) => Err("it names a section, not a key".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: Option<&str>, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_parts(
            file.map(|text| (Path::new("keyferry.toml"), text)),
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        )
    }

    fn message(result: Result<Config, ConfigError>) -> String {
        result.expect_err("the configuration is wrong").to_string()
    }

    #[test]
    fn the_shipped_example_says_the_defaults() {
        let example = include_str!("../../keyferry.example.toml");
        assert_eq!(load(Some(example), &[]).expect("the example is valid"), Config::default());
    }

    #[test]
    fn the_shipped_example_spells_out_every_key_that_has_a_default() {
        let example: Table = toml::from_str(include_str!("../../keyferry.example.toml")).expect("the example is TOML");
        assert_eq!(example, Table::try_from(Config::default()).expect("the defaults are TOML"));
    }

    #[test]
    fn a_variable_wins_over_the_file_and_the_file_over_the_default() {
        let file = "[windows]\nnotice_hours = 24\ngo_back_minutes = 30\n";
        let config = load(Some(file), &[("KEYFERRY_WINDOWS__NOTICE_HOURS", "48")]).expect("valid");
        assert_eq!((config.windows.notice_hours, config.windows.go_back_minutes), (48, 30));
        assert_eq!(config.vendor, Config::default().vendor);
    }

    #[test]
    fn variables_reach_optional_keys_lists_numbers_and_partitions() {
        let config = load(
            None,
            &[
                ("KEYFERRY_MAIL__SMTP_HOST", "mail.example"),
                ("KEYFERRY_SANDBOX__SPEED", "3600"),
                ("KEYFERRY_AWS__PARTITIONS__AWS_US_GOV__ACCOUNT", "000000000001"),
                ("KEYFERRY_AWS__PARTITIONS__AWS__REGIONS", "us-west-2, us-east-1"),
                ("KEYFERRY_URL", "http://127.0.0.1:1"),
            ],
        )
        .expect("valid");
        assert_eq!(config.mail.smtp_host.as_deref(), Some("mail.example"));
        assert!((config.sandbox.speed - 3600.0).abs() < f64::EPSILON);
        assert_eq!(config.aws.partitions["aws-us-gov"].account, "000000000001");
        assert_eq!(config.aws.partitions["aws"].regions, ["us-west-2", "us-east-1"]);
    }

    #[test]
    fn an_unknown_key_is_refused_by_name_in_the_file_and_in_a_variable() {
        let file = message(load(Some("[windows]\nnotice_hourz = 1\n"), &[]));
        assert!(file.contains("notice_hourz") && file.contains("line 2"), "{file}");
        let variable = message(load(None, &[("KEYFERRY_WINDOWS__NOTICE_HOURZ", "1")]));
        assert!(
            variable.contains("KEYFERRY_WINDOWS__NOTICE_HOURZ") && variable.contains("windows.notice_hourz"),
            "{variable}"
        );
    }

    #[test]
    fn a_variable_of_the_wrong_type_is_refused_with_its_text() {
        let number = message(load(None, &[("KEYFERRY_WINDOWS__NOTICE_HOURS", "soon")]));
        assert!(number.contains("KEYFERRY_WINDOWS__NOTICE_HOURS") && number.contains("soon"), "{number}");
        let negative = message(load(None, &[("KEYFERRY_WINDOWS__NOTICE_HOURS", "-1")]));
        assert!(negative.contains("KEYFERRY_WINDOWS__NOTICE_HOURS"), "{negative}");
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let missing = message(Config::load(Some(Path::new("/nonexistent/keyferry.toml"))));
        assert!(missing.contains("/nonexistent/keyferry.toml"), "{missing}");
    }
}
