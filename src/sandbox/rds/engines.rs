//! The database engines that RDS offers: versions, parameter-group families, ports, licences, smallest storage.

use super::super::AwsError;
use super::error::{invalid_combination, invalid_value};

/// An engine.
#[derive(Debug)]
pub struct Engine {
    pub name: &'static str,
    pub description: &'static str,
    pub port: i64,
    pub license: &'static str,
    /// (major version, newest minor version, family). The first is the default.
    pub majors: &'static [(&'static str, &'static str, &'static str)],
}

pub const ENGINES: &[Engine] = &[
    Engine {
        name: "postgres",
        description: "PostgreSQL",
        port: 5432,
        license: "postgresql-license",
        majors: &[
            ("17", "17.6", "postgres17"),
            ("18", "18.1", "postgres18"),
            ("16", "16.10", "postgres16"),
            ("15", "15.14", "postgres15"),
            ("14", "14.19", "postgres14"),
            ("13", "13.22", "postgres13"),
            ("12", "12.22", "postgres12"),
            ("11", "11.22", "postgres11"),
        ],
    },
    Engine {
        name: "mysql",
        description: "MySQL Community Edition",
        port: 3306,
        license: "general-public-license",
        majors: &[("8.0", "8.0.43", "mysql8.0"), ("8.4", "8.4.6", "mysql8.4"), ("5.7", "5.7.44", "mysql5.7")],
    },
    Engine {
        name: "mariadb",
        description: "MariaDB Community Edition",
        port: 3306,
        license: "general-public-license",
        majors: &[
            ("11.4", "11.4.8", "mariadb11.4"),
            ("11.8", "11.8.3", "mariadb11.8"),
            ("10.11", "10.11.14", "mariadb10.11"),
            ("10.6", "10.6.23", "mariadb10.6"),
            ("10.5", "10.5.29", "mariadb10.5"),
        ],
    },
    oracle(
        "oracle-ee",
        "Oracle Database Enterprise Edition",
        &[("19", "19.0.0.0.ru-2025-07.rur-2025-07.r1", "oracle-ee-19")],
    ),
    oracle(
        "oracle-ee-cdb",
        "Oracle Database Enterprise Edition (CDB)",
        &[
            ("19", "19.0.0.0.ru-2025-07.rur-2025-07.r1", "oracle-ee-cdb-19"),
            ("21", "21.0.0.0.ru-2025-07.rur-2025-07.r1", "oracle-ee-cdb-21"),
        ],
    ),
    oracle(
        "oracle-se2",
        "Oracle Database Standard Edition Two",
        &[("19", "19.0.0.0.ru-2025-07.rur-2025-07.r1", "oracle-se2-19")],
    ),
    oracle(
        "oracle-se2-cdb",
        "Oracle Database Standard Edition Two (CDB)",
        &[
            ("19", "19.0.0.0.ru-2025-07.rur-2025-07.r1", "oracle-se2-cdb-19"),
            ("21", "21.0.0.0.ru-2025-07.rur-2025-07.r1", "oracle-se2-cdb-21"),
        ],
    ),
    sqlserver(
        "sqlserver-ee",
        "Microsoft SQL Server Enterprise Edition",
        &[("16.00", "16.00.4210.1.v1", "sqlserver-ee-16.0"), ("15.00", "15.00.4445.1.v1", "sqlserver-ee-15.0")],
    ),
    sqlserver(
        "sqlserver-se",
        "Microsoft SQL Server Standard Edition",
        &[("16.00", "16.00.4210.1.v1", "sqlserver-se-16.0"), ("15.00", "15.00.4445.1.v1", "sqlserver-se-15.0")],
    ),
    sqlserver(
        "sqlserver-ex",
        "Microsoft SQL Server Express Edition",
        &[("16.00", "16.00.4210.1.v1", "sqlserver-ex-16.0"), ("15.00", "15.00.4445.1.v1", "sqlserver-ex-15.0")],
    ),
    sqlserver(
        "sqlserver-web",
        "Microsoft SQL Server Web Edition",
        &[("16.00", "16.00.4210.1.v1", "sqlserver-web-16.0"), ("15.00", "15.00.4445.1.v1", "sqlserver-web-15.0")],
    ),
    Engine {
        name: "aurora-postgresql",
        description: "Aurora (PostgreSQL)",
        port: 5432,
        license: "postgresql-license",
        majors: &[
            ("17", "17.6", "aurora-postgresql17"),
            ("16", "16.10", "aurora-postgresql16"),
            ("15", "15.14", "aurora-postgresql15"),
            ("14", "14.19", "aurora-postgresql14"),
            ("13", "13.22", "aurora-postgresql13"),
        ],
    },
    Engine {
        name: "aurora-mysql",
        description: "Aurora (MySQL)",
        port: 3306,
        license: "general-public-license",
        majors: &[
            ("8.0", "8.0.mysql_aurora.3.10.1", "aurora-mysql8.0"),
            ("5.7", "5.7.mysql_aurora.2.12.5", "aurora-mysql5.7"),
        ],
    },
];

const fn oracle(
    name: &'static str,
    description: &'static str,
    majors: &'static [(&'static str, &'static str, &'static str)],
) -> Engine {
    Engine { name, description, port: 1521, license: "bring-your-own-license", majors }
}

const fn sqlserver(
    name: &'static str,
    description: &'static str,
    majors: &'static [(&'static str, &'static str, &'static str)],
) -> Engine {
    Engine { name, description, port: 1433, license: "license-included", majors }
}

/// An engine in one of its versions.
#[derive(Debug, Clone)]
pub struct Version {
    pub engine: &'static Engine,
    pub full: String,
    pub major: &'static str,
    pub family: &'static str,
}

impl Engine {
    pub fn is_aurora(&self) -> bool {
        self.name.starts_with("aurora-")
    }

    /// Whether its instances may be members of a Multi-AZ DB cluster.
    pub fn has_multi_az_clusters(&self) -> bool {
        matches!(self.name, "postgres" | "mysql")
    }

    /// The version that `asked` means: a major version stands for its newest minor, nothing for the default.
    ///
    /// # Errors
    /// `InvalidParameterCombination`: no such version.
    pub fn version(&'static self, asked: Option<&str>) -> Result<Version, AwsError> {
        for (major, newest, family) in self.majors {
            let full = match asked {
                None => (*newest).to_owned(),
                Some(asked) if asked == *major => (*newest).to_owned(),
                Some(asked) if asked.starts_with(&format!("{major}.")) && !newer(asked, newest) => asked.to_owned(),
                Some(_) => continue,
            };
            return Ok(Version { engine: self, full, major, family });
        }
        Err(invalid_combination(format!("Cannot find version {} for {}", asked.unwrap_or_default(), self.name)))
    }
}

impl Version {
    pub fn default_parameter_group(&self) -> String {
        format!("default.{}", self.family)
    }

    /// AWS writes the dots of the major version as hyphens here.
    pub fn default_option_group(&self) -> String {
        format!("default:{}-{}", self.engine.name, self.major.replace('.', "-"))
    }
}

/// # Errors
/// `InvalidParameterValue`: RDS has no such engine.
pub fn engine(name: &str) -> Result<&'static Engine, AwsError> {
    ENGINES
        .iter()
        .find(|engine| engine.name.eq_ignore_ascii_case(name))
        .ok_or_else(|| invalid_value(format!("Invalid DB engine: {name}")))
}

/// Whether dotted version `a` is later than `b`, compared number by number as far as both have numbers.
fn newer(a: &str, b: &str) -> bool {
    for (a, b) in a.split('.').zip(b.split('.')) {
        match (a.parse::<u64>(), b.parse::<u64>()) {
            (Ok(a), Ok(b)) if a != b => return a > b,
            (Ok(_), Ok(_)) => {}
            (Ok(_) | Err(_), Err(_)) | (Err(_), Ok(_)) => return false,
        }
    }
    false
}
