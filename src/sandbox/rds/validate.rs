//! RDS's rules for what may be asked of it, with its own messages.

use super::super::AwsError;
use super::engines::{Engine, Version};
use super::error::{fault, invalid_combination, invalid_value};
use super::ids::Place;
use super::params::Params;
use super::settings::{self, Settings};

/// An identifier in lower case, as RDS stores it: 1 to `longest` letters, digits and hyphens, a letter first, no hyphen
/// last and no two together.
///
/// # Errors
/// `InvalidParameterValue`.
pub fn identifier(parameter: &str, id: &str, longest: usize) -> Result<String, AwsError> {
    let begins = id.chars().next().is_some_and(|first| first.is_ascii_alphabetic());
    let clean = id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if !begins || !clean || id.ends_with('-') || id.contains("--") {
        return Err(invalid_value(format!(
            "The parameter {parameter} is not a valid identifier. Identifiers must begin with a letter; must contain \
             only ASCII letters, digits, and hyphens; and must not end with a hyphen or contain two consecutive hyphens."
        )));
    }
    if id.len() > longest {
        return Err(invalid_value(format!(
            "The parameter {parameter} is not a valid identifier because it is longer than {longest} characters."
        )));
    }
    Ok(id.to_lowercase())
}

/// # Errors
/// `InvalidParameterValue`: not of the form `db.<family>.<size>`.
pub fn class(class: &str) -> Result<String, AwsError> {
    let parts: Vec<&str> = class.split('.').collect();
    let named =
        parts.iter().all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
    if class == "db.serverless" || (parts.len() >= 3 && parts[0] == "db" && named) {
        return Ok(class.to_owned());
    }
    Err(invalid_value(format!("Invalid DB Instance class: {class}")))
}

/// # Errors
/// `InvalidParameterCombination`: an old class whose volumes cannot be encrypted.
pub fn class_encrypts(class: &str) -> Result<(), AwsError> {
    let old = class == "db.t2.micro" || ["db.m1.", "db.m2.", "db.t1."].iter().any(|family| class.starts_with(family));
    if old {
        return Err(invalid_combination(format!("DB Instance class {class} does not support encryption at rest")));
    }
    Ok(())
}

/// # Errors
/// `InvalidParameterValue`: not 0 to 35 days.
pub fn retention(days: i64) -> Result<i64, AwsError> {
    if !(0..=35).contains(&days) {
        return Err(invalid_value(format!(
            "Invalid backup retention period: {days}. The retention period must be between 0 and 35 days."
        )));
    }
    Ok(days)
}

/// # Errors
/// `InvalidParameterValue`: a name that the engine keeps for itself or cannot have.
pub fn username(engine: &Engine, name: &str) -> Result<(), AwsError> {
    let reserved: &[&str] = match engine.name {
        "postgres" | "aurora-postgresql" => &["admin", "postgres_admin", "rdsadmin", "public"],
        "mysql" | "mariadb" | "aurora-mysql" => &["rdsadmin", "rdsrepladmin", "mysql"],
        _ => &["rdsadmin", "sys", "system", "sa"],
    };
    if reserved.contains(&name.to_lowercase().as_str()) {
        return Err(invalid_value(format!(
            "MasterUsername {name} cannot be used as it is a reserved word used by the engine"
        )));
    }
    let begins = name.chars().next().is_some_and(|first| first.is_ascii_alphabetic());
    if !begins || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') || name.len() > 63 {
        return Err(invalid_value(
            "The parameter MasterUsername must begin with a letter and contain only alphanumeric characters.",
        ));
    }
    Ok(())
}

/// # Errors
/// `InvalidParameterValue`: too short, too long, or with a character that RDS does not take.
pub fn password(engine: &Engine, password: &str) -> Result<(), AwsError> {
    let longest = match engine.name {
        "mysql" | "mariadb" | "aurora-mysql" => 41,
        name if name.starts_with("oracle-") => 30,
        _ => 128,
    };
    let refusal = |because: String| {
        invalid_value(format!("The parameter MasterUserPassword is not a valid password because {because}"))
    };
    if password.len() < 8 {
        return Err(refusal("it is shorter than 8 characters.".to_owned()));
    }
    if password.len() > longest {
        return Err(refusal(format!("it is longer than {longest} characters.")));
    }
    let clean = password.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | '@' | '"'));
    if !clean {
        return Err(invalid_value(
            "The parameter MasterUserPassword is not a valid password. Only printable ASCII characters besides '/', \
             '@', '\"', ' ' may be used.",
        ));
    }
    Ok(())
}

/// The zone asked for, or the place's first.
///
/// # Errors
/// `InvalidParameterValue`: not a zone of the region.
pub fn zone(place: &Place, asked: Option<&str>) -> Result<String, AwsError> {
    let Some(asked) = asked else { return Ok(place.zone(0)) };
    if (0..3).any(|n| place.zone(n) == asked) {
        return Ok(asked.to_owned());
    }
    Err(fault("InvalidVPCNetworkStateFault", format!("{asked} is not a valid availability zone in {}", place.region)))
}

/// # Errors
/// `InvalidParameterValue`: not the id of a security group.
pub fn security_groups(p: &Params<'_>) -> Result<Option<Vec<String>>, AwsError> {
    let Some(groups) = p.list("VpcSecurityGroupIds").filter(|groups| !groups.is_empty()) else { return Ok(None) };
    for group in &groups {
        if !group.starts_with("sg-") || group.len() < 4 {
            return Err(invalid_value(format!("Invalid security group , groupId= {group}, groupName=")));
        }
    }
    Ok(Some(groups.into_iter().map(str::to_owned).collect()))
}

/// Storage of an instance: type, size, IOPS and throughput have to fit. Fills in the type and, for gp3, the baseline that
/// AWS describes even where it may not be asked for.
///
/// # Errors
/// `InvalidParameterValue` (size), `InvalidParameterCombination` (IOPS or throughput).
pub fn storage(engine: &Engine, gb: i64, p: &Params<'_>, members: &mut Settings) -> Result<(), AwsError> {
    let asked_iops = p.number("Iops")?;
    let kind = match settings::text(members, "StorageType") {
        Some(kind) => kind.to_owned(),
        None if asked_iops.is_some() => "io1".to_owned(),
        None => "gp3".to_owned(),
    };
    let smallest = match kind.as_str() {
        "gp2" | "standard" => 5,
        "gp3" => 20,
        "io1" | "io2" => 100,
        _ => return Err(invalid_value(format!("Invalid storage type: {kind}"))),
    };
    if !(smallest..=65536).contains(&gb) {
        return Err(invalid_value(format!(
            "Invalid storage size for engine name {} and storage type {kind}: {gb}",
            engine.name
        )));
    }
    let asked_throughput = p.number("StorageThroughput")?;
    let iops = settings::number(members, "Iops");
    match kind.as_str() {
        "gp3" => {
            let small = gb < 400 && !engine.name.starts_with("sqlserver-");
            if small && (asked_iops.is_some() || asked_throughput.is_some()) {
                return Err(invalid_combination(format!(
                    "You can't specify IOPS or storage throughput for engine {} and a storage size less than 400.",
                    engine.name
                )));
            }
            let (iops, throughput) = if small { (3000, 125) } else { (12000, 500) };
            members.entry("Iops".to_owned()).or_insert_with(|| iops.into());
            members.entry("StorageThroughput".to_owned()).or_insert_with(|| throughput.into());
        }
        "io1" | "io2" if iops.is_none() => {
            return Err(invalid_combination(format!("Iops must be specified for storage type {kind}")));
        }
        "io1" | "io2" => {}
        _ if asked_iops.is_some() || asked_throughput.is_some() => {
            return Err(invalid_combination(format!(
                "IOPS and storage throughput cannot be specified for storage type {kind}"
            )));
        }
        _ => {
            members.remove("Iops");
            members.remove("StorageThroughput");
        }
    }
    members.insert("StorageType".to_owned(), kind.into());
    Ok(())
}

/// A parameter group's family has to be the version's.
///
/// # Errors
/// `InvalidParameterCombination`.
pub fn family(name: &str, family: &str, version: &Version) -> Result<(), AwsError> {
    if family != version.family {
        return Err(invalid_combination(format!(
            "The parameter group {name} with DBParameterGroupFamily {family} can't be used for this instance. Please \
             use a parameter group with DBParameterGroupFamily {}",
            version.family
        )));
    }
    Ok(())
}
